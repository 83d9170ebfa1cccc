"""Extending the database file: one at a time, whether by a checkpoint or to make room.

SQLite makes room by writing a zero to the last byte of each block behind what it has just seen to be the end
of the file. If a checkpoint has put a page there in between, that byte of committed data is lost, silently.
Checkpoints run outside the write lock, so it does not keep the two apart. A lock on the directory of the lock
files does; each holder opens the directory itself, so that the lock also works between threads.

A signal handler that writes while its own thread has the lock, or waits for it, would wait for itself: it is
told that the lock is not free. Who has it is noted by a weak reference, so that an interrupt on the way out
leaves nothing noted for long.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import weakref
from collections.abc import Iterator

from agent_world_distfs.catalog.lock_files import LockFile
from agent_world_distfs.errors import StoreBusyError


class Extending:
    """The right to make the database file longer."""

    def __init__(self, locks: str, timeout_s: float) -> None:
        self._directory = locks
        self._timeout_s = timeout_s
        self._here = threading.local()

    @contextlib.contextmanager
    def alone(self, most_s: float = math.inf) -> Iterator[None]:
        """Run the block while nobody else makes it longer; waits for ``most_s`` seconds at most.

        Raises:
            StoreBusyError: somebody took too long for that, or this thread itself has it.
        """
        timeout_s = min(self._timeout_s, most_s)
        if self._is_here():
            raise StoreBusyError(timeout_s)
        with self._lock() as lock:
            lock.acquire(time.monotonic() + timeout_s, timeout_s)
            yield

    @contextlib.contextmanager
    def if_free(self) -> Iterator[bool]:
        """The same without waiting: whether nobody else does."""
        with self._lock() as lock:
            yield lock.try_acquire()

    def _is_here(self) -> bool:
        """Whether this thread is in such a block already."""
        noted: weakref.ref[LockFile] | None = getattr(self._here, "lock", None)
        return noted is not None and noted() is not None

    @contextlib.contextmanager
    def _lock(self) -> Iterator[LockFile]:
        lock = LockFile(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        is_first = not self._is_here()
        if is_first:
            self._here.lock = weakref.ref(lock)
        try:
            yield lock
        finally:
            try:
                lock.release()
                lock.close()
            finally:
                lock.close()  # again: an exception that is kept, say an interrupt's, keeps the object
                if is_first:
                    self._here.lock = None
