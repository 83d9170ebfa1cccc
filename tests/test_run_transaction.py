"""run_transaction: again until it holds, whatever the conflict comes wrapped in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from agent_world_distfs import (
    ABSENT,
    FileConflictError,
    FileMetadata,
    InvalidInputError,
    LocalCasStore,
    Retry,
    Transaction,
    TransactionConflictError,
)
from behind import log_of


def test_run_transaction_runs_again_until_it_holds(store: LocalCasStore) -> None:
    store.write_file("n", b"0")
    runs: list[int] = []

    def add(tx: Transaction) -> int:
        number = int(tx.read_file("n"))
        runs.append(number)
        if len(runs) < 4:
            store.write_file("n", str(number + 10).encode())
        tx.write_file("n", str(number + 1).encode())
        return number

    assert store.run_transaction(add, actor="adder") == 30
    assert (runs, store.read_file("n")) == ([0, 10, 20, 30], b"31")
    assert log_of(store)[-1][1] == "adder"


def test_run_transaction_gives_up_after_so_many_attempts_and_after_so_long(store: LocalCasStore) -> None:
    runs: list[FileMetadata | None] = []

    def always_late(tx: Transaction) -> None:
        runs.append(tx.stat_file("n"))
        store.write_file("n", str(len(runs)).encode())
        tx.write_file("never", b"")

    with pytest.raises(TransactionConflictError):
        store.run_transaction(always_late, retry=Retry(max_attempts=3))
    assert len(runs) == 3
    with pytest.raises(TransactionConflictError):
        store.run_transaction(always_late, retry=Retry(deadline_s=0))
    assert len(runs) == 4
    assert store.stat_file("never") is None


def test_errors_of_what_is_run_pass_through_untouched(store: LocalCasStore) -> None:
    error = TransactionConflictError((FileConflictError("mine", ABSENT, None),))

    def fail(tx: Transaction) -> None:
        tx.write_file("a", b"")
        raise error

    with pytest.raises(TransactionConflictError) as raised:
        store.run_transaction(fail)
    assert raised.value is error
    assert store.list_files() == []


def test_run_transaction_within_run_transaction_is_refused_and_within_a_transaction_is_not(
    store: LocalCasStore,
) -> None:
    with pytest.raises(InvalidInputError):
        store.run_transaction(lambda _: store.run_transaction(lambda tx: tx.write_file("a", b"")))
    with store.transaction():
        store.run_transaction(lambda tx: tx.write_file("b", b""))
    store.run_transaction(lambda _: store.update_file("c", lambda _: b"c"))
    assert [file.path for file in store.list_files()] == ["b", "c"]


def generator(tx: Transaction) -> Iterator[None]:
    tx.write_file("a", b"")
    yield


async def coroutine(tx: Transaction) -> None:
    tx.write_file("a", b"")


async def async_generator(tx: Transaction) -> AsyncIterator[None]:
    tx.write_file("a", b"")
    yield


@pytest.mark.parametrize("fn", [generator, coroutine, async_generator])
def test_what_would_run_only_later_is_refused(store: LocalCasStore, fn: Callable[..., Any]) -> None:
    def also_writes(tx: Transaction) -> object:
        tx.write_file("b", b"")
        return fn(tx)

    for run in (
        lambda: store.run_transaction(fn),
        lambda: store.run_transaction(also_writes),
        lambda: store.update_file("c", fn),
    ):
        with pytest.raises(TypeError, match="plain function"):
            run()
    assert store.list_files() == []


# --- a conflict that comes out otherwise than it was raised -----------------------------------------


def raised_first(tx: Transaction) -> None:
    try:
        tx.stat_file("y")
    except TransactionConflictError as first:
        with pytest.raises(TransactionConflictError):
            tx.stat_file("x")  # as for a message about it
        raise first


def from_a_task_group(tx: Transaction) -> None:
    async def look() -> None:
        tx.stat_file("y")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(look())

    asyncio.run(main())


def as_the_cause(tx: Transaction) -> None:
    try:
        tx.stat_file("y")
    except TransactionConflictError as error:
        raise RuntimeError("wrapped") from error


def as_the_context(tx: Transaction) -> None:
    try:
        tx.stat_file("y")
    except TransactionConflictError:
        raise RuntimeError("in the handler")  # noqa: B904  # that is the case


def kept_from_being_seen(tx: Transaction) -> None:
    try:
        tx.stat_file("y")
    except TransactionConflictError:
        raise RuntimeError("given up") from None


def by_an_interrupt(tx: Transaction) -> None:
    try:
        tx.stat_file("y")
    except TransactionConflictError as error:
        raise KeyboardInterrupt from error


def runs_of(store: LocalCasStore, look: Callable[[Transaction], None]) -> list[bytes]:
    """What each run read; between the first read and ``look`` of the first run somebody else writes."""
    store.write_file("x", b"0")
    runs: list[bytes] = []

    def fn(tx: Transaction) -> None:
        runs.append(tx.read_file("x"))
        if len(runs) == 1:
            store.write_file("x", b"1")
        look(tx)
        tx.write_file("z", runs[-1])

    store.run_transaction(fn)
    return runs


@pytest.mark.parametrize("look", [raised_first, from_a_task_group, as_the_cause, as_the_context])
def test_a_conflict_is_retried_however_it_comes_out(
    store: LocalCasStore, look: Callable[[Transaction], None]
) -> None:
    assert runs_of(store, look) == [b"0", b"1"]
    assert store.read_file("z") == b"1"


@pytest.mark.parametrize(
    ("look", "error"), [(kept_from_being_seen, RuntimeError), (by_an_interrupt, KeyboardInterrupt)]
)
def test_who_gives_up_after_a_conflict_is_not_run_again(
    store: LocalCasStore, look: Callable[[Transaction], None], error: type[BaseException]
) -> None:
    with pytest.raises(error):
        runs_of(store, look)
    assert store.stat_file("z") is None


def test_a_conflict_of_another_transaction_in_a_group_passes_through(store: LocalCasStore) -> None:
    other = TransactionConflictError((FileConflictError("mine", ABSENT, None),))

    def fail(_: Transaction) -> None:
        raise ExceptionGroup("several", [KeyError("mine"), other])

    with pytest.raises(ExceptionGroup):
        store.run_transaction(fail)
