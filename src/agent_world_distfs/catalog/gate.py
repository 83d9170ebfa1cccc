"""The write lock: fair among processes, gone with the process that holds it.

Two lock files. Whoever wants the gate waits at the *turnstile* first and leaves it as soon as it
has the gate, so that at most one process waits at the gate itself and the one that releases it has
to queue behind the others. One lock alone lets the releaser barge back in before a woken waiter
runs.

The kernel has no lock call with a timeout that works everywhere, so a contended lock is waited for
by a thread of its own that owns the descriptor until it hands it over; when the time is up it is
left behind and closes what it gets.

The gate file holds one byte. It is 1 after an input or output error during a commit: then nobody
may acknowledge a write before the log has been settled (see ``SqliteCatalog``). The byte is written
when the file is made, so that setting it needs no space.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time

from agent_world_distfs.errors import StoreBusyError
from agent_world_distfs.flushing import flush

_waiting: set[int] = set()
"""Descriptors owned by waiting threads; a forked child has the descriptors but not the threads."""


class LockFile:
    """One OS lock on one file. Not for several threads at once."""

    def __init__(self, path: str) -> None:
        self._path = path
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
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
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
    """Waits for a lock in a thread, so that the wait can end before the lock comes.

    Who of the two comes first, the lock or the end of the patience, is settled by one atomic step.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_over = threading.Event()
        self._first: dict[str, str] = {}
        self._error: OSError | None = None

    def wait(self, deadline: float, timeout_s: float) -> int:
        """The descriptor, locked. Whatever this raises, call ``abandon``."""
        threading.Thread(target=self._block, name="distfs-lock", daemon=True).start()
        if not self._is_over.wait(max(0.0, deadline - time.monotonic())):
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
        self._is_over.set()

    def abandon(self) -> None:
        """Not wanted any more: let the lock go, if it came, or else as soon as it comes."""
        if self._first.setdefault("first", "end") == "lock":
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)


class Gate:
    """The write lock of one store as this process sees it."""

    def __init__(self, directory: str, timeout_s: float) -> None:
        self._turnstile = LockFile(os.path.join(directory, "turnstile"))
        self._gate = LockFile(os.path.join(directory, "gate"))
        self._timeout_s = timeout_s
        # Reentrant only so that it knows its owner: an interrupt may come between taking the lock
        # and noting that it was taken.
        self._mutex = threading.RLock()
        self._holder: int | None = None
        self.is_free = True
        """Whether no thread of this process is at the lock: a hint, for whoever looks without a lock."""
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

        Not where this thread is in it already: see ``is_entered_here``. ``waited_s``: so much of the time
        is gone.

        Raises:
            StoreBusyError: not free in time.
        """
        self._entered.is_inside = True
        left_s = max(0.0, self._timeout_s - waited_s)
        deadline = time.monotonic() + left_s
        if not self._mutex.acquire(timeout=left_s):
            raise StoreBusyError(self._timeout_s)
        self.is_free = False
        self._turnstile.acquire(deadline, self._timeout_s)
        self._gate.acquire(deadline, self._timeout_s)
        self._turnstile.release()
        self._holder = threading.get_ident()

    def release(self) -> None:
        """Let go of whatever of the lock this thread holds; harmless if it holds nothing.

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

    # --- the byte: is the log to be trusted? Only under the lock --------------------------------

    def is_suspect(self) -> bool:
        """Whether a commit failed and the log has not been settled since."""
        return os.pread(self._gate.fileno(), 1, 0) == b"\1"

    def set_suspect(self, *, suspect: bool) -> None:
        """Remember, for every process, whether the log must be settled before the next commit."""
        os.pwrite(self._gate.fileno(), b"\1" if suspect else b"\0", 0)

    # --- forks and closing ---------------------------------------------------------------------

    def hold(self, timeout_s: float) -> bool:
        """Keep this process's threads out and close the lock files; False if that did not work in time."""
        if self.is_entered_here():
            return False
        if not self._mutex.acquire(timeout=timeout_s):
            return False
        self._close()
        return True

    def let_go(self) -> None:
        """Let this process's threads in again, after ``hold``."""
        self._free_mutex()

    def start_anew_in_child(self) -> None:
        """Close what was inherited; threads that held or waited for the lock are not here."""
        self._close()
        while _waiting:
            with contextlib.suppress(OSError):
                os.close(_waiting.pop())
        self._mutex = threading.RLock()
        self._holder = None
        self.is_free = True

    def _close(self) -> None:
        self._turnstile.close()
        self._gate.close()
