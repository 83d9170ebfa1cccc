"""For many writers on the same files: transactions, updates, sessions, leases."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from agent_world_distfs.clock import is_time_to_wait
from agent_world_distfs.errors import InvalidInputError, TransactionForgottenError
from agent_world_distfs.operations import files
from agent_world_distfs.operations.leasing import BlobLease
from agent_world_distfs.operations.transactions import Transaction, running
from agent_world_distfs.operations.updating import Edit, Update
from agent_world_distfs.paths import normalize_path
from agent_world_distfs.protocols import BlobRow, CatalogWriter
from agent_world_distfs.records import Expected, FileMetadata, Retry
from agent_world_distfs.store.agent_session import AgentSession
from agent_world_distfs.store.base import StoreBase, check_text, check_transaction_id

T = TypeVar("T")

_DEFAULT_RETRY = Retry()


class AgentMethods(StoreBase):
    """Writes that depend on what was read; nobody's work is lost."""

    def transaction(self, *, actor: str = "", message: str = "") -> Transaction:
        """A transaction over any number of files, for a ``with`` block: see ``Transaction``.

        ``actor`` and ``message`` are recorded in the change log.
        """
        return Transaction(
            self._catalog,
            self._blobs,
            actor=check_text(actor, "actor"),
            message=check_text(message, "message"),
        )

    def run_transaction(
        self,
        fn: Callable[[Transaction], T],
        *,
        retry: Retry = _DEFAULT_RETRY,
        actor: str = "",
        message: str = "",
    ) -> T:
        """Run ``fn`` in a transaction, again after each conflict, and return what it returns.

        ``fn`` may run several times, and so do its other effects. Its errors pass through, and nothing is
        changed; but an error that came of a conflict, or a group with one, counts as the conflict, unless it
        is raised ``from None``. Callers that have lost queue for the one turn of the store.

        Raises:
            TransactionConflictError: the last attempt lost.
            StoreBusyError: the turn was not free in time.
            TypeError: ``fn`` is a generator or ``async``, which would run too late; nothing is changed.
            InvalidInputError: called within the ``fn`` of another call, by the same thread.
        """
        return running.run(
            self._catalog,
            self.location,
            lambda: self.transaction(actor=actor, message=message),
            fn,
            _check_retry(retry),
        )

    def update_file(self, path: str, change: Edit, *, retry: Retry = _DEFAULT_RETRY) -> FileMetadata | None:
        """Make ``path`` hold what ``change`` makes of its content, again after each conflict.

        ``change`` gets the content, None if there is no file, and returns the new content, or ABSENT to
        delete the file. What it raises passes through, and nothing is changed. If it returns the same bytes,
        nothing is written. Updaters of the same path queue for its turn. Returns the resulting entry, None
        for no file.

        Raises:
            TypeError: ``change`` returned None, or something that is not content; nothing is changed.
            FileConflictError: the last attempt lost.
            StoreBusyError: the turn was not free in time.
            InvalidInputError: called within the ``change`` of another call on the same path, by the same
                thread.
        """
        path, retry = normalize_path(path), _check_retry(retry)

        def write(
            data: bytes | None, expected: Expected, written: Callable[[FileMetadata | None], None]
        ) -> None:
            def remove(tx: CatalogWriter) -> None:
                files.remove_path(tx, path, expected)
                written(None)

            def name(tx: CatalogWriter, row: BlobRow) -> None:
                written(files.name_blob(tx, path, expected, row))

            if data is None:
                self._remove(remove)
            else:
                self._intake.store(data, name)

        return Update(self._catalog, self._blobs, path, change, write).run(self.location, retry)

    def session(self, *, actor: str = "") -> AgentSession:
        """A session for one agent: writes are checked against what it has read; see ``AgentSession``."""
        return AgentSession(
            self._catalog, self._blobs, self._intake, self._remove, check_text(actor, "actor")
        )

    def lease(self) -> BlobLease:
        """Keeps blobs that nothing names yet until its ``with`` block ends: see ``BlobLease``."""
        return BlobLease(self._catalog, self._blobs)

    def was_committed(self, transaction_id: str) -> bool:
        """Whether a transaction was committed; the answer is final.

        Raises:
            InvalidInputError: it is not the id of a transaction.
            TransactionForgottenError: it is older than what is kept.
            UnavailableError: this cannot be determined now; ask again.
            StorageReadOnlyError: the store was opened read-only; ask one that can settle it.
        """
        known = self._catalog.was_committed(check_transaction_id(transaction_id))
        if known is None:
            raise TransactionForgottenError(transaction_id)
        return known


def _check_retry(retry: Retry) -> Retry:
    if not isinstance(retry, Retry):
        raise TypeError(f"retry is a Retry, not {type(retry).__name__}")
    for number in (retry.deadline_s, retry.max_attempts, retry.base_s, retry.cap_s):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"a Retry holds numbers, not {type(number).__name__}")
        if not is_time_to_wait(number):
            raise InvalidInputError(f"not a valid Retry value: {number}")
    return retry
