"""Adopting a store of the original: its files with their times, its pins, and every blob.

Blobs are copied under a lease and verified on the way; then the original is read again, and what has changed
is copied, until nothing changes any more. Only then is the index flipped, pins included, in one transaction.
Dying before that leaves an empty index: run it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from agent_world_distfs.engine.intake import INLINE_MAX_BYTES
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.engine.reading import find_stored
from agent_world_distfs.engine.replacing import replace_index
from agent_world_distfs.errors import (
    BlobHashMismatchError,
    BlobNotFoundError,
    CorruptError,
    InvalidInputError,
    UnavailableError,
)
from agent_world_distfs.hashing import hash_function
from agent_world_distfs.operations.original.content import open_original_blob, require_algorithm
from agent_world_distfs.operations.original.snapshot import BlobFingerprint, OriginalSnapshot, read_snapshot
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogReader, CatalogWriter
from agent_world_distfs.records import AdoptReport, FileMetadata, Progress

BATCH = 500
"""Small blobs stored in one transaction."""

ROUNDS = 5
"""How often the original may have changed when it is looked at again."""


_DAMAGE = {CorruptError, BlobHashMismatchError}
"""What is said of a blob of the original."""


@dataclass(slots=True)
class _Brought:
    """``sizes``: of the blobs that came over, by hash."""

    sizes: dict[str, int] = field(default_factory=dict)
    corrupt: set[str] = field(default_factory=set)


def adopt(
    catalog: Catalog,
    blobs: BlobFiles,
    directory: str | os.PathLike[str],
    snapshot: OriginalSnapshot,
    progress: Progress | None,
    location: str,
) -> AdoptReport:
    """Take over what ``snapshot`` says of ``directory`` into the store at ``location``; progress in blobs.

    Raises:
        InvalidInputError: the index here is not empty.
        IncompatibleStoreError: some blobs are named by another algorithm than this store's.
        UnavailableError: the original did not hold still.
    """
    require_empty = partial(_require_empty, location=location)
    catalog.write(require_empty)  # a store that cannot be written says so too, before anything is read
    with Lease(catalog, blobs) as lease:
        bringing = _Bringing(catalog, lease, directory, progress)
        snapshot, brought = bringing.bring_until_still(snapshot)
        entries = [file for file in snapshot.files if brought.sizes.get(file.content_hash) == file.size_bytes]
        pins = [content_hash for content_hash in snapshot.pins if content_hash in brought.sizes]

        def before_flip(tx: CatalogWriter) -> None:
            require_empty(tx)
            _pin_all(tx, blobs, pins)

        replace_index(catalog, blobs, lambda: entries, catalog.digest_of(entries), before_flip)
    return _report(catalog, snapshot, brought, entries, pins)


def _require_empty(tx: CatalogReader, location: str) -> None:
    if tx.count_files():
        raise InvalidInputError(
            f"the index of the store at {location} is not empty: give a new one (--store)"
        )


def _pin_all(tx: CatalogWriter, blobs: BlobFiles, pins: Iterable[str]) -> None:
    for content_hash in pins:
        row = find_stored(tx, blobs, content_hash)
        if row is None:
            raise BlobNotFoundError(content_hash)
        tx.add_pin(row)


class _Bringing:
    """Copies blobs, small ones many in one transaction."""

    def __init__(
        self, catalog: Catalog, lease: Lease, directory: str | os.PathLike[str], progress: Progress | None
    ) -> None:
        self._algorithm = catalog.hash_algorithm
        self._hash_bytes = hash_function(catalog.hash_algorithm)
        self._lease = lease
        self._directory = directory
        self._progress = progress
        self._waiting: list[tuple[str, bytes]] = []
        self._brought = _Brought()
        self._seen: dict[str, BlobFingerprint] = {}

    def bring_until_still(self, snapshot: OriginalSnapshot) -> tuple[OriginalSnapshot, _Brought]:
        """Bring what the original has; returns what it says, before and after the same."""
        for _ in range(ROUNDS):
            self._bring_all(snapshot.blobs)
            again = read_snapshot(self._directory)
            if again == snapshot:
                return snapshot, self._brought
            snapshot = again
        raise UnavailableError(f"{os.fsdecode(self._directory)} keeps changing: stop what writes to it")

    def _bring_all(self, blobs: Mapping[str, BlobFingerprint]) -> None:
        for content_hash in [known for known in self._seen if self._seen[known] != blobs.get(known)]:
            self._forget(content_hash)
        for done, content_hash in enumerate(sorted(blobs), 1):
            if content_hash not in self._seen:
                self._seen[content_hash] = blobs[content_hash]
                self._try(content_hash)
            if len(self._waiting) >= BATCH:
                self._store_waiting()
            if self._progress is not None:
                self._progress(done, len(blobs))
        self._store_waiting()

    def _forget(self, content_hash: str) -> None:
        del self._seen[content_hash]
        self._brought.sizes.pop(content_hash, None)
        self._brought.corrupt.discard(content_hash)

    def _try(self, content_hash: str) -> None:
        try:
            self._bring(content_hash)
        except BlobNotFoundError:
            return  # gone since: the next look at the original will tell
        except CorruptError as error:
            if type(error) not in _DAMAGE:  # a CatalogError, say, is ours
                raise
            require_algorithm(self._directory, content_hash, self._algorithm)
            self._brought.corrupt.add(content_hash)

    def _bring(self, content_hash: str) -> None:
        with open_original_blob(self._directory, content_hash) as content:
            head = content.read(INLINE_MAX_BYTES + 1)
        if len(head) > INLINE_MAX_BYTES:
            with open_original_blob(self._directory, content_hash) as content:
                stat = self._lease.put_stream(content, content_hash)
            self._brought.sizes[content_hash] = stat.size_bytes
            return
        if self._hash_bytes(head) != content_hash:
            raise BlobHashMismatchError(content_hash, self._hash_bytes(head))
        self._waiting.append((content_hash, head))
        self._brought.sizes[content_hash] = len(head)

    def _store_waiting(self) -> None:
        self._lease.put_all(self._waiting)
        self._waiting.clear()


def _report(
    catalog: Catalog,
    snapshot: OriginalSnapshot,
    brought: _Brought,
    entries: list[FileMetadata],
    pins: list[str],
) -> AdoptReport:
    named = {file.content_hash for file in entries}.union(pins)
    wanted = {file.content_hash for file in snapshot.files}.union(snapshot.pins)
    kept_paths = {file.path for file in entries}
    return AdoptReport(
        hash_algorithm=catalog.hash_algorithm,
        total_files=len(entries),
        total_blobs=len(brought.sizes),
        total_pins=len(pins),
        orphan_blob_hashes=tuple(sorted(brought.sizes.keys() - named)),
        missing_blob_hashes=tuple(sorted(wanted - brought.sizes.keys() - brought.corrupt)),
        corrupt_blob_hashes=tuple(sorted(brought.corrupt)),
        skipped_paths=tuple(file.path for file in snapshot.files if file.path not in kept_paths),
        skipped_pin_hashes=tuple(name for name in snapshot.pins if name not in brought.sizes),
    )
