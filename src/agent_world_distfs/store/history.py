"""The change log: what changed, past states, and undo."""

from __future__ import annotations

from collections.abc import Iterator

from agent_world_distfs.clock import is_time_to_wait
from agent_world_distfs.engine import states
from agent_world_distfs.errors import InvalidInputError
from agent_world_distfs.operations import history, retention, undo
from agent_world_distfs.operations.watching import Watch
from agent_world_distfs.paths import check_prefix, normalize_path
from agent_world_distfs.records import (
    Change,
    ExpiryReport,
    FileDifference,
    FileMetadata,
    LogRange,
    State,
    StoreSettings,
    UndoReport,
)
from agent_world_distfs.store.base import StoreBase, check_text, check_transaction_id


class HistoryMethods(StoreBase):
    """States are named by ``seq``, the number of the transaction that led to them, or by a snapshot's name.

    Asking for a state older than the known history is HistoryExpiredError; for one that the store has not
    reached, InvalidInputError.
    """

    # --- what changed --------------------------------------------------------------------------

    def last_seq(self) -> int:
        """The number of the last transaction: the state that the store has now."""
        return self.log_range().last_seq

    def log_range(self) -> LogRange:
        """How far back the change log reaches, and since when contents are kept."""
        return history.log_range(self._catalog)

    def changes(self, *, since: int | None = None, prefix: str = "") -> Iterator[Change]:
        """The changes after ``since`` until now, of paths with a prefix; None: all that are known.

        In the order in which they were made, whole transactions, in bounded memory. An import is one
        change, whatever the prefix.

        Raises:
            HistoryExpiredError: changes in between are no longer known; also during iteration, if they expire
                before they are reached.
        """
        return history.list_changes(self._catalog, since, check_prefix(prefix))

    def history(self, path: str) -> Iterator[Change]:
        """The known changes of one path, oldest first, and the imports, each of which may have changed it.

        Raises:
            HistoryExpiredError: during iteration, if changes expire before they are reached.
        """
        return history.path_history(self._catalog, normalize_path(path))

    def diff(
        self, state_a: State, state_b: State | None = None, *, prefix: str = ""
    ) -> Iterator[FileDifference]:
        """The paths whose content differs between two states, ascending by the bytes of the path.

        None: the index as it is at the call; beside a snapshot, when the first difference is asked for.
        Memory is bounded between two snapshots, and between a snapshot and the current index.

        Raises:
            SnapshotNotFoundError: there is no such snapshot; also at the first difference, if it was dropped.
        """
        return states.differences(self._catalog, self._blobs, state_a, state_b, check_prefix(prefix))

    def watch(self, *, prefix: str = "", since: int | None = None, timeout_s: float | None = None) -> Watch:
        """Changes as they are committed, by any process: an iterator that waits, and a context manager.

        All changes after ``since``, or from now on, in order, each once. It ends when it is closed, by
        whichever thread, or when no change has come for ``timeout_s`` seconds.

        Raises:
            HistoryExpiredError: changes in between are no longer known; also while it runs, if it falls that
                far behind.
        """
        if timeout_s is not None and not is_time_to_wait(timeout_s):
            raise InvalidInputError(f"timeout_s is not a time to wait: {timeout_s}")
        return Watch(self._catalog, since, check_prefix(prefix), timeout_s)

    # --- undo ----------------------------------------------------------------------------------

    def undo_transaction(self, transaction_id: str, *, actor: str = "", message: str = "") -> UndoReport:
        """Restore, in one transaction, what a transaction overwrote or deleted; works for imports, too.

        Paths that already hold it are left alone. An undo is a transaction like any other, and can itself be
        undone.

        Raises:
            TransactionConflictError: paths no longer hold what it left there; each is listed.
            InvalidInputError: it is not the id of a transaction.
            NotFoundError: there is no such transaction.
            HistoryNotKeptError: the store does not keep old contents.
            HistoryExpiredError: it does not keep contents that old.
            BlobMissingError: the bytes to restore are gone.
        """
        actor, message = check_text(actor, "actor"), check_text(message, "message")
        known = check_transaction_id(transaction_id)
        return undo.undo_transaction(self._catalog, self._blobs, known, actor, message)

    def undo_session(self, session_id: str, *, actor: str = "", message: str = "") -> UndoReport:
        """As ``undo_transaction``, for all transactions of a session since history has been kept.

        A path that somebody else changed between two of them is a conflict, too.

        Raises:
            NotFoundError: no transaction of this session is known.
            InvalidInputError: the id is empty, as that of whatever no session did.
        """
        session_id = check_text(session_id, "session_id")
        if not session_id:
            raise InvalidInputError("the id of a session is not empty")
        actor, message = check_text(actor, "actor"), check_text(message, "message")
        return undo.undo_session(self._catalog, self._blobs, session_id, actor, message)

    # --- past states ---------------------------------------------------------------------------

    def list_files_at(self, state: State, *, prefix: str = "") -> list[FileMetadata]:
        """The entries that the index had, as ``list_files`` gives them."""
        return states.files_at(self._catalog, self._blobs, state, check_prefix(prefix))

    def stat_file_at(self, path: str, state: State) -> FileMetadata | None:
        """The entry that ``path`` had, None if there was none."""
        return states.file_at(self._catalog, self._blobs, normalize_path(path), state)

    def read_file_at(self, path: str, state: State) -> bytes:
        """The content that ``path`` had, verified.

        Raises:
            HistoryNotKeptError: the state is not a snapshot, and the store does not keep old contents.
            PathNotFoundError: there was no file.
            BlobMissingError: its bytes are gone.
        """
        return history.read_at(self._catalog, self._blobs, normalize_path(path), state)

    # --- how much is remembered ----------------------------------------------------------------

    def settings(self) -> StoreSettings:
        """The settings of the store."""
        return self._catalog.read(retention.read_settings)

    def set_setting(self, name: str, value: int | None) -> StoreSettings:
        """Set one setting, for every process, and return all. Names are those of ``StoreSettings``.

        ``keep_history`` is True or False. Turning it on keeps what is overwritten or deleted from then on;
        turning it off makes orphans of what was kept so far.

        Raises:
            InvalidInputError: there is no such setting, or it cannot have this value.
        """
        return retention.change_setting(self._catalog, self._blobs, name, value)

    def expire_history(
        self,
        *,
        before_seq: int | None = None,
        max_age_ms: int | None = None,
        max_transactions: int | None = None,
        max_bytes: int | None = None,
    ) -> ExpiryReport:
        """Forget the oldest transactions until the rest is within the bounds given, or those of the settings.

        ``before_seq``: forget the states before it. ``max_bytes``: counts contents that the transactions
        overwrote or deleted, each as often as that happened, and manifests of imports. What only the
        forgotten transactions named becomes orphans, for a prune to remove.
        """
        numbers = {
            "max_age_ms": max_age_ms,
            "max_transactions": max_transactions,
            "max_bytes": max_bytes,
            "before_seq": before_seq,
        }
        given = {
            name: retention.check_limit(name, each) for name, each in numbers.items() if each is not None
        }
        return retention.expire(self._catalog, self._blobs, retention.Bounds(**given) if given else None)
