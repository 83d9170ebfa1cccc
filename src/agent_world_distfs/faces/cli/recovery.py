"""Commands that repair, copy and measure a store: repair backup restore du."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator

import click

from agent_world_distfs import BackupReport, RepairReport, UsageReport, repair_store, restore_backup
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.failures import ExitCode
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import command, takes_place, takes_prefix


@command(
    "repair",
    "distfs repair --dry-run",
    "distfs repair --from ../other-store --from ~/originals",
)
@click.option(
    "--from",
    "sources",
    metavar="SOURCE",
    multiple=True,
    type=click.Path(readable=False),
    help="A directory that may have good bytes: a store, a backup, an original, plain files.",
)
@click.option("--dry-run", is_flag=True, help="Report what would be done, but do nothing.")
@pass_invocation
def repair(invocation: Invocation, *, sources: tuple[str, ...], dry_run: bool) -> int:
    """Hash every byte, and repair what is wrong or missing.

    What is missing is fetched from the first SOURCE that has it; no source is trusted. Damaged bytes are kept
    in quarantine/. A damaged catalog is rebuilt from the rows that can be trusted; for that nobody may have
    the store open. What is lost is listed, and the exit code is 5. If interrupted, run it again.
    """
    with invocation.watching("repair") as progress:
        report = repair_store(invocation.place(), sources, dry_run=dry_run, progress=progress)
    kept = sorted(fnmatch.filter(os.listdir(invocation.place()), "catalog.db.damaged-????????"))
    invocation.answer(output.fields(report) | {"is_whole": report.is_whole()}, _told(report, kept))
    return ExitCode.OK if report.is_whole() else ExitCode.CORRUPT


def _told(report: RepairReport, kept: list[str]) -> Iterator[str]:
    yield from _told_of_catalog(report)
    mended, lost = len(report.repaired_blob_hashes), len(report.lost_blob_hashes)
    did = "Would repair" if report.is_dry_run else "Repaired"
    yield f"{did} {output.counted(mended, 'blob')}; {output.counted(lost, 'blob')} lost."
    lists = (
        (report.lost_paths, "Lost, unless the same content is stored again:", output.shown_path),
        (report.lost_pin_hashes, "Pinned and lost:", str),
        (report.lost_snapshots, "Snapshots that are no longer whole:", output.shown_path),
        (report.quarantined, "Damaged bytes are kept in:", output.printable),
        (report.refused_sources, "Sources that cannot be used:", output.printable),
        (report.refused_blobs, "Other bytes than requested, or an error, came from:", output.printable),
        (report.dropped_settings, "Damaged settings, to be set again:", output.printable),
        (report.index_damage, "The index still contradicts itself:", output.printable),
    )
    for items, meaning, shown in lists:
        if items:
            yield meaning
            yield from output.listed(map(shown, items), len(items))
    if report.is_whole():
        yield "Whole: every byte was hashed."
    yield from _told_of_what_to_do(report, kept)


def _told_of_what_to_do(report: RepairReport, kept: list[str]) -> Iterator[str]:
    """Where an index was lost, how it may come back: also the next time, when nothing else tells of it."""
    names = ", ".join(map(output.printable, kept))
    if report.salvaged_files is None and kept:
        yield f"An earlier repair has kept {names}. If files are missing since then:"
    elif report.salvaged_files is None or report.is_proven:
        return
    put = "Put"
    if report.salvaged_files is None or not report.is_index_proven:
        yield "`distfs pull BACKUP` replaces the index by that of a backup or of another store."
        put = "Or put"
    if kept:
        yield f"{put} the damaged catalog (and its -wal, if there is one) back as catalog.db,"
        yield "and repair it again, with --from BACKUP."


def _told_of_catalog(report: RepairReport) -> Iterator[str]:
    if report.salvaged_files is None:
        return
    did = "would be rebuilt" if report.is_dry_run else "was rebuilt"
    proven = "exactly those last written" if report.is_index_proven else "not all, or not proven to be all"
    yield f"The catalog {did} with {output.counted(report.salvaged_files, 'file')}: {proven}."
    if report.salvaged_from is not None and not report.is_dry_run:
        yield f"The damaged one is kept as {report.salvaged_from}."
    for missing, what in ((report.missing_pins, "pin"), (report.missing_snapshots, "snapshot")):
        if missing:
            yield f"{output.counted(missing, what)} lost; a backup may have it still."
    if report.doubtful_paths:
        yield "Not in the index now, though an older state or a source has them:"
        yield from output.listed(map(output.shown_path, report.doubtful_paths), len(report.doubtful_paths))
    if report.is_history_lost:
        yield "The history that was kept is lost, and begins anew."
    if report.adopted_blob_hashes and (report.is_history_lost or not report.is_proven):
        adopted = output.counted(len(report.adopted_blob_hashes), "stored blob")
        yield f"{adopted} without a name: name what you need before `distfs prune` removes them."


@command("backup", "distfs backup /mnt/disk/world", "distfs backup /mnt/disk/world --verify")
@takes_place("target")
@click.option("--verify", is_flag=True, help="Also hash what is already in TARGET.")
@pass_invocation
def backup(invocation: Invocation, *, target: str, verify: bool) -> int:
    """Copy the store to the directory TARGET while others keep working.

    TARGET is empty, or an older backup of this store: then only what is new is copied. It opens as a store,
    with the index, pins, snapshots, settings and history of one moment. If interrupted, run it again. What is
    lost or corrupt here is left out and listed, and the exit code is 5.
    """
    with invocation.hold_store() as store, invocation.watching("backup") as progress:
        report = store.backup(target, verify=verify, progress=progress)
    return _answer_copy(invocation, report, "Backed up")


@command("restore", "distfs restore /mnt/disk/world world")
@click.argument("place", metavar="BACKUP", type=click.Path(readable=False))
@takes_place("target")
@pass_invocation
def restore(invocation: Invocation, *, place: str, target: str) -> int:
    """Make a store in the directory TARGET from a backup.

    Every byte is verified. TARGET must be empty, or hold what an interrupted restore left. What is lost or
    corrupt in the backup is left out and listed, and the exit code is 5.
    """
    with invocation.watching("restore") as progress:
        report = restore_backup(place, target, progress=progress)
    return _answer_copy(invocation, report, "Restored")


def _answer_copy(invocation: Invocation, report: BackupReport, did: str) -> int:
    invocation.answer(output.fields(report) | {"is_whole": report.is_whole()}, _told_of_copy(report, did))
    return ExitCode.OK if report.is_whole() else ExitCode.CORRUPT


def _told_of_copy(report: BackupReport, did: str) -> Iterator[str]:
    copied = f"{output.counted(report.copied_blobs, 'large blob')} copied"
    yield f"{did} {output.counted(report.total_files, 'file')}: {copied} of {report.total_blobs:,}."
    for hashes, meaning in (
        (report.missing_blob_hashes, "Missing, not in the copy:"),
        (report.corrupt_blob_hashes, "Corrupt, not in the copy:"),
    ):
        if hashes:
            yield meaning
            yield from output.listed(hashes, len(hashes))


@command("du", "distfs du", "distfs du docs/")
@takes_prefix("prefix")
@pass_invocation
def du(invocation: Invocation, *, prefix: str) -> None:
    """Say how much is stored, and what names it.

    PREFIX is the beginning of paths, as plain text. Content that several paths name is stored once, and
    counted for each path in the size of the files.
    """
    with invocation.read_store() as store:
        report = store.usage(prefix)
    invocation.answer(report, _told_of_usage(report))


def _told_of_usage(report: UsageReport) -> Iterator[str]:
    rows = (
        (
            report.logical_bytes,
            f"in {output.counted(report.total_files, 'file')}, as if each had its own bytes",
        ),
        (report.unique_bytes, f"in {output.counted(report.total_blobs, 'blob')} that these files name"),
        (report.exclusive_bytes, "of that named by nothing else: what deleting these files would free"),
        (report.pinned_bytes, "only pinned"),
        (report.history_bytes, "only in the history that is kept"),
        (report.snapshot_bytes, "only in snapshots"),
        (report.orphan_bytes, "orphans: what a prune would free"),
        (report.stored_bytes, "stored in all"),
    )
    for size_bytes, meaning in rows:
        yield f"{output.shown_size(size_bytes):>12}  {meaning}"
