"""Turns: queues of OS locks for callers that retry on the same thing, beside the write lock.

Two lock files, made when needed and never removed: ``locks/turns/<xx>``, held by the holder of the turn, and
``<xx>.next``, held by the next in line until it has the turn. All others wait for the second, so that a
process that releases the turn cannot take it again before the one that waits for it has run. There are 256
pairs; the hash of a name selects its pair. Two names may share a pair: that costs some waiting, and never
more, since a turn protects nothing.

``<xx>`` holds 16 bytes: the beginning of the hash of the name whose holder asks newcomers to wait, or zeros.
They count only while one of the two files is locked. So a newcomer waits for the holder of its own name, not
for that of a name that happens to share the files.

If lock files cannot be made or written (a full disk), callers go on without a turn.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref

from blake3 import blake3

from agent_world_distfs.catalog.lock_files import LockFile
from agent_world_distfs.errors import WorldError
from agent_world_distfs.lock_descriptors import try_open

_MARK_BYTES = 16
_NO_MARK = bytes(_MARK_BYTES)


class OneTurn:
    """A ``Turn``. For one thread."""

    def __init__(self, directory: str, name: str, *, insists: bool) -> None:
        digest = blake3(name.encode()).digest(1 + _MARK_BYTES)
        self._path = os.path.join(directory, digest[:1].hex())
        self._mark = digest[1:]
        self._insists = insists
        self._next = LockFile(self._path + ".next")
        self._lock = LockFile(self._path)
        self.is_held = False

    def take(self) -> bool:
        if not self.is_held and self._is_there():
            with contextlib.suppress(OSError):
                if self._next.try_acquire() and self._lock.try_acquire():
                    self._begin()
            _let_go(self._next)
        return self.is_held

    def wait(self, deadline: float, timeout_s: float) -> None:
        if self.is_held or not self._is_there():
            return
        try:
            self._next.acquire(deadline, timeout_s)
            self._lock.acquire(deadline, timeout_s)
        except WorldError:
            raise
        except OSError:
            return
        self._begin()
        _let_go(self._next)

    def _begin(self) -> None:
        self.is_held = True
        self._write_mark(self._mark if self._insists else _NO_MARK)

    def insist(self) -> None:
        self._write_mark(self._mark)

    def _write_mark(self, mark: bytes) -> None:
        if self.is_held:
            with contextlib.suppress(OSError):
                os.pwrite(self._lock.fileno(), mark, 0)

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError):
            if not os.path.exists(self._path):
                os.makedirs(os.path.dirname(self._path), exist_ok=True)
                for path in (self._path + ".next", self._path):
                    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666))
            return True
        return False

    def is_insisted_on(self) -> bool:
        with contextlib.suppress(OSError):
            mark = self._read_mark()
            if self._insists:  # so do all that want it; a new holder may not have written its mark yet
                return mark in (self._mark, _NO_MARK)
            # In this order: the next in line has the turn before it releases the other lock.
            return mark == self._mark and (_is_locked(self._path + ".next") or _is_locked(self._path))
        return False

    def _read_mark(self) -> bytes:
        with open(self._path, "rb", buffering=0) as file:
            return file.read(_MARK_BYTES) or _NO_MARK

    def release(self) -> None:
        """Interrupted, it can be called again."""
        if not self._insists:  # else the mark is right for those that wait, if it is one of ours
            self._write_mark(_NO_MARK)
        for lock in (self._lock, self._next):
            _let_go(lock)
            with contextlib.suppress(OSError):
                lock.close()  # an exception that is kept, by whoever made the call, keeps the object
        self.is_held = False

    def drop(self) -> None:
        """In a forked child: what was inherited is closed already; the lock stays the parent's."""
        self.is_held = False


def _let_go(lock: LockFile) -> None:
    try:
        lock.release()
    except OSError:
        lock.close()


def _is_locked(path: str) -> bool:
    descriptor = try_open(path, os.O_RDONLY)
    if descriptor is None:  # this process is forking: not asked, as if the lock were free
        return False
    try:
        descriptor.flock(fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        descriptor.close()
    return False


class Turns:
    """The turns of one store in this process."""

    def __init__(self, directory: str) -> None:
        self._directory = os.path.join(directory, "turns")
        self._known: weakref.WeakSet[OneTurn] = weakref.WeakSet()

    def turn(self, name: str, *, insists: bool) -> OneTurn:
        """The turn of ``name``, not held."""
        turn = OneTurn(self._directory, name, insists=insists)
        self._known.add(turn)
        return turn

    def start_anew_in_child(self) -> None:
        """Drop the turns of the parent's threads."""
        for turn in list(self._known):
            turn.drop()
