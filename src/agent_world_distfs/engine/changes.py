"""The change log as its followers read it: change by change, whole transactions, in order.

It is copied out of snapshots that last for some hundred changes, each of whole transactions: a slow consumer
keeps nothing in use, and expiry meanwhile cannot split a transaction. Memory is bounded, however large a
transaction is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agent_world_distfs.engine.page_spool import PageSpool
from agent_world_distfs.errors import HistoryExpiredError, HistoryNotKeptError, InvalidInputError
from agent_world_distfs.os_failures import temporary_place, translated
from agent_world_distfs.protocols import Catalog, CatalogReader, LoggedTransaction, LogState
from agent_world_distfs.records import Change, FileIndexManifestRef

WINDOW = 1_000
"""How many changes are read from a snapshot before it is released, with the last one's transaction."""


def changes_of(transaction: LoggedTransaction) -> Iterator[Change]:
    """The changes of one transaction, as long as its snapshot is there."""
    deed = (transaction.at_ms, transaction.actor, transaction.message, transaction.session)
    number, name = transaction.sequence, transaction.transaction_id
    if transaction.imported is not None:
        refs = (_ref(transaction.imported), _ref(transaction.replaced))
        yield Change(number, 0, name, "", None, None, *deed, *refs)
        return
    for ordinal, change in enumerate(transaction.changes):
        yield Change(number, ordinal, name, change.path, change.before, change.after, *deed)


def _ref(text: str | None) -> FileIndexManifestRef | None:
    return FileIndexManifestRef.parse(text) if text else None


def concerns(change: Change, prefix: str) -> bool:
    """Whether a change may be one of paths with a prefix: an import always may."""
    return change.is_import or change.path.startswith(prefix)


def check_seq(seq: int) -> int:
    """Return ``seq`` if it can be one of some store."""
    if isinstance(seq, bool) or not isinstance(seq, int):
        raise TypeError(f"a seq is a number, not {type(seq).__name__}")
    if seq < 0:
        raise InvalidInputError(f"a seq is not negative: {seq}")
    return seq


def require_known(state: LogState, seq: int) -> None:
    """Verify that the change log reaches from ``seq`` to now.

    Raises:
        HistoryExpiredError: it begins later.
        InvalidInputError: the store has not come so far.
    """
    if check_seq(seq) < state.floor:
        raise HistoryExpiredError(seq, state.floor)
    if seq > state.last:
        raise InvalidInputError(f"there is no seq {seq} yet; the last is {state.last}")


def require_kept(state: LogState, seq: int) -> None:
    """The same for contents.

    Raises:
        HistoryNotKeptError: the store keeps none.
        HistoryExpiredError: none of then.
    """
    if state.history_from is None:
        raise HistoryNotKeptError
    require_known(state, seq)
    if seq < state.kept_after:
        raise HistoryExpiredError(seq, state.kept_after)


class Window:
    """The changes of whole transactions after one, as of one snapshot; a gap is an error."""

    def __init__(
        self, catalog: Catalog, after: int, up_to: int | None, is_wanted: Callable[[Change], bool]
    ) -> None:
        self.reached = after
        """The transaction up to which these are all changes."""
        self.is_complete = False
        """Whether these are all that were asked for."""
        self.changes = PageSpool[Change]()
        try:
            with translated(temporary_place()):
                catalog.read(lambda tx: self._fill(tx, up_to, is_wanted))
        except BaseException:
            self.changes.close()
            raise

    def _fill(self, tx: CatalogReader, up_to: int | None, is_wanted: Callable[[Change], bool]) -> None:
        state = tx.log_state()
        require_known(state, self.reached)
        last, seen = min(state.last, state.last if up_to is None else up_to), 0

        def wanted(transaction: LoggedTransaction) -> Iterator[Change]:
            nonlocal seen
            for change in changes_of(transaction):
                seen += 1
                if is_wanted(change):
                    yield change

        for transaction in tx.iter_transactions(self.reached, last):
            self.changes.add_all(wanted(transaction))
            self.reached = transaction.sequence
            if seen >= WINDOW:
                return
        self.reached, self.is_complete = last, True


def iter_changes(
    catalog: Catalog, since: int, up_to: int, is_wanted: Callable[[Change], bool] = lambda _: True
) -> Iterator[Change]:
    """Changes of the transactions after ``since`` up to one, in their order."""
    while since < up_to:
        window = Window(catalog, since, up_to, is_wanted)
        with window.changes as changes:
            yield from changes
        since = window.reached
