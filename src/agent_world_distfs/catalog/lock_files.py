"""Locks of the operating system on files, waited for with a timeout.

The kernel has no lock call with a timeout that works everywhere, so a contended lock is waited for by another
thread, which owns the descriptor until it hands it over; when the time is up, that thread is abandoned and
closes whatever it gets. Threads that have waited are kept for the next wait: where processes write at the
same time, nearly every write has to wait, and starting a thread costs more than the write.

A forked child closes them all, whoever owns them: see ``lock_descriptors``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable

from agent_world_distfs.errors import StoreBusyError, UnavailableError
from agent_world_distfs.lock_descriptors import FORK_POLL_S, LockDescriptor, try_open

_NONE = LockDescriptor()


def patience(left_s: float) -> float:
    """How long to wait for a lock of ``threading`` if that much time is left: for ever is too long for it."""
    return min(max(0.0, left_s), threading.TIMEOUT_MAX)


class LockFile:
    """One OS lock on one file. Not for several threads at once."""

    def __init__(self, path: str, flags: int = os.O_RDWR) -> None:
        self._path = path
        self._flags = flags
        self._descriptor = _NONE
        self._waiter: _Waiter | None = None

    def acquire(self, deadline: float, timeout_s: float) -> None:
        """Take the lock. Whatever it raises, ``release``.

        Raises:
            StoreBusyError: it did not come before ``deadline`` (monotonic).
            UnavailableError: it is not free, and no thread can be had to wait for it.
        """
        while not self.try_acquire():
            if self._descriptor.number >= 0:
                self._wait(deadline, timeout_s)
                return
            if time.monotonic() >= deadline:
                raise StoreBusyError(timeout_s)
            time.sleep(FORK_POLL_S)

    def _wait(self, deadline: float, timeout_s: float) -> None:
        hand = _idle_hand()  # before the descriptor is given away, which nobody would close if there is none
        self._waiter, self._descriptor = _Waiter(self._descriptor), _NONE
        self._descriptor = self._waiter.wait(hand, deadline, timeout_s)
        self._waiter = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it, nor is this process forking. Whatever it raises, ``release``."""
        if self._descriptor.number < 0:
            self._descriptor = try_open(self._path, self._flags) or _NONE
            if self._descriptor is _NONE:
                return False
        try:
            self._descriptor.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the lock go; harmless if it is not held. Interrupted, it can be called again."""
        if self._descriptor.number >= 0:
            self._descriptor.flock(fcntl.LOCK_UN)
        if self._waiter is not None:
            if self._descriptor.number < 0:
                self._waiter.abandon()
            self._waiter = None

    def fileno(self) -> int:
        """The open descriptor."""
        return self._descriptor.number

    def close(self) -> None:
        """Close the descriptor and with it the lock; in a forked child the parent's lock stays."""
        if self._waiter is not None:
            self._waiter.abandon()
            self._waiter = None
        self._descriptor.close()

    __del__ = close  # of a store that was forgotten


class _Waiter:
    """Waits for a lock in another thread, so that the wait can end before the lock comes.

    Which comes first, the lock or the timeout, is decided by one atomic step.
    """

    def __init__(self, descriptor: LockDescriptor) -> None:
        self._descriptor = descriptor
        self._bell = threading.Lock()
        self._bell.acquire()
        self._first: dict[str, str] = {}
        self._error: OSError | None = None

    def wait(self, hand: _Hand, deadline: float, timeout_s: float) -> LockDescriptor:
        """The descriptor, locked. Whatever this raises, call ``abandon``."""
        hand.give(self._block)
        if not self._bell.acquire(timeout=patience(deadline - time.monotonic())):
            raise StoreBusyError(timeout_s)
        if self._error is not None:
            raise self._error
        return self._descriptor

    def _block(self) -> None:
        try:
            self._descriptor.flock(fcntl.LOCK_EX)
        except OSError as error:
            self._error = error
        if self._first.setdefault("first", "lock") != "lock":
            self._descriptor.close()
        self._bell.release()

    def abandon(self) -> None:
        """Not wanted any more: let the lock go, if it came, or else as soon as it comes."""
        if self._first.setdefault("first", "end") == "lock":
            self._descriptor.close()


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


def _idle_hand() -> _Hand:
    """One that has nothing to do; whoever takes it gives it something.

    Raises:
        UnavailableError: the system gives no thread: there is a limit, or the interpreter is ending.
    """
    while _idle:
        with contextlib.suppress(IndexError):  # another thread's
            hand = _idle.pop()
            if hand.pid == os.getpid():
                return hand
    try:
        return _Hand()
    except RuntimeError as error:
        raise UnavailableError(f"no thread to wait for a lock with: {error}") from error
