"""Restoring a part of a snapshot: ordinary changes, in one transaction.

What is to be named is verified first, outside the lock; under it the index is compared with the snapshot, and
changed only where they differ. A path that already holds the content keeps its time. The snapshot keeps the
blobs meanwhile; the transaction checks that it still did.
"""

from __future__ import annotations

from agent_world_distfs.clock import now_ms
from agent_world_distfs.engine.directories import as_directory
from agent_world_distfs.engine.manifests import Expectation
from agent_world_distfs.engine.page_spool import PageSpool
from agent_world_distfs.engine.reading import find_stored
from agent_world_distfs.engine.replacing import chunks, verify_blobs
from agent_world_distfs.engine.snapshots import opened_snapshot, reading
from agent_world_distfs.engine.states import merged
from agent_world_distfs.errors import BlobNotFoundError, PathNotFoundError
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogWriter
from agent_world_distfs.records import FileIndexManifestRef, FileMetadata, ManifestImportReport


def restore_part(
    catalog: Catalog,
    blobs: BlobFiles,
    name: str,
    prefix: str,
    expected_current: FileIndexManifestRef | None,
) -> ManifestImportReport:
    """Make the index hold below the directory ``prefix`` what the snapshot holds there, and nothing else.

    Raises:
        PathNotFoundError: neither has anything there.
        IndexConflictError: the index is not the one of ``expected_current``.
    """
    below = as_directory(prefix)
    expected = Expectation(catalog, blobs, expected_current)
    with opened_snapshot(catalog, blobs, name) as opened, PageSpool[FileMetadata]() as entries:
        entries.add_all(opened.entries(below))
        with reading(catalog, opened.snapshot), expected.told():
            for chunk in chunks(entries):
                verify_blobs(catalog, blobs, chunk)

            def restore(tx: CatalogWriter) -> ManifestImportReport:
                expected.require(tx)
                return _restore(tx, blobs, below, entries)

            return catalog.write(restore)


def _restore(
    tx: CatalogWriter, blobs: BlobFiles, below: str, entries: PageSpool[FileMetadata]
) -> ManifestImportReport:
    steps = list(merged(tx.iter_files(below), entries))  # all of them before the first change
    if not steps and not entries.total:
        raise PathNotFoundError(below)
    now, counts = now_ms(), {"added": 0, "changed": 0, "removed": 0}
    for step in steps:
        if step.after is None:
            counts["removed"] += tx.remove_file(step.path)
            continue
        row = find_stored(tx, blobs, step.after.content_hash)
        if row is None:
            raise BlobNotFoundError(step.after.content_hash)  # the reader of the snapshot reports it
        tx.set_file(step.path, row, now)
        counts["added" if step.before is None else "changed"] += 1
    return ManifestImportReport(entries.total, **counts)
