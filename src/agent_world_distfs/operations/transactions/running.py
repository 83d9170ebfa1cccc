"""Transactions that are retried until they commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from agent_world_distfs.engine.retrying import Call, Lost, has_held, persist
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
                outcome.append(fn(transaction))
        except TransactionConflictError as conflict:
            if not transaction.has_raised(conflict):
                raise  # of another one, inside ``fn``
            return Lost(conflict)
        except OutcomeUnknownError as unknown:
            if unknown.transaction_id != transaction.transaction_id:
                raise
            if not has_held(catalog, unknown, retry):
                return Lost(unknown)
        return outcome[0]

    turn = catalog.turn("transactions", insists=False)
    call = Call(place, "", "run_transaction")
    try:
        return persist(attempt, turn, retry, waits=not call.is_nested)
    finally:
        call.leave()
