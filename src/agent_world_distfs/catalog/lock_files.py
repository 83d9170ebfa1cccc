"""Locks of the operating system on files, waited for with a timeout.

The kernel has no lock call with a timeout that works everywhere, so a contended lock is waited for by another
thread, which owns the descriptor until it hands it over; when the time is up, that thread is abandoned and
closes whatever it gets. Threads that have waited are kept for the next wait: where processes write at the
same time, nearly every write has to wait, and starting a thread costs more than the write.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable

from agent_world_distfs.errors import StoreBusyError

_waiting: set[int] = set()
"""Descriptors owned by waiting threads; a forked child has the descriptors but not the threads."""


def close_inherited() -> None:
    """In a forked child: close the descriptors that waiting threads of the parent own."""
    while _waiting:
        with contextlib.suppress(OSError):
            os.close(_waiting.pop())


class LockFile:
    """One OS lock on one file. Not for several threads at once."""

    def __init__(self, path: str, flags: int = os.O_RDWR) -> None:
        self._path = path
        self._flags = flags | os.O_CLOEXEC
        self._fd = -1
        self._waiter: _Waiter | None = None

    def acquire(self, deadline: float, timeout_s: float) -> None:
        """Take the lock; StoreBusyError after ``deadline`` (monotonic). Whatever it raises, ``release``."""
        if not self.try_acquire():
            self._waiter, self._fd = _Waiter(self._fd), -1
            self._fd = self._waiter.wait(deadline, timeout_s)
            self._waiter = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it. Whatever it raises, ``release``."""
        if self._fd < 0:
            self._fd = os.open(self._path, self._flags)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the lock go; harmless if it is not held. Interrupted, it can be called again."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        if self._waiter is not None:
            if self._fd < 0:
                self._waiter.abandon()
            self._waiter = None

    def fileno(self) -> int:
        """The open descriptor."""
        return self._fd

    def close(self) -> None:
        """Close the descriptor and with it the lock; in a forked child the parent's lock stays."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close  # of a store that was forgotten


class _Waiter:
    """Waits for a lock in another thread, so that the wait can end before the lock comes.

    Which comes first, the lock or the timeout, is decided by one atomic step.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._bell = threading.Lock()
        self._bell.acquire()
        self._first: dict[str, str] = {}
        self._error: OSError | None = None

    def wait(self, deadline: float, timeout_s: float) -> int:
        """The descriptor, locked. Whatever this raises, call ``abandon``."""
        _run(self._block)
        if not self._bell.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise StoreBusyError(timeout_s)
        if self._error is not None:
            raise self._error
        return self._fd

    def _block(self) -> None:
        _waiting.add(self._fd)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except OSError as error:
            self._error = error
        finally:
            _waiting.discard(self._fd)
        if self._first.setdefault("first", "lock") != "lock":
            os.close(self._fd)
        self._bell.release()

    def abandon(self) -> None:
        """Not wanted any more: let the lock go, if it came, or else as soon as it comes."""
        if self._first.setdefault("first", "end") == "lock":
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)


class _Hand:
    """A thread that does one piece of work after the other."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._work: Callable[[], None] | None = None
        self._bell = threading.Lock()
        self._bell.acquire()
        threading.Thread(target=self._serve, name="distfs-lock", daemon=True).start()

    def give(self, work: Callable[[], None]) -> None:
        """Have it do ``work``, which does not raise; only while it is idle."""
        self._work = work
        self._bell.release()

    def _serve(self) -> None:
        while True:
            self._bell.acquire()
            if self._work is not None:
                self._work()
            self._work = None
            _idle.append(self)


_idle: list[_Hand] = []
"""Those that have nothing to do. In a forked child those of the parent are here, without their threads."""


def _run(work: Callable[[], None]) -> None:
    """Do ``work`` in another thread."""
    while _idle:
        with contextlib.suppress(IndexError):  # another thread's
            hand = _idle.pop()
            if hand.pid == os.getpid():
                hand.give(work)
                return
    _Hand().give(work)
