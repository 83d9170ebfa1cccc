"""A transaction is for one thread at a time; a second one is refused, and an interrupt locks nobody out."""

# ruff: noqa: PT012  # what raises is the end of a block

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent_world_distfs import ForkedStoreError, InvalidInputError, LocalCasStore, Transaction
from agent_world_distfs.operations.transactions.inputs import Inputs
from agent_world_distfs.protocols import CatalogReader
from striking import RaiseAtLine


class Stopper:
    """Keeps a thread of the pool in the middle of a read, with its snapshot taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_begun, self.goes_on = threading.Event(), threading.Event()
        renew, here = Inputs.renew, threading.current_thread()

        def stop(inputs: Inputs, tx: CatalogReader) -> None:
            renew(inputs, tx)
            if threading.current_thread() is not here:
                self.has_begun.set()
                assert self.goes_on.wait(30)

        monkeypatch.setattr(Inputs, "renew", stop)


@pytest.fixture
def stopper(monkeypatch: pytest.MonkeyPatch) -> Stopper:
    return Stopper(monkeypatch)


def test_a_call_beside_that_of_another_thread_is_refused_and_no_update_is_lost(
    store: LocalCasStore, stopper: Stopper
) -> None:
    for path in "ab":
        store.write_file(path, b"1")
    with ThreadPoolExecutor(1) as pool, pytest.raises(InvalidInputError, match="one thread at a time"):
        try:
            with store.transaction() as tx:
                read = pool.submit(tx.read_file, "a")
                assert stopper.has_begun.wait(30)
                store.write_file("a", b"2")
                tx.read_file("b")  # would carry the state on, past what is being read of the old one
                stopper.goes_on.set()
                tx.write_file("a", read.result() + b"0")
        finally:
            stopper.goes_on.set()
    assert store.read_file("a") == b"2"


def test_the_end_of_the_block_beside_a_call_of_another_thread_commits_nothing(
    store: LocalCasStore, stopper: Stopper
) -> None:
    store.write_file("a", b"1")
    with ThreadPoolExecutor(1) as pool:
        try:
            with pytest.raises(InvalidInputError, match="one thread at a time"), store.transaction() as tx:
                tx.write_file("b", b"2")
                read = pool.submit(tx.read_file, "a")
                assert stopper.has_begun.wait(30)
        finally:
            stopper.goes_on.set()
        assert read.result() == b"1"
    assert store.stat_file("b") is None


def test_a_forked_child_is_told_so_whatever_its_parents_threads_were_at(
    store: LocalCasStore, stopper: Stopper
) -> None:
    with store.transaction() as tx, ThreadPoolExecutor(1) as pool:
        read = pool.submit(tx.stat_file, "a")
        assert stopper.has_begun.wait(30)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                tx.stat_file("a")
            except ForkedStoreError:
                code = 0
            os._exit(code)
        stopper.goes_on.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert read.result() is None


def test_threads_may_use_it_one_after_the_other(store: LocalCasStore) -> None:
    with store.transaction() as tx:
        for number in range(3):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(tx.write_file, str(number), b"").result()
    assert [file.path for file in store.list_files()] == ["0", "1", "2"]


class Struck(BaseException):
    pass


def test_an_interrupt_at_any_line_of_a_call_locks_nobody_out(store: LocalCasStore) -> None:
    uses: list[Callable[[Transaction], object]] = [lambda tx: tx.stat_file("a"), lambda tx: tx.list_files()]
    for use in uses:
        kept: list[Struck] = []  # as by a log: what it hit is not forgotten
        for number in range(1, 1000):
            striking = RaiseAtLine(number, Struck, "operations/transactions")
            with store.transaction() as tx:
                try:
                    with striking:
                        use(tx)
                except Struck as struck:
                    kept.append(struck)
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(use, tx).result()
            if not striking.has_raised:
                break
        assert len(kept) == number - 1 > 5
