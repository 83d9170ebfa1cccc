"""Many contents in at once: one transaction for all of them, and few flushes for the large ones.

Small contents wait in memory, large ones in temporary files; nothing of either is stored before
``store``, which makes the large ones durable under their names and then runs one transaction. So
bytes come before names here as they do for a single content: see ``intake``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, Self, TypeVar

from agent_world_distfs.engine.intake import (
    INLINE_MAX_BYTES,
    copy_stream,
    read_up_to,
    settle_file,
    settle_inline,
)
from agent_world_distfs.hashing import hash_function, require_hash
from agent_world_distfs.protocols import BlobBrief, BlobFiles, BlobRow, Catalog, CatalogWriter, IncomingBatch
from agent_world_distfs.records import BlobStat, Readable

T = TypeVar("T")
Rows = Mapping[str, BlobRow | BlobBrief]
"""By content hash."""

FULL_BLOBS = 500
FULL_SMALL_BYTES = 64 << 20
FULL_LARGE_BYTES = 256 << 20
"""From these sizes on a bulk that may be divided is: what waits in memory, and what a death costs."""


class Write(Protocol):
    """Runs a change in a transaction: ``Catalog.write`` or ``Catalog.write_lazily``."""

    def __call__(self, change: Callable[[CatalogWriter], T], /) -> T:
        """What the change returns."""
        ...


class Bulk:
    """Contents on their way in, each stored once however often it comes; empty again after ``store``."""

    def __init__(self, catalog: Catalog, blobs: BlobFiles, *, full_blobs: int = FULL_BLOBS) -> None:
        self._blobs = blobs
        self._full_blobs = full_blobs
        self._algorithm = catalog.hash_algorithm
        self._hash_bytes = hash_function(self._algorithm)
        self._small: dict[str, bytes] = {}
        self._large: dict[str, BlobStat] = {}
        self._batch: IncomingBatch | None = None
        self._small_bytes = self._large_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store."""
        return not self._small and not self._large

    @property
    def is_full(self) -> bool:
        """Whether it is time to store what there is, where that may be done in parts."""
        return (
            len(self._small) + len(self._large) >= self._full_blobs
            or self._small_bytes >= FULL_SMALL_BYTES
            or self._large_bytes >= FULL_LARGE_BYTES
        )

    def add_small(self, data: bytes, content_hash: str = "") -> BlobStat:
        """Content of up to ``INLINE_MAX_BYTES``. ``content_hash``, if given, is known to be the right one."""
        content_hash = content_hash or self._hash_bytes(data)
        if content_hash not in self._small:
            self._small[content_hash] = data
            self._small_bytes += len(data)
        return BlobStat(content_hash, len(data))

    def add_stream(self, reader: Readable, expected: str | None = None) -> BlobStat:
        """All that ``reader`` gives, in bounded memory; the reader is not closed.

        Raises:
            BlobHashMismatchError: the content does not hash to ``expected``; it is not added.
        """
        head = read_up_to(reader, INLINE_MAX_BYTES + 1)
        if len(head) <= INLINE_MAX_BYTES:
            content_hash = self._hash_bytes(head)
            require_hash(expected or content_hash, content_hash)
            return self.add_small(head, content_hash)
        return self._add_large(head, reader, expected)

    def _add_large(self, head: bytes, rest: Readable, expected: str | None) -> BlobStat:
        if self._batch is None:
            self._batch = self._blobs.batch()
        incoming = self._batch.incoming()
        try:
            stat = copy_stream(head, rest, incoming, self._algorithm)
            require_hash(expected or stat.content_hash, stat.content_hash)
        except BaseException:
            incoming.discard()
            raise
        self._batch.add(incoming, stat.content_hash)
        self._large[stat.content_hash] = stat
        self._large_bytes += stat.size_bytes
        return stat

    def store(self, write: Write, change: Callable[[CatalogWriter, Rows], T]) -> T:
        """Store all of it and run ``change`` in the transaction that records it."""
        try:
            if self._batch is not None:
                self._batch.publish()
            return write(lambda tx: change(tx, self._settle(tx)))
        finally:
            self.discard()

    def _settle(self, tx: CatalogWriter) -> Rows:
        rows = {name: settle_inline(tx, name, data) for name, data in self._small.items()}
        for content_hash, stat in self._large.items():
            assert self._batch is not None
            self._batch.ensure(content_hash)
            rows[content_hash] = settle_file(tx, stat)
        return rows

    def discard(self) -> None:
        """Forget what has been added."""
        batch, self._batch = self._batch, None
        self._small, self._large = {}, {}
        self._small_bytes = self._large_bytes = 0
        if batch is not None:
            batch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()
