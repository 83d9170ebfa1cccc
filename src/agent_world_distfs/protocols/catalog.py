"""What a catalog must offer: paths, pins, one row per blob, the bytes of small blobs; transactional."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from agent_world_distfs.protocols.rows import (
    BlobRow,
    IndexState,
)
from agent_world_distfs.protocols.transactions import CatalogReader, CatalogWriter
from agent_world_distfs.records import FileMetadata, HashAlgorithm

T = TypeVar("T")


class Turn(Protocol):
    """A place in the queue of callers that retry on the same thing. Nothing else waits for it.

    A courtesy, not a protection: the other callers in the queue stay out of its holder's way. It is released
    when its holder dies.
    """

    @property
    def is_held(self) -> bool:
        """Whether it is ours."""
        ...

    def take(self) -> bool:
        """Take it if it is free."""
        ...

    def wait(self, deadline: float, timeout_s: float) -> None:
        """Take it after those that came before. Idempotent.

        Raises:
            StoreBusyError: not before ``deadline`` (monotonic), which is ``timeout_s`` after the beginning.
        """
        ...

    def insist(self) -> None:
        """Ask newcomers to wait for this turn first, as long as it is held."""
        ...

    def is_insisted_on(self) -> bool:
        """Whether a holder, or the next in line, asks for that. Callers that insist try to take it first."""
        ...

    def release(self) -> None:
        """Release it. Idempotent."""
        ...


class Catalog(Protocol):
    """Paths, pins and blob rows, changed in atomic, serializable transactions."""

    @property
    def hash_algorithm(self) -> HashAlgorithm:
        """The function that names the blobs of this store."""
        ...

    def digest_of(self, files: Iterable[FileMetadata]) -> IndexState:
        """The state that an index of just these entries would have in this store."""
        ...

    def read(self, query: Callable[[CatalogReader], T]) -> T:
        """Run ``query`` on one snapshot. It must be short, and must not keep the reader or call user code."""
        ...

    def find_file(self, path: str) -> tuple[FileMetadata, BlobRow] | None:
        """As ``CatalogReader.find_file``, of a snapshot of its own."""
        ...

    def stat_file(self, path: str) -> FileMetadata | None:
        """As ``CatalogReader.stat_file``, of a snapshot of its own."""
        ...

    def write(self, change: Callable[[CatalogWriter], T]) -> T:
        """Run ``change`` alone under the write lock and commit; an exception from it changes nothing.

        Durable once this returns, as far as the store's durability says. A ``change`` that changes
        nothing commits nothing. It may be run again after a rollback, beside other changes than before: so
        it must not keep what it saw of ``tx`` for the next time.

        Raises:
            StoreBusyError: the write lock was not free in time.
            OutcomeUnknownError: the commit failed while it was being flushed.
        """
        ...

    def write_lazily(self, change: Callable[[CatalogWriter], T]) -> T:
        """Like ``write``, but not flushed: durable with the next ``write``, or lost together with this one.

        For steps that no acknowledgement rests on: leases, staged rows, what is swept away.
        """
        ...

    def write_then(self, change: Callable[[CatalogWriter], T], then: Callable[[T], None]) -> T:
        """Like ``write``, always flushed; runs ``then`` after the commit and before others may write."""
        ...

    def turn(self, name: str, *, insists: bool) -> Turn:
        """The turn for ``name``, not held yet. ``insists``: its holders always insist.

        Raises:
            StorageReadOnlyError: the catalog may not be changed.
        """
        ...

    def was_committed(self, transaction_id: str) -> bool | None:
        """Whether a transaction of this id was committed; the answer is final. None: older than what is
        known.

        Raises:
            UnavailableError: what an I/O error left open cannot be settled now.
        """
        ...

    def mark(self) -> object:
        """Equal to an earlier mark only if nothing was committed in between, by anybody; cheap."""
        ...

    def truncate_wal(self) -> None:
        """Return the space of the WAL that only settled commits use, as far as readers allow."""
        ...

    def close(self) -> None:
        """Release all resources. Idempotent."""
        ...
