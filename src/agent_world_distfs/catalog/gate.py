"""The write lock: fair among processes, released when its holder dies.

Two lock files. A process that wants the gate first waits at the *turnstile* and leaves it as soon as it has
the gate, so that at most one process waits at the gate itself and the one that releases it has to queue
behind the others. With one lock alone, the releaser could barge back in before a woken waiter runs.

The gate file holds one byte. It is 1 after an input or output error while the WAL was flushed: then nobody
may acknowledge a write before the WAL has been settled (see ``wal_side``). The byte is written when the file
is made, so that setting it needs no space.

Whoever finds the WAL in doubt without having the lock sets the byte all the same, at once: the lock may not
come in time. It sets the byte again when it next has the lock, in case that another, which settled the WAL
meanwhile, has cleared it. Once too often costs a settling, once too few could cost a commit. Where the byte
cannot be written, this process remembers, settles before its next commit, and tries again with each lock.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

from agent_world_distfs.catalog.lock_files import LockFile
from agent_world_distfs.catalog.lock_waits import patience
from agent_world_distfs.errors import StoreBusyError, WorldError
from agent_world_distfs.flushing import flush

_CLOSING_S = 1.0
"""How long a store that is closed waits for other processes: while they write they have it open, too."""


class Gate:
    """The write lock of one store as this process sees it."""

    def __init__(self, directory: str, timeout_s: float) -> None:
        self._turnstile = LockFile(os.path.join(directory, "turnstile"))
        self._path = os.path.join(directory, "gate")
        self._gate = LockFile(self._path)
        self._is_mark_owed = False
        self._timeout_s = timeout_s
        # Reentrant only so that it knows its owner: an interrupt may come between taking the lock
        # and noting that it was taken.
        self._mutex = threading.RLock()
        self._holder: int | None = None
        self.is_free = True
        """Whether no thread of this process is at the lock: a hint, for callers that look without a lock."""
        self._entered = threading.local()

    @staticmethod
    def create(directory: str) -> None:
        """Make the lock files, durably; those that are there are only made whole."""
        for name, content in (("turnstile", b""), ("gate", b"\0"), ("handles", b"")):
            fd = os.open(os.path.join(directory, name), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666)
            try:
                if os.fstat(fd).st_size < len(content):
                    os.write(fd, content)
                flush(fd)
            finally:
                os.close(fd)

    def acquire(self, waited_s: float = 0.0) -> None:
        """Take the lock. Whatever this raises, call ``release`` afterwards.

        Not where this thread is in it already: see ``is_entered_here``. ``waited_s``: how much of the time
        has passed.

        Raises:
            StoreBusyError: not free in time.
            UnavailableError: not free, and no thread can be had to wait for it.
        """
        self._entered.is_inside = True
        left_s = max(0.0, self._timeout_s - waited_s)
        deadline = time.monotonic() + left_s
        if not self._mutex.acquire(timeout=patience(left_s)):
            raise StoreBusyError(self._timeout_s)
        self.is_free = False
        self._turnstile.acquire(deadline, self._timeout_s)
        self._gate.acquire(deadline, self._timeout_s)
        self._turnstile.release()
        self._holder = threading.get_ident()
        if self._is_mark_owed:
            self.set_suspect(suspect=True)

    def release(self) -> None:
        """Release whatever part of the lock this thread holds; harmless if it holds nothing.

        Interrupted at any point, it can be called again.
        """
        try:
            if self.is_held_here():  # then the mutex was taken once, and nothing is half done
                self._gate.release()
                self._holder = None
                self.is_free = True
                self._mutex.release()
                return
            if not self._mutex.acquire(blocking=False):
                return  # another thread's
            if self._holder is None:  # left on the way in
                self._turnstile.release()
            self._gate.release()
            self._holder = None
            self.is_free = True
            self._free_mutex()
        finally:
            self._entered.is_inside = False

    def _free_mutex(self) -> None:
        """However often this thread took it: an interrupt may have come between taking and noting."""
        with contextlib.suppress(RuntimeError):
            while True:
                self._mutex.release()

    def enter(self) -> None:
        """Note that this thread waits for others that are to write for it; ``leave`` afterwards."""
        self._entered.is_inside = True

    def leave(self) -> None:
        """It does not any more."""
        self._entered.is_inside = False

    def is_entered_here(self) -> bool:
        """Whether this thread is between ``acquire`` and the end of ``release``: a signal handler asks so."""
        return getattr(self._entered, "is_inside", False)

    def is_held_here(self) -> bool:
        """Whether this thread has the lock."""
        return self._holder == threading.get_ident()

    # --- the byte: can the WAL be trusted? ------------------------------------------------------

    def is_suspect(self) -> bool:
        """Whether the WAL is in doubt and has not been settled since. Only under the lock."""
        return self._is_mark_owed or os.pread(self._gate.fileno(), 1, 0) == b"\1"

    def is_marked(self) -> bool:
        """What the byte says just now, without the lock.

        Raises:
            OSError: it cannot be read.
        """
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)  # closing it lets no flock go
        try:
            return os.pread(fd, 1, 0) == b"\1"
        finally:
            os.close(fd)

    def set_suspect(self, *, suspect: bool) -> None:
        """Record, for every process, whether the WAL must be settled before the next commit.

        Without the lock only that it must, which is never forgotten: see above.

        Raises:
            OSError: it is settled, and that cannot be recorded.
        """
        if not suspect:
            os.pwrite(self._gate.fileno(), b"\0", 0)
            return
        self._is_mark_owed = True
        with contextlib.suppress(OSError):
            if self.is_held_here():
                os.pwrite(self._gate.fileno(), b"\1", 0)
                self._is_mark_owed = False  # last: an interrupt before costs a settling
            else:
                self._set_mark_from_outside()

    def _set_mark_from_outside(self) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)  # closing it lets no flock go
        try:
            os.pwrite(fd, b"\1", 0)
        finally:
            os.close(fd)

    # --- forks and closing ---------------------------------------------------------------------

    def hold(self, timeout_s: float) -> bool:
        """Keep this process's threads out and close the lock files; False if that did not work in time."""
        if self.is_entered_here():
            return False
        if not self._mutex.acquire(timeout=patience(timeout_s)):
            return False
        self._close()
        return True

    def lock_soon(self) -> bool:
        """After ``hold``: keep other processes out, too, until ``let_go``; False if one of them is in."""
        try:
            self._gate.acquire(time.monotonic() + _CLOSING_S, _CLOSING_S)
        except (WorldError, OSError):
            return False
        self._holder = threading.get_ident()
        return True

    def let_go(self) -> None:
        """Let others in again, after ``hold``; harmless without. Interrupted, it can be called again."""
        if self.is_entered_here() or not self._mutex.acquire(blocking=False):
            return  # there is something else in it: a write of this thread, or another thread
        self._close()
        self._holder = None
        self._free_mutex()

    def start_anew_in_child(self) -> None:
        """What was inherited is closed already; threads that held or waited for the lock are not here."""
        self._mutex = threading.RLock()
        self._holder = None
        self.is_free = True

    def _close(self) -> None:
        self._turnstile.close()
        self._gate.close()
