"""Threads that write at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from agent_world_distfs import LocalCasStore
from agent_world_distfs.local import catalog_of

T = TypeVar("T")


class Crowd:
    """Threads that come one after the other while another one has the write lock, and then all go on."""

    def __init__(self, store: LocalCasStore) -> None:
        self._catalog = catalog_of(store)
        self._pool = ThreadPoolExecutor(100)
        self._may_go_on = threading.Event()
        has_begun = threading.Event()

        def hold(_: object) -> None:
            has_begun.set()
            self._may_go_on.wait()

        self._holding = self._pool.submit(self._catalog.write_lazily, hold)
        has_begun.wait()

    def waiting(self) -> int:
        """How many have come."""
        return len(self._catalog._queue.line)

    def add(self, work: Callable[[], T]) -> Future[T]:
        """Start one, and return when it waits behind the others."""
        before = self.waiting()
        future = self._pool.submit(work)
        wait_until(lambda: self.waiting() > before or future.done())
        return future

    def go_on(self) -> None:
        """Let go of the lock."""
        self._may_go_on.set()
        self._holding.result()

    def end(self) -> None:
        """Wait for all."""
        self._may_go_on.set()
        self._pool.shutdown()


def wait_until(is_so: Callable[[], bool], look_s: float = 0.001) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(look_s)
