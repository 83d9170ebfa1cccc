"""Collection: removes the blobs that nothing names, in small batches, beside live writers.

It first begins a recording lease; only then does it search for what nothing names. Each batch is one critical
section of the write lock: check again, drop the rows, commit with a flush, and only then remove the files;
then the lock is released. So

- what was named during the search, or since, is kept by the lease: naming a blob adds it there in the same
  transaction. The check is that no lease and no pin keeps the blob;
- nobody can name a blob between the check and its removal: naming needs the same lock;
- a removal rests on flushed state. A writer that was killed inside its commit may have left a commit in the
  WAL that a recovery would bring back; the batch's own commit, which always writes a row, overwrites it
  before any file is touched. That holds for each batch by itself, because a writer can be killed between two;
- a crash leaves at worst a file without a row, which the next collection removes.

A writer that has stored the same bytes meanwhile restores them when it names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from agent_world_distfs.engine.full_disk import removing
from agent_world_distfs.engine.leases import Lease, tidy
from agent_world_distfs.engine.orphans import UnnamedBlob, find_orphans, still_stray
from agent_world_distfs.engine.writable import require_writable
from agent_world_distfs.errors import StorageFullError
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogWriter
from agent_world_distfs.records import Progress, PruneReport

BATCH = 128
"""Blobs taken in one critical section: some milliseconds."""

SPACE_BATCH = 500
"""Pages of the catalog returned to the disk in one transaction."""


def plan_collection(catalog: Catalog, blobs: BlobFiles) -> PruneReport:
    """What ``collect`` would take now."""
    return _report(find_orphans(catalog, blobs))


def collect(catalog: Catalog, blobs: BlobFiles, progress: Progress | None) -> PruneReport:
    """Take all orphans of this moment; progress in blobs."""
    require_writable(catalog)
    removing(catalog, blobs, lambda: tidy(catalog, blobs))
    with Lease(catalog, blobs) as lease:
        removing(catalog, blobs, lease.record)  # in the block: whatever interrupts ends it again
        orphans = find_orphans(catalog, blobs)
        taken = []
        for batch in _batches(orphans):
            take = partial(_take, catalog, blobs, batch, lease.name)
            taken.extend(removing(catalog, blobs, take))
            if progress is not None:
                progress(len(taken), len(orphans))
    if taken:
        _return_space(catalog, blobs)
    return _report(taken)


def _return_space(catalog: Catalog, blobs: BlobFiles) -> None:
    def return_some() -> bool:
        return catalog.write_lazily(lambda tx: tx.return_space(SPACE_BATCH))

    while not removing(catalog, blobs, return_some):
        pass
    with blobs.spare_space():  # and the reserve, if it was used, is filled again
        catalog.truncate_wal()  # the database file gets shorter only by what is copied into it


def _batches(orphans: Sequence[UnnamedBlob]) -> Iterator[Sequence[UnnamedBlob]]:
    for start in range(0, len(orphans), BATCH):
        yield orphans[start : start + BATCH]


def _take(
    catalog: Catalog, blobs: BlobFiles, batch: Sequence[UnnamedBlob], recorder: str
) -> list[UnnamedBlob]:
    free: list[Callable[[], None]] = []

    def change(tx: CatalogWriter) -> list[UnnamedBlob]:
        tx.mark_epoch()
        has_strays = any(orphan.row is None for orphan in batch)
        in_flight = blobs.in_flight() if has_strays else frozenset[int]()
        return [
            orphan
            for orphan in batch
            if (
                still_stray(tx, blobs, orphan, in_flight)
                if orphan.row is None
                else tx.drop_blob(orphan.row.blob_id, recorder)
            )
        ]

    def take_away(taken: list[UnnamedBlob]) -> None:
        free.append(_remove(blobs, [o.content_hash for o in taken if o.row is None or not o.row.is_inline]))

    taken = catalog.write_then(change, take_away)
    for finish in free:
        finish()
    return taken


def _remove(blobs: BlobFiles, hashes: Sequence[str]) -> Callable[[], None]:
    """Their rows are gone for good: what is not removed now stays until another collection finds it."""
    try:
        return blobs.remove(hashes)
    except StorageFullError:
        with blobs.spare_space():
            return blobs.remove(hashes)


def _report(orphans: Sequence[UnnamedBlob]) -> PruneReport:
    hashes = tuple(sorted(orphan.content_hash for orphan in orphans))
    return PruneReport(len(orphans), sum(orphan.size_bytes for orphan in orphans), hashes)
