"""Transactions that are retried until they commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from agent_world_distfs.engine.retrying import TRANSACTIONS, Call, Lost, has_held, persist, require_run
from agent_world_distfs.errors import OutcomeUnknownError, TransactionConflictError
from agent_world_distfs.operations.transactions.transaction import Transaction
from agent_world_distfs.protocols import Catalog
from agent_world_distfs.records import Retry

T = TypeVar("T")


def run(
    catalog: Catalog,
    place: str,
    begin: Callable[[], Transaction],
    fn: Callable[[Transaction], T],
    retry: Retry,
) -> T:
    """What ``fn`` returns for the transaction that held."""

    def attempt() -> T | Lost:
        transaction = begin()
        outcome: list[T] = []
        try:
            with transaction:
                outcome.append(require_run(fn(transaction)))
        except OutcomeUnknownError as unknown:
            if unknown.transaction_id != transaction.transaction_id:
                raise
            if not has_held(catalog, unknown, retry):
                return Lost(unknown)
        except Exception as error:  # an interrupt is none
            conflict = next(filter(transaction.has_raised, _conflicts_behind(error)), None)
            if conflict is None:
                raise  # may be that of another one, inside ``fn``
            return Lost(conflict)
        return outcome[0]

    turn = catalog.turn(TRANSACTIONS, insists=False)
    call = Call(place, "", "run_transaction")
    return call.around(turn, lambda: persist(attempt, turn, retry, waits=not call.is_nested))


def _conflicts_behind(error: BaseException) -> Iterator[TransactionConflictError]:
    """Those that ``error`` is, holds as a group does (``asyncio.TaskGroup`` makes one), or came of."""
    waiting: list[BaseException | None] = [error]
    met: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in met:
            continue
        met.add(id(each))
        if isinstance(each, TransactionConflictError):
            yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        waiting += (each.__cause__, None if each.__suppress_context__ else each.__context__)
