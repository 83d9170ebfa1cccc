"""Commands on states kept by name: snapshot create list show diff restore drop prune fork."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from agent_world_distfs import FileIndexManifestRef, FileMetadata, ForkReport, ManifestImportReport, Snapshot
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.failures import noting_if_missing
from agent_world_distfs.faces.cli.history import deed_of
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import (
    StoreCommand,
    StoreGroup,
    command,
    count,
    each,
    takes_directory,
    takes_place,
    takes_prefix,
    takes_ref,
)
from agent_world_distfs.paths import check_name, check_prefix


@click.group("snapshot", cls=StoreGroup, examples=("distfs snapshot create monday", "distfs snapshot list"))
def snapshot() -> None:
    """Keep states of the index by name, with all bytes that they name: see, compare, restore and fork them.

    A NAME is one plain path segment. A snapshot costs its manifest, and whatever is overwritten or removed
    later: no prune removes that until the snapshot is dropped.
    """


def _command(name: str, *examples: str) -> Callable[[Callable[..., Any]], StoreCommand]:
    def decorate(function: Callable[..., Any]) -> StoreCommand:
        made = command(name, *examples)(function)
        snapshot.add_command(made)
        return made

    return decorate


_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _takes_name(name: str = "name", **settings: Any) -> _Decorator:
    return click.argument(name, callback=each(check_name), **settings)


@_command("create", "distfs snapshot create monday", "distfs snapshot create v2 --message cleanup")
@_takes_name()
@click.option("--message", default="", help="Why, for readers of the list.")
@pass_invocation
def create(invocation: Invocation, *, name: str, message: str) -> None:
    """Keep the current index as NAME, and print the reference of its manifest.

    Safe while others write: it keeps one moment. If a snapshot NAME already exists, the exit code is 4.
    """
    with invocation.open_store() as store:
        made = store.snapshot(name, message)
    invocation.answer(made, [str(made.manifest)])


@_command("list", "distfs snapshot list", "distfs snapshot list --json | jq -r '.snapshots[].name'")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the snapshots, oldest first: when, how many files, the name, and why, if recorded."""
    with invocation.read_store() as store:
        found = store.list_snapshots()
    invocation.answer({"snapshots": found}, map(_row, found))


def _row(kept: Snapshot) -> str:
    said = f"  ({output.printable(kept.message)})" if kept.message else ""
    files = output.counted(kept.total_files, "file")
    return f"{output.shown_time(kept.created_at_ms)}  {files:>12}  {output.shown_path(kept.name)}{said}"


@_command("show", "distfs snapshot show monday", "distfs snapshot show monday docs/")
@_takes_name()
@takes_prefix("prefix")
@pass_invocation
def show(invocation: Invocation, *, name: str, prefix: str) -> None:
    """Show the snapshot NAME, and its files that begin with PREFIX, as `distfs ls` shows current ones.

    `distfs get HASH` writes what such a file held; `distfs snapshot restore` brings it back.
    """
    with invocation.read_store() as store:
        found, files = store.find_snapshot(name), store.list_files_at(name, prefix=prefix)
    invocation.answer(output.fields(found) | {"files": files}, _shown(found, files))


def _shown(found: Snapshot, files: list[FileMetadata]) -> Iterator[str]:
    yield _row(found)
    yield f"manifest {found.manifest}"
    yield from map(output.file_row, files)


@_command("diff", "distfs snapshot diff monday tuesday", "distfs snapshot diff monday --prefix docs/")
@_takes_name("name_a", metavar="NAME")
@_takes_name("name_b", metavar="[NAME]", required=False)
@click.option(
    "--prefix", default="", callback=each(check_prefix), help="Only paths that begin with this text."
)
@pass_invocation
def diff(invocation: Invocation, *, name_a: str, name_b: str | None, prefix: str) -> None:
    """List the paths whose content differs between two snapshots.

    Without a second NAME, between the snapshot and the current index.
    """
    with invocation.read_store() as store:
        found = store.diff(name_a, name_b, prefix=prefix)
        if invocation.wants_json:
            output.print_json_array("differences", found)
            return
        for difference in found:
            output.print_line(f"{deed_of(difference):<8}  {output.shown_path(difference.path)}")


