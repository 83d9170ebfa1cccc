"""Leases: blobs that are stored and not named yet, safe from collection until they are.

A lease belongs to a session, and lives as long as the session's process does or until it is ended.
Its name is ``<session>.<number>``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from agent_world_distfs.engine.bulk import Bulk
from agent_world_distfs.engine.full_disk import removing
from agent_world_distfs.engine.intake import Intake, settle_inline
from agent_world_distfs.engine.reading import find_stored
from agent_world_distfs.engine.writable import require_writable
from agent_world_distfs.errors import (
    StorageFullError,
    StorageReadOnlyError,
    StoreMovedError,
    WorldError,
)
from agent_world_distfs.protocols import BlobBrief, BlobFiles, BlobRow, Catalog, CatalogWriter
from agent_world_distfs.records import BlobStat, FileMetadata, Readable

END_BATCH = 2_000
"""Rows dropped in one transaction when a lease ends."""


class Lease:
    """Stores blobs and keeps them, and keeps stored ones, until ``end``."""

    def __init__(self, catalog: Catalog, blobs: BlobFiles) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._intake = Intake(catalog, blobs, is_lazy=True)  # what only a lease keeps nobody relies on
        self.name = f"{blobs.session()}.{secrets.token_hex(4)}"
        self._pid = os.getpid()

    def put_stream(self, reader: Readable, expected: str | None = None) -> BlobStat:
        """Store what ``reader`` gives and keep it."""
        return self._intake.store_stream(reader, self._keep, expected)

    def put_bytes(self, data: bytes) -> BlobStat:
        """Store ``data`` and keep it."""
        return self._intake.store(data, self._keep)

    def put_all(self, contents: Collection[tuple[str, bytes]]) -> None:
        """Store small contents, each under its right hash, in one transaction, and keep them."""

        def change(tx: CatalogWriter) -> None:
            for content_hash, data in contents:
                tx.add_lease(self.name, settle_inline(tx, content_hash, data).blob_id)

        self._catalog.write_lazily(change)

    def put_bulk(self, bulk: Bulk) -> None:
        """Store all that is on its way, in one transaction, and keep it."""

        def change(tx: CatalogWriter, rows: Mapping[str, BlobRow | BlobBrief]) -> None:
            for row in rows.values():
                tx.add_lease(self.name, row.blob_id)

        if not bulk.is_empty:
            bulk.store(self._catalog.write_lazily, change)

    def keep(self, content_hashes: Collection[str]) -> list[str]:
        """Keep those of the blobs that are stored, in one transaction; returns the others."""

        def change(tx: CatalogWriter) -> list[str]:
            missing = []
            for content_hash in content_hashes:
                row = find_stored(tx, self._blobs, content_hash)
                if row is None:
                    missing.append(content_hash)
                else:
                    tx.add_lease(self.name, row.blob_id)
            return missing

        return self._catalog.write_lazily(change)

    def keep_entries(self, pages: Iterable[list[FileMetadata]]) -> FileMetadata | None:
        """Keep what entries name, page by page, up to one whose blob is not stored, which is returned."""
        for page in pages:
            gone = set(self.keep({file.content_hash for file in page}))
            if gone:
                return next(file for file in page if file.content_hash in gone)
        return None

    def _keep(self, tx: CatalogWriter, row: BlobRow) -> BlobStat:
        tx.add_lease(self.name, row.blob_id)
        return BlobStat(row.content_hash, row.size_bytes)

    def record(self) -> None:
        """From now on also keep whatever is newly named; see ``orphans`` for why."""
        self._catalog.write_lazily(lambda tx: tx.add_recorder(self.name))

    def end(self) -> None:
        """Keep nothing any more, in short transactions."""
        if self._pid != os.getpid():
            return  # a forked child that leaves the block leaves the lease to its parent
        removing(self._catalog, self._blobs, lambda: _end(self._catalog, self.name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What was done under the lease stands, or failed, whatever becomes of it, and be it that others have
        # closed the store: the next tidying ends it.
        with suppress(WorldError):
            self.end()


def lease_where_writable(catalog: Catalog, blobs: BlobFiles, stack: ExitStack) -> Lease | None:
    """A lease that ends with ``stack``; None where the store cannot be written, and nothing can be kept."""
    try:
        require_writable(catalog)
        lease = Lease(catalog, blobs)
    except (StorageReadOnlyError, StoreMovedError, StorageFullError):
        return None
    return stack.enter_context(lease)


def dead_leases(catalog: Catalog, blobs: BlobFiles) -> frozenset[str]:
    """Leases whose process is dead. The dead stay dead; about all others this says nothing."""
    leases = catalog.read(lambda tx: tx.leases())
    live = blobs.live_sessions(lease.partition(".")[0] for lease in leases)
    return frozenset(lease for lease in leases if lease.partition(".")[0] not in live)


def tidy(catalog: Catalog, blobs: BlobFiles) -> None:
    """Remove what dead processes left: temporary files, leases, generations of the index. Never blobs."""
    blobs.tidy()
    for lease in dead_leases(catalog, blobs):
        _end(catalog, lease)
    if catalog.read(lambda tx: tx.has_dead_rows()):
        while not catalog.write_lazily(lambda tx: tx.sweep_generations(END_BATCH)):
            pass


def _end(catalog: Catalog, lease: str) -> None:
    while not catalog.write_lazily(lambda tx: tx.end_lease(lease, END_BATCH)):
        pass
