"""One snapshot of the index whose blobs stay while it is written out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from agent_world_distfs.engine.file_spool import FileSpool
from agent_world_distfs.engine.leases import Lease, lease_where_writable
from agent_world_distfs.engine.reading import find_stored
from agent_world_distfs.errors import (
    BlobMissingError,
    StorageFullError,
    UnavailableError,
)
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogWriter
from agent_world_distfs.records import FileMetadata

SNAPSHOT_ATTEMPTS = 10


@contextmanager
def kept_files(catalog: Catalog, blobs: BlobFiles, prefix: str) -> Iterator[FileSpool]:
    """The entries with a prefix, their blobs safe from collection if the store can be written.

    Raises:
        BlobMissingError: a blob that one of them names is gone.
        UnavailableError: they are overwritten and collected faster than they can be kept.
    """
    with ExitStack() as stack:
        lease = lease_where_writable(catalog, blobs, stack)
        for _ in range(SNAPSHOT_ATTEMPTS):
            with FileSpool(catalog, prefix) as spool:
                missing = _keep(lease, spool) if lease is not None else None
                if missing is None:
                    yield spool
                    return
            _check_loss(catalog, blobs, missing)  # else it was overwritten and collected: take a newer one
    raise UnavailableError("the index changes too fast to be written out: retry")


def _keep(lease: Lease, spool: FileSpool) -> FileMetadata | None:
    """Keep the blobs of all entries; an entry whose blob is not stored any more, if there is one."""
    with suppress(StorageFullError):  # no lease can be written, but files out of a full disk can be
        return lease.keep_entries(spool.pages())
    return None


def _check_loss(catalog: Catalog, blobs: BlobFiles, file: FileMetadata) -> None:
    """Raise BlobMissingError if the path still names the blob that is not stored: under the write lock."""

    def is_lost(tx: CatalogWriter) -> bool:
        held = tx.stat_file(file.path)
        return (
            held is not None
            and held.content_hash == file.content_hash
            and find_stored(tx, blobs, file.content_hash) is None
        )

    if catalog.write(is_lost):
        raise BlobMissingError(file.content_hash, file.path)
