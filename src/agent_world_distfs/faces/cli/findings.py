"""The findings of an audit, as sentences that say what to do."""

from __future__ import annotations

from collections.abc import Iterator

from agent_world_distfs import FileIndexAuditReport, LocalCasStore
from agent_world_distfs.faces.cli.output import counted, listed, printable, shown_path, shown_size, shown_time

_REPAIR = (
    "To repair, fetch the bytes from a source that has them (`distfs repair --from SOURCE`), or store them "
    "again (`distfs put FILE`)."
)


def describe(report: FileIndexAuditReport, store: LocalCasStore) -> Iterator[str]:
    """The report for people; paths are looked up in ``store``, since those are what they know."""
    yield f"{counted(report.total_indexed_files, 'file')}, {counted(report.total_pins, 'pin')}."
    yield from _broken_blobs(report, store)
    yield from _dangling_pins(report)
    yield from _index_damage(report)
    if report.orphan_blob_hashes:
        yield (
            f"{counted(len(report.orphan_blob_hashes), 'orphan blob')}: nothing names them, "
            "as after every overwrite. `distfs prune` removes them."
        )
    if report.history_blob_hashes:
        yield f"{counted(len(report.history_blob_hashes), 'blob')} kept for the history alone."
    if report.snapshot_blob_hashes:
        yield f"{counted(len(report.snapshot_blob_hashes), 'blob')} kept for snapshots alone."
    if report.verified_bytes and not report.is_verified:
        yield f"Hashed {shown_size(report.verified_bytes)}; the next such audit goes on from here."
    if report.verified_since_ms is not None:
        yield f"Every byte that was stored at {shown_time(report.verified_since_ms)} has been hashed since."
    if report.is_sound() and (report.is_verified or not report.verified_bytes):
        yield (
            "Sound: every byte was hashed."
            if report.is_verified
            else "Sound. --verify also hashes every byte."
        )


def _broken_blobs(report: FileIndexAuditReport, store: LocalCasStore) -> Iterator[str]:
    kinds = (
        (report.missing_file_blob_hashes, "missing: a path names it, its bytes are gone"),
        (report.missing_history_blob_hashes, "missing: the history names it, its bytes are gone"),
        (report.missing_snapshot_blob_hashes, "missing: a snapshot names it, its bytes are gone"),
        (report.damaged_blob_hashes, "damaged: what is stored has another size or is no regular file"),
        (report.corrupt_blob_hashes, "corrupt: the bytes hash to something else, or cannot be read"),
    )
    paths = _paths_naming(store, {content_hash for hashes, _ in kinds for content_hash in hashes})
    for hashes, meaning in kinds:
        if hashes:
            yield f"{counted(len(hashes), 'blob')} {meaning}."
            yield from listed((f"{each}  {paths.get(each, '(no path)')}" for each in hashes), len(hashes))
    if any(hashes for hashes, _ in kinds):
        yield _REPAIR
    if report.damaged_snapshots:
        yield "Snapshots that cannot be restored whole (`distfs snapshot drop NAME` gives one up):"
        yield from listed(map(shown_path, report.damaged_snapshots), len(report.damaged_snapshots))


def _paths_naming(store: LocalCasStore, hashes: set[str]) -> dict[str, str]:
    """The first path of each hash, as shown."""
    found: dict[str, str] = {}
    if hashes:
        for file in store.iter_files():
            if file.content_hash in hashes:
                found.setdefault(file.content_hash, shown_path(file.path))
    return found


def _dangling_pins(report: FileIndexAuditReport) -> Iterator[str]:
    hashes = report.dangling_pin_hashes
    if hashes:
        yield f"{counted(len(hashes), 'dangling pin')}: pinned, but the bytes are gone."
        yield from listed(hashes, len(hashes))
        yield "Store the same bytes again (`distfs put FILE`), or give them up (`distfs unpin HASH`)."


def _index_damage(report: FileIndexAuditReport) -> Iterator[str]:
    if report.index_damage:
        yield f"The index contradicts itself in {counted(len(report.index_damage), 'place')}:"
        yield from listed(map(printable, report.index_damage), len(report.index_damage))
        yield (
            "Do not write to this store any more. `distfs repair` builds a new catalog from what is right in "
            "this one; --from SOURCE, another store or a backup, helps it."
        )
