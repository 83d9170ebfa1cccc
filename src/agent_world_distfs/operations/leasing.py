"""Leases for callers: blobs that are stored now and named later."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.errors import BlobNotFoundError, ForkedStoreError, InvalidInputError
from agent_world_distfs.hashing import as_bytes, check_hash
from agent_world_distfs.protocols import BlobFiles, Catalog
from agent_world_distfs.records import BlobStat, Data, Readable

T = TypeVar("T")

_OUTSIDE = "a lease lasts as long as its 'with' block, and this is outside of it"


class BlobLease:
    """Keeps blobs that nothing names yet safe from collection; made by ``lease`` of a store.

    Until the block ends, or the process: an OS lock decides, not a clock, so that a suspended machine resumes
    where it was. Any number of threads may use it. What is named by the end of the block stays; the rest is
    an orphan then.

    Outside of the block every call is InvalidInputError, and so is one that outlasts it, in another thread;
    in a forked child, ForkedStoreError.
    """

    def __init__(self, catalog: Catalog, blobs: BlobFiles) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._lease: Lease | None = None
        self._pid = os.getpid()

    def put_bytes(self, data: Data) -> str:
        """Store ``data`` and keep it; returns its hash."""
        content = as_bytes(data)
        return self._under(lambda lease: lease.put_bytes(content)).content_hash

    def put_stream(self, reader: Readable, *, expected_content_hash: str | None = None) -> BlobStat:
        """Store all that ``reader`` gives, in bounded memory, and keep it. The reader is not closed.

        Raises:
            BlobHashMismatchError: it is not what was expected; nothing is stored.
        """
        if expected_content_hash is not None:
            check_hash(expected_content_hash)
        return self._under(lambda lease: lease.put_stream(reader, expected_content_hash))

    def keep(self, content_hash: str) -> None:
        """Keep a blob that is stored already.

        Raises:
            BlobNotFoundError: it is not.
        """
        names = [check_hash(content_hash)]
        if self._under(lambda lease: lease.keep(names)):
            raise BlobNotFoundError(content_hash)

    def _under(self, work: Callable[[Lease], T]) -> T:
        """What ``work`` gives, if the block lasts for so long."""
        lease = self._open()
        try:
            result = work(lease)
        finally:
            has_ended = self._lease is not lease
            if has_ended:  # by another thread, which may have missed what was kept since
                lease.__exit__(None, None, None)
        if has_ended:
            raise InvalidInputError(_OUTSIDE)
        return result

    def _open(self) -> Lease:
        lease = self._lease
        if lease is None:
            raise InvalidInputError(_OUTSIDE)
        if self._pid != os.getpid():
            raise ForkedStoreError  # the lease is the parent's, and ends with it
        return lease

    def __enter__(self) -> Self:
        if self._lease is not None:
            raise InvalidInputError("the lease has begun already")
        self._lease = Lease(self._catalog, self._blobs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.__exit__(kind, error, trace)
