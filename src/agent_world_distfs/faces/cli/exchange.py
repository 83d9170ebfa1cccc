"""Commands between stores: export import pull adopt."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from agent_world_distfs import (
    AdoptReport,
    FileIndexManifestRef,
    HashAlgorithm,
    LocalCasStore,
    ManifestImportReport,
    adopt_original,
    open_store,
)
from agent_world_distfs.engine.directories import require_other
from agent_world_distfs.engine.other_stores import damage_at
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.failures import ExitCode
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import command, takes_hash_algorithm, takes_place, takes_ref


@command("export", "distfs export", "distfs export --pin > yesterday.ref")
@click.option("--pin", is_flag=True, help="Also pin the manifest, so that no prune removes it.")
@pass_invocation
def export(invocation: Invocation, *, pin: bool) -> None:
    """Store the whole index as a manifest.

    Prints its reference, HASH:SIZE. A manifest is a blob that lists every path with its content hash, size
    and time. The same index gives the same reference. It names the bytes but does not keep them: what is
    removed from the index later goes with the next prune.
    """
    with invocation.open_store() as store:
        ref = store.export_file_index_manifest(pin=pin)
    invocation.answer({"ref": str(ref), **output.fields(ref), "is_pinned": pin}, [str(ref)])


@command("import", "distfs import $(cat yesterday.ref)", "distfs import $REF --dry-run")
@takes_ref("ref")
@click.option("--dry-run", is_flag=True, help="Check everything and report changes, but make none.")
@takes_ref("--expect", help="Only if the index is still this one.")
@pass_invocation
def import_(
    invocation: Invocation, *, ref: FileIndexManifestRef, dry_run: bool, expect: FileIndexManifestRef | None
) -> None:
    """Replace the whole index by the manifest REF, in one step.

    REF is HASH:SIZE as printed by export. The manifest and every blob that it names must be in this store,
    and are verified first; `distfs pull` fetches them from another store.
    """
    with invocation.open_store() as store:
        report = store.import_file_index_manifest(ref, dry_run=dry_run, expected_current=expect)
    invocation.answer(output.fields(report) | {"dry_run": dry_run}, _changes(report, dry_run=dry_run))


@command(
    "pull",
    "distfs pull ../other-store",
    "distfs pull ../other-store $(distfs export --store ../other-store)",
    "distfs pull ../other-store --snapshots",
)
@takes_place("source")
@takes_ref("ref", required=False)
@click.option("--snapshots", is_flag=True, help="First copy the snapshots of SOURCE.")
@pass_invocation
def pull(invocation: Invocation, *, source: str, ref: FileIndexManifestRef | None, snapshots: bool) -> None:
    """Replace the index by that of another store.

    SOURCE is the directory of the other store; REF one of its manifests, HASH:SIZE; without it, its current
    index. Blobs that are missing here are fetched, and verified on the way. If interrupted, run it again: it
    continues where it stopped. With --snapshots, a snapshot that exists here with the same name is left alone
    if its state is the same; otherwise nothing is copied, and the exit code is 4. A store that is missing
    here is created with the hash algorithm of SOURCE.
    """
    # The index that the other store has now is leased there where we may write; a manifest is only read.
    with (
        _open_source(source, read_only=ref is not None or not os.access(source, os.W_OK)) as there,
        invocation.make_store(there.hash_algorithm if invocation.is_missing() else None) as here,
        invocation.watching("pull", "files") as progress,
    ):
        require_other(there.location, here.location)
        if snapshots:
            here.pull_snapshots(there, progress=progress)
        if ref is None:
            report = here.pull_index(there, progress=progress)
        else:
            report = here.pull_manifest(there, ref, progress=progress)
    invocation.answer(report, _changes(report))


def _open_source(source: str, *, read_only: bool) -> LocalCasStore:
    with damage_at(source):  # or it would be looked for in the store that pulls
        return open_store(source, create=False, read_only=read_only)


def _changes(report: ManifestImportReport, *, dry_run: bool = False) -> Iterator[str]:
    changes = f"{report.added:,} added, {report.changed:,} changed, {report.removed:,} removed"
    would_be = "would have" if dry_run else "has"
    yield f"The index {would_be} {output.counted(report.total_files, 'file')}: {changes}."


@command(
    "adopt",
    "distfs adopt ../old-store --store world",
    "distfs adopt ../old-store --store world --hash-algorithm sha256",
)
@takes_place("directory")
@takes_hash_algorithm("The algorithm of DIRECTORY; by default determined from its blobs.")
@pass_invocation
def adopt(invocation: Invocation, directory: str, hash_algorithm: HashAlgorithm | None) -> int:
    """Copy a store of the original Rust implementation into this one.

    DIRECTORY holds files_index.json, pins.json and blobs/. It is never changed. Paths, times and pins are
    kept, every blob is verified. The store here must have no files; it is created if it is missing. What is
    damaged there is left out and reported, and the exit code is 5. If interrupted, run it again.
    """
    with invocation.watching("adopt", "blobs") as progress:
        report = adopt_original(
            directory, invocation.place(), hash_algorithm=hash_algorithm, progress=progress
        )
    invocation.answer(output.fields(report) | {"is_whole": report.is_whole()}, _adopted(report))
    return ExitCode.OK if report.is_whole() else ExitCode.CORRUPT


def _adopted(report: AdoptReport) -> Iterator[str]:
    counts = ((report.total_files, "file"), (report.total_blobs, "blob"), (report.total_pins, "pin"))
    taken = ", ".join(output.counted(count, noun) for count, noun in counts)
    yield f"Took over {taken} ({report.hash_algorithm.value})."
    if report.orphan_blob_hashes:
        yield f"{output.counted(len(report.orphan_blob_hashes), 'blob')} that nothing names came too."
    for found, what in (
        (report.missing_blob_hashes, "named there but gone"),
        (report.corrupt_blob_hashes, "there with other bytes than their name says"),
    ):
        if found:
            yield f"{output.counted(len(found), 'blob')} {what}:"
            yield from output.listed(found, len(found))
    if report.skipped_paths:
        yield "Left out for that: " + output.counted(len(report.skipped_paths), "file")
        yield from output.listed(map(output.shown_path, report.skipped_paths), len(report.skipped_paths))
    if report.skipped_pin_hashes:
        yield f"Left out for that: {output.counted(len(report.skipped_pin_hashes), 'pin')}."
