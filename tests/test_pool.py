"""The pool of reading connections around a fork: none is open then, whatever a reader is in the middle of."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import apsw
import pytest

from agent_world_distfs import LocalCasStore
from agent_world_distfs.catalog import pool as module
from agent_world_distfs.catalog.connections import open_connection
from agent_world_distfs.catalog.pool import Loan, ReaderPool
from stepping import At, stepping

PATIENCE_S = 10.0


@pytest.fixture
def catalog(location: Path) -> str:
    LocalCasStore(location).close()
    return str(location / "catalog.db")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[apsw.Connection]:
    """All connections that pools have opened."""
    kept: list[apsw.Connection] = []

    def open_and_keep(path: str, **options: Any) -> apsw.Connection:
        kept.append(open_connection(path, **options))
        return kept[-1]

    monkeypatch.setattr(module, "open_connection", open_and_keep)
    return kept


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as workers:
        yield workers


def is_open(connection: apsw.Connection) -> bool:
    try:
        return isinstance(connection.in_transaction, bool)
    except apsw.ConnectionClosedError:
        return False


class Reader:
    """Takes a connection, stops at a point or where it waits for a fork, goes on, and gives it back."""

    def __init__(self, pool: ReaderPool, point: str) -> None:
        self._pool, self._point = pool, point
        self.is_there, self.go_on = threading.Event(), threading.Event()

    def run(self) -> None:
        with stepping(self._step, module):
            loan = self._pool.take()
        self._stop()
        self._pool.give_back(loan)

    def _step(self, frame: FrameType) -> None:
        name = frame.f_code.co_name
        has_taken = name == "take" and "loan" in frame.f_locals
        if (self._point == "taken" and has_taken) or (self._point == "looked" and name == "_open"):
            self._stop()

    def _stop(self) -> None:
        if not self.is_there.is_set():
            self.is_there.set()
            assert self.go_on.wait(PATIENCE_S)


class Schedule:
    """A hold for a fork; at one of its bytecodes a reader comes, which goes on when the hold waits."""

    def __init__(self, catalog: str, workers: ThreadPoolExecutor, point: str, *, is_one_out: bool) -> None:
        self.pool = ReaderPool(catalog, read_only=False, immutable=False)
        self.reader = Reader(self.pool, point)
        self._workers = workers
        self._reading: list[Future[None]] = []
        self._out: list[Loan] = [self.pool.take()]
        if not is_one_out:
            self._give_back()

    def hold(self, number: int) -> bool:
        """Hold with the reader coming at bytecode ``number``; False if there are not so many."""
        at = At(number, self._come)
        with stepping(at, module):
            assert self.pool.hold_for_fork(PATIENCE_S)
        return at.is_done

    def _come(self) -> None:
        self._reading.append(self._workers.submit(self.reader.run))
        assert self.reader.is_there.wait(PATIENCE_S)

    def sleep(self, _: float) -> None:
        if threading.current_thread() is not threading.main_thread():  # the reader waits for the fork
            self.reader.is_there.set()
            time.sleep(0.0001)
            return
        self.reader.go_on.set()
        self._give_back()
        time.sleep(0.0001)

    def _give_back(self) -> None:
        while self._out:
            self.pool.give_back(self._out.pop())

    def end(self) -> None:
        self.pool.let_go_after_fork()
        self.sleep(0)
        for future in self._reading:
            future.result(PATIENCE_S)
        self.pool.close(may_checkpoint=False)


@pytest.mark.parametrize("is_one_out", [False, True])
@pytest.mark.parametrize("point", ["taken", "looked", "given"])
def test_no_connection_is_open_at_a_fork_whenever_a_reader_comes(
    catalog: str,
    opened: list[apsw.Connection],
    workers: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    is_one_out: bool,
) -> None:
    for number in count(1):
        schedule = Schedule(catalog, workers, point, is_one_out=is_one_out)
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=schedule.sleep)
        monkeypatch.setattr(module, "time", clock)
        has_come = schedule.hold(number)
        found = [is_open(connection) for connection in opened]
        schedule.reader.go_on.set()
        time.sleep(0.0005)
        found += [is_open(connection) for connection in opened]
        schedule.end()
        assert not any(found), f"a connection was open at the fork: a reader came at bytecode {number}"
        if not has_come:
            assert number > 20
            return
        opened.clear()


def test_a_connection_that_is_not_given_back_is_no_fork_prepared_for(catalog: str) -> None:
    pool = ReaderPool(catalog, read_only=False, immutable=False)
    loan = pool.take()
    assert not pool.hold_for_fork(0.01)
    pool.let_go_after_fork()
    pool.give_back(loan)
    assert pool.hold_for_fork(0.01)
    pool.let_go_after_fork()
    assert pool.take() is loan
    del loan  # lost by an interrupt, say
    assert pool.hold_for_fork(0.01)


class Interrupted(BaseException):
    pass


def interrupt() -> None:
    raise Interrupted


def test_an_interrupt_at_any_bytecode_of_a_hold_keeps_no_reader_out(catalog: str) -> None:
    pool = ReaderPool(catalog, read_only=False, immutable=False)

    def go_on() -> None:
        pool.let_go_after_fork()
        pool.give_back(pool.take())

    for number in count(1):
        at = At(number, interrupt)
        with contextlib.suppress(Interrupted), stepping(at, module, threading):
            pool.hold_for_fork(PATIENCE_S)
        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), f"a reader waits for ever: interrupted at bytecode {number}"
        if not at.is_done:
            assert number > 20
            return