@_command(
    "restore",
    "distfs snapshot restore monday",
    "distfs snapshot restore monday docs",
    "distfs snapshot restore monday --expect $REF",
)
@_takes_name()
@takes_directory("prefix")
@takes_ref("--expect", help="Only if the index is still this one.")
@pass_invocation
def restore(invocation: Invocation, *, name: str, prefix: str, expect: FileIndexManifestRef | None) -> None:
    """Make the index what it was when NAME was created, in one step.

    PREFIX is a directory of the index: then only what is below it is replaced; docs means docs/..., never
    docs2/... Every byte is verified first. Only a snapshot, or the setting keep_history, keeps the current
    index.
    """
    with invocation.open_store() as store:
        report = store.restore_snapshot(name, expected_current=expect, prefix=prefix)
    invocation.answer(report, [_restored(report, prefix)])


def _restored(report: ManifestImportReport, prefix: str) -> str:
    where = f"{output.shown_path(prefix)}/" if prefix else "The index"
    changes = f"{report.added:,} added, {report.changed:,} changed, {report.removed:,} removed"
    return f"{where} has {output.counted(report.total_files, 'file')}: {changes}."


@_command("drop", "distfs snapshot drop monday tuesday")
@_takes_name("names", nargs=-1, required=True, metavar="NAME...")
@pass_invocation
def drop(invocation: Invocation, *, names: tuple[str, ...]) -> None:
    """Remove each snapshot NAME, all of them in one step.

    If one of them is missing, none is removed and the exit code is 3. What nothing else keeps becomes
    orphans, which `distfs prune` removes.
    """
    with invocation.open_store() as store, noting_if_missing("nothing was dropped", names):
        store.drop_snapshots(names)
    invocation.answer({"dropped": tuple(dict.fromkeys(names))}, [])


def _keeps(what: str, meaning: str) -> _Decorator:
    return click.option(f"--keep-{what}", type=count, default=0, metavar="N", help=f"Keep {meaning}.")


@_command(
    "prune",
    "distfs snapshot prune --keep-last 3 --keep-daily 7 --dry-run",
    "distfs snapshot prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12",
)
@_keeps("last", "the newest N")
@_keeps("hourly", "the newest of each of the last N hours that have one")
@_keeps("daily", "the same for days")
@_keeps("weekly", "the same for weeks")
@_keeps("monthly", "the same for months")
@click.option("--dry-run", is_flag=True, help="Report which would be dropped, but drop none.")
@pass_invocation
def prune(invocation: Invocation, /, *, dry_run: bool, **keep: int) -> None:
    """Drop the snapshots that none of the given rules keeps, all in one step.

    A snapshot that any rule keeps is kept. Periods are in UTC; if there are fewer than N, the oldest snapshot
    is kept, too. What nothing else keeps becomes orphans, which `distfs prune` removes.
    """
    if not any(keep.values()):
        raise click.UsageError(
            "say what to keep, as in --keep-last 3; to drop one, use `distfs snapshot drop NAME`"
        )
    store = invocation.read_store() if dry_run else invocation.open_store()
    with store:
        report = store.prune_snapshots(**keep, dry_run=dry_run)
    did = "Would drop" if dry_run else "Dropped"
    counts = f"{output.counted(len(report.dropped), 'snapshot')}, kept {len(report.kept):,}"
    invocation.answer(
        output.fields(report) | {"dry_run": dry_run},
        [f"{did} {counts}.", *output.listed(map(output.shown_path, report.dropped), len(report.dropped))],
    )


@_command("fork", "distfs snapshot fork monday ../experiment")
@_takes_name()
@takes_place("target")
@pass_invocation
def fork(invocation: Invocation, *, name: str, target: str) -> None:
    """Make a second store in the directory TARGET that begins as the snapshot NAME.

    TARGET is missing or empty. Neither store sees what is done in the other. Large contents are shared on
    disk by clones or hard links where the file system supports them, and copied otherwise. The new store also
    has the snapshot, so that it can tell what has changed since.
    """
    with invocation.read_store() as store, invocation.watching("fork", "files") as progress:
        report = store.fork(target, name, progress=progress)
    invocation.answer(output.fields(report) | {"target": target}, [_forked(report, target)])


def _forked(report: ForkReport, target: str) -> str:
    made = f"Made a store of {output.counted(report.total_files, 'file')} in {output.printable(target)}"
    blobs = output.counted(report.total_blobs, "large blob")
    return f"{made}: {report.shared_blobs:,} of {blobs} shared."
