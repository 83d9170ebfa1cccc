"""Who shares a commit is struck at any line: nobody is told what is not so, and nobody waits for ever."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import LocalCasStore, OutcomeUnknownError
from agent_world_distfs.catalog import commit_queue
from agent_world_distfs.catalog.commit_queue import Member
from agent_world_distfs.local import catalog_of
from crowds import wait_until
from striking import RaiseAtLine

# A file that a strike took from its "with" is closed when it is forgotten, and Python says what hits that.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PATIENCE_S = 20.0
PATHS = ("first", "second", "counter")
HEAD, FOLLOWER = 0, 1


class Group:
    """Four threads that share a commit, round for round; one of them is struck."""

    def __init__(self, store: LocalCasStore, struck: int, error: type[BaseException]) -> None:
        self._store = store
        self._queue = catalog_of(store)._queue
        self._struck = struck
        self._error = error
        self._threads = [ThreadPoolExecutor(1) for _ in range(5)]

    def end(self) -> None:
        for thread in self._threads:
            thread.shutdown()

    def is_struck_at(self, line: int) -> bool:
        """A round in which that line is the last of its call, unless the call has fewer."""
        store, data = self._store, b"%d" % line
        counted = store.write_file("counter", b"before %d" % line).content_hash
        strike = RaiseAtLine(line, self._error, "catalog")
        with self._held():
            futures = [
                self._start(0, lambda: store.write_file("first", data), strike),
                self._start(1, lambda: store.write_file("second", data), strike),
                self._start(2, lambda: store.write_file_if_match("counter", counted, data), strike),
                self._start(3, lambda: store.delete_file("missing"), strike),
            ]
        told = [future.exception(PATIENCE_S) for future in futures]
        for place, path in enumerate(PATHS):
            self._check(path, data, told[place], is_struck=place == self._struck)
        assert told[3] is None or type(told[3]) is self._error
        again = self._threads[self._struck].submit(store.write_file, "again", data)
        assert again.result(PATIENCE_S) == store.stat_file("again")
        assert self._queue.head is None
        return strike.has_raised

    def _start(self, place: int, work: Callable[[], object], strike: RaiseAtLine) -> Future[Any]:
        """One thread more, which waits in line when this returns, unless it was struck before."""

        def struck() -> object:
            with strike:
                return work()

        before = list(self._queue.line)  # among them one that may leave when it is struck
        future = self._threads[place].submit(struck if place == self._struck else work)
        wait_until(lambda: future.done() or self._are_more_than(before), look_s=0.0001)
        return future

    def _are_more_than(self, before: list[Member]) -> bool:
        return any(all(member is not other for other in before) for member in list(self._queue.line))

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Nobody gets the lock inside the block."""
        has_begun, may_go_on = threading.Event(), threading.Event()

        def hold(_: object) -> None:
            has_begun.set()
            may_go_on.wait()

        holding = self._threads[-1].submit(catalog_of(self._store).write_lazily, hold)
        has_begun.wait()
        try:
            yield
        finally:
            may_go_on.set()
            holding.result()

    def _check(self, path: str, data: bytes, told: BaseException | None, *, is_struck: bool) -> None:
        store = self._store
        is_there = store.stat_file(path) is not None and store.read_file(path) == data
        if told is None:
            assert is_there, f"{path} was acknowledged and is not there"
        elif isinstance(told, OutcomeUnknownError):
            assert store.was_committed(told.transaction_id) is is_there
        else:
            assert type(told) is self._error, f"{path} was told {told!r}"
            assert is_struck or not is_there, f"{path} was refused and is there"


@pytest.fixture
def place() -> Iterator[Path]:
    """In memory, where there is some: commits are many."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory) / "store"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("struck", [HEAD, FOLLOWER], ids=["head", "follower"])
def test_whoever_is_struck_nobody_is_told_a_lie_or_waits_for_ever(
    place: Path, monkeypatch: pytest.MonkeyPatch, struck: int, error: type[BaseException]
) -> None:
    monkeypatch.setattr(commit_queue, "_POLL_S", 0.01)  # for those for whom no bell is rung any more
    with LocalCasStore(place, lock_timeout_s=10) as store:
        group, line = Group(store, struck, error), 1
        while group.is_struck_at(line):
            line += 1
        assert line > 50
        group.end()
        assert store.audit_file_index(verify=True).is_sound()
