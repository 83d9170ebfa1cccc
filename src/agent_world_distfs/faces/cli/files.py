"""Commands on files, the paths of the index: write read rm mv cp ls stat."""

from __future__ import annotations

from collections.abc import Iterator

import click

from agent_world_distfs import ABSENT, FileMetadata, LocalCasStore, PathNotFoundError, Transaction
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.failures import noting_if_missing
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import (
    command,
    expected,
    takes_condition,
    takes_path,
    takes_prefix,
    takes_source,
    takes_target,
)
from agent_world_distfs.faces.cli.streams import STANDARD, copy, open_source, open_target, watched
from agent_world_distfs.records import Expected


@command(
    "write",
    "distfs write notes/today.txt today.txt",
    "date | distfs write notes/today.txt",
    "distfs write notes/today.txt new.txt --if-match $(distfs write notes/today.txt old.txt)",
)
@takes_path("path")
@takes_source()
@takes_condition("PATH")
@pass_invocation
def write(invocation: Invocation, *, path: str, source: str, if_match: str | None, if_absent: bool) -> None:
    """Store SOURCE under PATH and print its content hash.

    SOURCE is a file; without it, or as -, standard input. What PATH held before is replaced, unless a
    condition is given and does not hold: then nothing changes and the exit code is 4. The store is created if
    it is missing.
    """
    condition = expected(if_match, if_absent)
    with (
        open_source(source) as reader,
        invocation.make_store() as store,
        invocation.watching("write", beside=reader) as progress,
    ):
        file = store.write_file_stream(path, watched(reader, progress), expected_content_hash=condition)
    invocation.answer(file, [file.content_hash])


@command("read", "distfs read notes/today.txt", "distfs read notes/today.txt copy.txt")
@takes_path("path")
@takes_target()
@pass_invocation
def read(invocation: Invocation, path: str, target: str) -> None:
    """Write the content of PATH to TARGET.

    TARGET is a file; without it, or as -, standard output. The content is verified against its hash. A file
    is replaced in one step, after the content was verified; on any error it is untouched.
    """
    require_target(invocation, target)
    with (
        invocation.read_store() as store,
        store.open_file(path) as reader,
        open_target(target) as writer,
        invocation.watching("read", beside=writer) as progress,
    ):
        copy(reader, writer, progress, reader.size_bytes)
        file = reader.metadata
    if target != STANDARD:
        invocation.answer(output.fields(file) | {"target": target})


def require_target(invocation: Invocation, target: str) -> None:
    """Refuse ``--json`` with content on standard output: it can carry only one of the two."""
    if invocation.wants_json and target == STANDARD:
        raise click.UsageError("with --json, content needs a TARGET: standard output holds the document")


@command(
    "rm",
    "distfs rm notes/today.txt notes/yesterday.txt",
    "distfs rm notes/today.txt --ignore-missing",
)
@takes_path("paths", nargs=-1, required=True, metavar="PATH...")
@takes_condition("PATH")
@click.option("--ignore-missing", is_flag=True, help="Accept paths that are not in the index.")
@pass_invocation
def rm(
    invocation: Invocation,
    *,
    paths: tuple[str, ...],
    if_match: str | None,
    if_absent: bool,
    ignore_missing: bool,
) -> None:
    """Remove each PATH from the index, all of them in one step.

    If one of them is missing, none is removed and the exit code is 3. Their bytes stay until a prune finds
    that nothing names them. A condition needs a single PATH; with --if-absent nothing is removed: the exit
    code says whether PATH is free (0) or not (4).
    """
    condition = expected(if_match, if_absent)
    if condition is not None and len(paths) > 1:
        raise click.UsageError("a condition takes a single PATH")
    with invocation.open_store() as store, noting_if_missing("nothing was removed", paths):
        removed = _remove(store, paths, condition, ignore_missing=ignore_missing)
    if removed == 0 and not (ignore_missing or condition is ABSENT):
        raise PathNotFoundError(paths[0])
    invocation.answer({"removed": removed})


def _remove(
    store: LocalCasStore, paths: tuple[str, ...], condition: Expected, *, ignore_missing: bool
) -> int:
    """How many were removed; none if one is missing, unless that is to be ignored."""
    if condition is not None:
        return int(store.delete_file_if_match(paths[0], condition))
    if ignore_missing:
        return store.delete_files(paths)

    def remove_all(tx: Transaction) -> int:
        missing = [path for path in dict.fromkeys(paths) if tx.stat_file(path) is None]
        if missing:
            raise PathNotFoundError(*missing)
        return sum(tx.delete_file(path) for path in paths)

    return store.run_transaction(remove_all)


@command("mv", "distfs mv drafts/report.md reports/2026.md", "distfs mv new.json live.json --if-match $HASH")
@takes_path("source")
@takes_path("target")
@takes_condition("TARGET")
@pass_invocation
def mv(invocation: Invocation, *, source: str, target: str, if_match: str | None, if_absent: bool) -> None:
    """Rename the file SOURCE to TARGET and print its content hash.

    Both are paths of the index, each of one file; the change is one step. What TARGET held before is
    replaced, unless a condition is given and does not hold.
    """
    condition = expected(if_match, if_absent)
    with invocation.open_store() as store:
        file = store.rename_file(source, target, expected_content_hash=condition)
    invocation.answer(file, [file.content_hash])


@command("cp", "distfs cp config.json config.old.json", "distfs cp draft.md final.md --if-absent")
@takes_path("source")
@takes_path("target")
@takes_condition("TARGET")
@pass_invocation
def cp(invocation: Invocation, *, source: str, target: str, if_match: str | None, if_absent: bool) -> None:
    """Make TARGET hold what SOURCE holds, and print the content hash.

    Both are paths of the index. No bytes are copied: both name the same blob. What TARGET held before is
    replaced, unless a condition is given and does not hold.
    """
    condition = expected(if_match, if_absent)
    with invocation.open_store() as store:
        file = store.copy_file(source, target, expected_content_hash=condition)
    invocation.answer(file, [file.content_hash])


@command("ls", "distfs ls", "distfs ls notes/", "distfs ls --json | jq -r '.files[].path'")
@takes_prefix("prefix")
@pass_invocation
def ls(invocation: Invocation, prefix: str) -> None:
    """List the files whose path begins with PREFIX.

    The columns are size in bytes, time of the last write (UTC), content hash, path; ordered by the bytes of
    the path. PREFIX is plain text: notes also lists notes2.txt, notes/ does not. One consistent state of the
    index, however long the list. A path that a terminal would not show as it is appears in double quotes, as
    in JSON.
    """
    with invocation.read_store() as store:
        files = store.iter_files(prefix=prefix)
        if invocation.wants_json:
            output.print_json_array("files", files)
            return
        for file in files:
            output.print_line(output.file_row(file))


@command("stat", "distfs stat notes/today.txt", "distfs stat notes/today.txt --json | jq -r .content_hash")
@takes_path("path")
@pass_invocation
def stat(invocation: Invocation, path: str) -> None:
    """Show content hash, size and time of PATH."""
    with invocation.read_store() as store:
        file = store.stat_file(path)
    if file is None:
        raise PathNotFoundError(path)
    invocation.answer(file, _details(file))


def _details(file: FileMetadata) -> Iterator[str]:
    yield f"path:          {output.shown_path(file.path)}"
    yield f"content hash:  {file.content_hash}"
    yield f"size:          {output.exact_size(file.size_bytes)}"
    yield f"updated:       {output.shown_time(file.updated_at_ms)}"
