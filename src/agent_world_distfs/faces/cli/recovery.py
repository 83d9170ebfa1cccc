"""Commands that mend a store: repair."""

from __future__ import annotations

from collections.abc import Iterator

import click

from agent_world_distfs import RepairReport, repair_store
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.failures import ExitCode
from agent_world_distfs.faces.cli.options import command
from agent_world_distfs.faces.cli.session import Session, pass_session


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
    type=click.Path(),
    help="A directory that may have the right bytes: a store, a backup, an original, plain files.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, but do nothing.")
@pass_session
def repair(session: Session, *, sources: tuple[str, ...], dry_run: bool) -> int:
    """Hash every byte, and mend what is wrong or gone.

    What is missing is fetched from the first SOURCE that has it; no source is trusted. Damaged bytes are
    kept in quarantine/. A catalog that is damaged is built anew, as far as its rows can be believed; for
    that nobody may have the store open. What is lost is listed, and the exit code is 5. Interrupted, run
    it again.
    """
    with session.watching("repair") as progress:
        report = repair_store(session.place(), sources, dry_run=dry_run, progress=progress)
    session.answer(output.fields(report) | {"is_whole": report.is_whole()}, _told(report))
    return ExitCode.OK if report.is_whole() else ExitCode.CORRUPT


def _told(report: RepairReport) -> Iterator[str]:
    yield from _told_of_catalog(report)
    mended, lost = len(report.repaired_blob_hashes), len(report.lost_blob_hashes)
    did = "Would mend" if report.is_dry_run else "Mended"
    yield f"{did} {output.counted(mended, 'blob')}; {output.counted(lost, 'blob')} nobody has."
    lists = (
        (report.lost_paths, "Lost, unless the same content is stored again:", output.shown_path),
        (report.lost_pin_hashes, "Pinned and lost:", str),
        (report.quarantined, "Damaged bytes are kept in:", output.printable),
        (report.refused_blobs, "Other bytes than asked for came from:", output.printable),
        (report.index_damage, "The index still contradicts itself:", output.printable),
    )
    for items, meaning, shown in lists:
        if items:
            yield meaning
            yield from output.listed(map(shown, items), len(items))
    if report.is_whole():
        yield "Whole: every byte was hashed."


def _told_of_catalog(report: RepairReport) -> Iterator[str]:
    if report.salvaged_files is None:
        return
    did = "would be built anew" if report.is_dry_run else "was built anew"
    proven = (
        "exactly those that were last written" if report.is_proven else "not all, or not proven to be all"
    )
    yield f"The catalog {did} with {output.counted(report.salvaged_files, 'file')}: {proven}."
    if report.salvaged_from is not None and not report.is_dry_run:
        yield f"The damaged one is kept as {report.salvaged_from}."
    if report.doubtful_paths:
        yield "Not in the index now, though an older state or a source has them:"
        yield from output.listed(map(output.shown_path, report.doubtful_paths), len(report.doubtful_paths))
    if report.adopted_blob_hashes and not report.is_proven:
        adopted = output.counted(len(report.adopted_blob_hashes), "stored blob")
        yield f"{adopted} without a name: name what you need before `distfs prune` takes them."
