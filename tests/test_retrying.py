"""Turns and nested calls, where interrupts and second names get in the way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent_world_distfs import (
    InvalidInputError,
    LocalCasStore,
    Retry,
    Transaction,
    TransactionConflictError,
)
from agent_world_distfs.engine import retrying
from agent_world_distfs.protocols import Turn
from striking import RaiseAtLine


class Struck(BaseException):
    pass


def update(store: LocalCasStore) -> None:
    store.update_file("n", lambda content: (content or b"") + b"1")


def run(store: LocalCasStore) -> None:
    store.run_transaction(lambda tx: tx.write_file("n", b""))


@pytest.mark.parametrize(
    "part", ["engine/retrying.py", "operations/updating.py", "operations/transactions/running.py"]
)
@pytest.mark.parametrize(
    ("call", "name", "insists"), [(update, "path n", True), (run, "transactions", False)]
)
def test_an_interrupt_at_any_line_leaves_no_turn_taken_and_no_call_open(
    store: LocalCasStore, part: str, call: Callable[[LocalCasStore], None], name: str, insists: bool
) -> None:
    kept: list[Struck] = []  # as by a log: what it hit is not forgotten
    for number in range(1, 1000):
        striking = RaiseAtLine(number, Struck, part)
        try:
            with striking:
                call(store)
        except Struck as struck:
            kept.append(struck)
        turn = store._catalog.turn(name, insists=insists)
        assert turn.take()
        turn.release()
        call(store)
        if not striking.has_raised:
            break
    assert len(kept) == number - 1


@pytest.mark.parametrize("call", ["update_file", "run_transaction"])
def test_errors_that_are_kept_keep_no_descriptor_open(store: LocalCasStore, call: str) -> None:
    def fail(_: object) -> bytes:
        raise Struck

    def lose(tx: Transaction) -> None:
        tx.stat_file("n")
        store.write_file("n", b"%d" % time.monotonic_ns())
        tx.stat_file("n")

    def make() -> None:
        if call == "update_file":
            store.update_file("n", fail)
        store.run_transaction(lose, retry=Retry(max_attempts=2))

    def fails() -> BaseException:
        with pytest.raises((Struck, TransactionConflictError)) as raised:
            make()
        return raised.value

    kept = [fails()]  # as by a pool of threads, or a log
    before = len(os.listdir("/dev/fd"))
    kept.extend(fails() for _ in range(9))
    assert len(os.listdir("/dev/fd")) == before


def test_a_nested_call_is_refused_by_whatever_name_the_store_was_opened(
    store: LocalCasStore, tmp_path: Path
) -> None:
    (tmp_path / "other").symlink_to(store.location)
    once = Retry(max_attempts=1)
    with LocalCasStore(tmp_path / "other") as other:

        def change(_: bytes | None) -> bytes:
            update(other)
            return b""

        with pytest.raises(InvalidInputError, match="within"):
            store.update_file("n", change, retry=once)
        with pytest.raises(InvalidInputError, match="within"):
            store.run_transaction(lambda _: run(other), retry=once)
    assert store.list_files() == []


def test_a_call_within_one_of_another_store_is_none_within_itself(
    store: LocalCasStore, tmp_path: Path
) -> None:
    with LocalCasStore(tmp_path / "another") as another:

        def change(_: bytes | None) -> bytes:
            update(another)
            return b""

        store.update_file("n", change)
        assert another.read_file("n") == b"1"


# --- giving way to transactions -------------------------------------------------------------------


@pytest.fixture
def insisted_on(store: LocalCasStore) -> Iterator[Turn]:
    """The turn of the transactions, whose holder asks others to wait."""
    turn = store._catalog.turn(retrying.TRANSACTIONS, insists=False)
    assert turn.take()
    turn.insist()
    yield turn
    turn.release()


def test_an_update_gives_way_to_a_transaction_that_insists_but_not_for_long(
    store: LocalCasStore, insisted_on: Turn
) -> None:
    began = time.monotonic()
    update(store)
    assert time.monotonic() - began >= retrying.WAY_S
    assert store.read_file("n") == b"1"


def test_an_update_goes_on_once_the_transaction_is_through(
    store: LocalCasStore, insisted_on: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "WAY_S", 1e6)
    with ThreadPoolExecutor(1) as pool:
        updated = pool.submit(update, store)
        insisted_on.release()
        updated.result(30)


def test_a_nested_update_gives_no_way_since_its_caller_may_be_the_one_who_insists(
    store: LocalCasStore, insisted_on: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "WAY_S", 1e6)

    def change(_: bytes | None) -> bytes:
        store.update_file("another", lambda _: b"inner")
        return b"outer"

    began = time.monotonic()
    store.update_file("n", change, retry=Retry(deadline_s=0.1))  # its own pause ends with its deadline
    assert time.monotonic() - began < 30
    assert store.read_file("another") == b"inner"


def test_a_transaction_gets_through_beside_one_who_updates_its_input_all_the_time(
    store: LocalCasStore,
) -> None:
    is_over = threading.Event()
    store.write_file("n", b"")

    def keep_updating() -> None:
        while not is_over.is_set():
            store.update_file("n", lambda content: b"%d" % (int(content or b"0") + 1))

    def slow(tx: Transaction) -> None:
        content = tx.read_file("n")
        time.sleep(0.05)
        tx.write_file("copy", content)

    with ThreadPoolExecutor(1) as pool:
        updating = pool.submit(keep_updating)
        try:
            store.run_transaction(slow)
        finally:
            is_over.set()
        updating.result(30)
