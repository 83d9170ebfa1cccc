"""Keeping the current index under a name. Why that is safe beside collections: see the package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from agent_world_distfs.clock import now_ms
from agent_world_distfs.engine.intake import Intake
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.engine.manifest_spool import Look, look_at_index
from agent_world_distfs.engine.reading import find_stored
from agent_world_distfs.engine.replacing import chunks
from agent_world_distfs.engine.snapshots import require_free
from agent_world_distfs.errors import BlobMissingError, LeaseExpiredError, UnavailableError
from agent_world_distfs.manifest_format import decode_manifest
from agent_world_distfs.protocols import BlobBrief, BlobFiles, BlobRow, Catalog, CatalogReader, CatalogWriter
from agent_world_distfs.records import FileIndexManifestRef, FileMetadata, Snapshot

FEW_CHANGES = 1_000
"""How many are processed under the lock: some milliseconds."""

QUICK_ATTEMPTS = 3
ATTEMPTS = 10


class _GoneMeanwhileError(Exception):
    """A blob of the look may have been collected; look again."""


class _MakeSure(Protocol):
    """Verify, under the lock, that all blobs of a look are stored; return those for the recorders."""

    def __call__(self, tx: CatalogWriter, look: Look, /) -> Iterable[BlobBrief]: ...


def create_snapshot(catalog: Catalog, blobs: BlobFiles, name: str, message: str) -> Snapshot:
    """Keep the index of one moment by ``name``; durable, whole or not at all.

    Raises:
        SnapshotExistsError: there is a snapshot of this name.
        BlobMissingError: bytes that the index names are gone.
        UnavailableError: what the index names is overwritten and collected faster than it can be kept.
    """
    catalog.read(lambda tx: require_free(tx, name))  # before the work; the transaction asks again
    creator = _Creator(catalog, blobs, name, message)
    return creator.create_quickly() or creator.create_leased()


class _Creator:
    def __init__(self, catalog: Catalog, blobs: BlobFiles, name: str, message: str) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._name = name
        self._message = message

    def create_quickly(self) -> Snapshot | None:
        """With the changes since the look gone through under the lock; None if there always were too many."""
        for _ in range(QUICK_ATTEMPTS):
            look = look_at_index(self._catalog)
            with look.manifest:
                try:
                    return self._add(look, self._blobs_that_left)
                except _GoneMeanwhileError:
                    continue
        return None

    def create_leased(self) -> Snapshot:
        """With all blobs leased before."""
        with Lease(self._catalog, self._blobs) as lease:

            def require_lease(tx: CatalogWriter, look: Look) -> list[BlobBrief]:
                if look.state.total_files and lease.name not in tx.leases():
                    raise LeaseExpiredError  # somebody took this process for dead
                return []

            for _ in range(ATTEMPTS):
                look = look_at_index(self._catalog)
                with look.manifest:
                    gone = lease.keep_entries(chunks(decode_manifest(look.manifest)))
                    if gone is None:
                        return self._add(look, require_lease)
                self._catalog.read(lambda tx, gone=gone: _require_no_loss(tx, gone))  # type: ignore[misc]
        raise UnavailableError("the index changes too fast to be kept: retry")

    def _add(self, look: Look, make_sure: _MakeSure) -> Snapshot:
        def add(tx: CatalogWriter, row: BlobRow) -> Snapshot:
            require_free(tx, self._name)
            ref = FileIndexManifestRef(row.content_hash, row.size_bytes)
            snapshot = Snapshot(self._name, ref, now_ms(), look.state.total_files, self._message)
            tx.add_snapshot(snapshot, [row, *make_sure(tx, look)])
            return snapshot

        look.manifest.seek(0)
        return Intake(self._catalog, self._blobs).store_stream(look.manifest, add)

    def _blobs_that_left(self, tx: CatalogReader, look: Look) -> Iterable[BlobBrief]:
        """Those that entries named at the time of the look and may not name any more; all are stored."""
        if tx.index_state() == look.state:
            return []
        log, left = tx.log_state(), set[str]()
        if look.seq < log.floor or log.last - look.seq > FEW_CHANGES:
            raise _GoneMeanwhileError
        total = 0
        for transaction in tx.iter_transactions(look.seq, log.last):
            if transaction.imported is not None:
                raise _GoneMeanwhileError
            for change in transaction.changes:
                total += 1
                if total > FEW_CHANGES:
                    raise _GoneMeanwhileError
                if change.before is not None:
                    left.add(change.before.content_hash)
        return [self._stored(tx, content_hash) for content_hash in left]

    def _stored(self, tx: CatalogReader, content_hash: str) -> BlobBrief:
        row = find_stored(tx, self._blobs, content_hash)
        if row is None:
            raise _GoneMeanwhileError
        return row


def _require_no_loss(tx: CatalogReader, gone: FileMetadata) -> None:
    """It was overwritten and collected since the look; else taking a newer one would not help.

    Raises:
        BlobMissingError: the path still names what is not stored.
    """
    held = tx.stat_file(gone.path)
    if held is not None and held.content_hash == gone.content_hash:
        raise BlobMissingError(gone.content_hash, gone.path)
