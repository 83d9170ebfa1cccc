"""Locks of the operating system on files, waited for with a timeout.

The kernel has no lock call with a timeout that works everywhere, so a contended lock is waited for by another
thread, which owns the descriptor until it hands it over: see ``lock_waits``.

A forked child closes the descriptors, whoever owns them: see ``lock_descriptors``.
"""

from __future__ import annotations

import fcntl
import os
import time

from agent_world_distfs.catalog.lock_waits import Claim, Waiter, are_too_many_left, one_left
from agent_world_distfs.errors import StoreBusyError
from agent_world_distfs.lock_descriptors import FORK_POLL_S, LockDescriptor, try_open

_NONE = LockDescriptor()


class LockFile:
    """One OS lock on one file. Not for several threads at once."""

    def __init__(self, path: str, flags: int = os.O_RDWR) -> None:
        self._path = path
        self._flags = flags
        self._descriptor = _NONE
        self._claim: Claim | None = None

    def acquire(self, deadline: float, timeout_s: float) -> None:
        """Take the lock. Whatever it raises, ``release``.

        Raises:
            StoreBusyError: it did not come before ``deadline`` (monotonic).
            UnavailableError: it is not free, and no thread can be had to wait for it.
        """
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                raise StoreBusyError(timeout_s)
            claim = self._make_claim() if self._descriptor.number >= 0 else None
            if claim is not None:
                self._descriptor = claim.wait(deadline, timeout_s)
                self._claim = None
                return
            time.sleep(FORK_POLL_S)

    def _make_claim(self) -> Claim | None:
        """Have a thread wait for the lock; None if that is not possible at this moment."""
        if (left := one_left(self._descriptor)) is not None:
            claim = self._claim = Claim(left)
            if claim.renew():
                self._descriptor.close()
                return claim
            self._claim = None
        elif not are_too_many_left():
            claim = Claim(Waiter(self._descriptor))
            self._claim, self._descriptor = claim, _NONE
            claim.begin()
            return claim
        return None

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
        if self._claim is not None:
            if self._claim.descriptor is not self._descriptor:
                self._claim.abandon()
            self._claim = None

    def fileno(self) -> int:
        """The open descriptor."""
        return self._descriptor.number

    def close(self) -> None:
        """Close the descriptor and with it the lock; in a forked child the parent's lock stays."""
        if self._claim is not None:
            self._claim.abandon()
            self._claim = None
        self._descriptor.close()

    __del__ = close  # of a store that was forgotten
