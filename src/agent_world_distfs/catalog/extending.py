"""Extending the database file: one at a time, whether by a checkpoint or to make room.

SQLite makes room by writing a zero to the last byte of each block behind what it has just seen to be the end
of the file. If a checkpoint has put a page there in between, that byte of committed data is lost, silently.
Checkpoints run outside the write lock, so it does not keep the two apart. A lock on the directory of the lock
files does; each holder opens the directory itself, so that the lock also works between threads.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator

from agent_world_distfs.catalog.lock_files import LockFile


class Extending:
    """The right to make the database file longer."""

    def __init__(self, locks: str, timeout_s: float) -> None:
        self._directory = locks
        self._timeout_s = timeout_s

    @contextlib.contextmanager
    def alone(self, most_s: float = math.inf) -> Iterator[None]:
        """Run the block while nobody else makes it longer; waits for ``most_s`` seconds at most.

        Raises:
            StoreBusyError: somebody took too long for that.
        """
        timeout_s = min(self._timeout_s, most_s)
        with self._lock() as lock:
            lock.acquire(time.monotonic() + timeout_s, timeout_s)
            yield

    @contextlib.contextmanager
    def if_free(self) -> Iterator[bool]:
        """The same without waiting: whether nobody else does."""
        with self._lock() as lock:
            yield lock.try_acquire()

    @contextlib.contextmanager
    def _lock(self) -> Iterator[LockFile]:
        lock = LockFile(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield lock
        finally:
            lock.release()
            lock.close()
