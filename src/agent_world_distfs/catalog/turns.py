"""Turns: queues of OS locks for those who change one thing again and again, beside the write lock.

``locks/turns/<xx>``, made at need and left: 256 files, the turn of a name in the one that its hash says.
Two names may share a file. That costs who loses some waiting and never more: a turn protects nothing.

A file holds 16 bytes: the beginning of the hash of the name whose holder asks newcomers to wait, or
zeros. They count only while the file is locked. So a newcomer waits for the holder of his own name,
not for that of a name which happens to share the file.

A lock file that cannot be made or written (a full disk) is done without.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref

from blake3 import blake3

from agent_world_distfs.catalog.gate import LockFile
from agent_world_distfs.errors import WorldError

_MARK_BYTES = 16
_NO_MARK = bytes(_MARK_BYTES)


class OneTurn:
    """A ``Turn``. For one thread."""

    def __init__(self, directory: str, name: str) -> None:
        digest = blake3(name.encode()).digest(1 + _MARK_BYTES)
        self._path = os.path.join(directory, digest[:1].hex())
        self._mark = digest[1:]
        self._lock = LockFile(self._path)
        self._is_held = False

    @property
    def is_held(self) -> bool:
        return self._is_held

    def take(self) -> bool:
        if not self._is_held and self._is_there():
            with contextlib.suppress(OSError):
                self._is_held = self._lock.try_acquire()
                self._write_mark(_NO_MARK)
        return self._is_held

    def wait(self, deadline: float, timeout_s: float) -> None:
        if self._is_held or not self._is_there():
            return
        try:
            self._lock.acquire(deadline, timeout_s)
        except WorldError:
            raise
        except OSError:
            return
        self._is_held = True
        self._write_mark(_NO_MARK)

    def insist(self) -> None:
        self._write_mark(self._mark)

    def _write_mark(self, mark: bytes) -> None:
        if self._is_held:
            with contextlib.suppress(OSError):
                os.pwrite(self._lock.fileno(), mark, 0)

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError):
            if not os.path.exists(self._path):
                os.makedirs(os.path.dirname(self._path), exist_ok=True)
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666))
            return True
        return False

    def is_insisted_on(self) -> bool:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            if os.pread(fd, _MARK_BYTES, 0) != self._mark:
                return False
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(fd)
        return False

    def release(self) -> None:
        """Interrupted, it can be called again."""
        self._write_mark(_NO_MARK)
        try:
            self._lock.release()
        except OSError:
            self._lock.close()
        self._is_held = False

    def drop(self) -> None:
        """In a forked child: close what was inherited; the lock stays the parent's."""
        self._lock.close()
        self._is_held = False


class Turns:
    """The turns of one store in this process."""

    def __init__(self, directory: str) -> None:
        self._directory = os.path.join(directory, "turns")
        self._known: weakref.WeakSet[OneTurn] = weakref.WeakSet()

    def turn(self, name: str) -> OneTurn:
        """The turn of ``name``, not held."""
        turn = OneTurn(self._directory, name)
        self._known.add(turn)
        return turn

    def start_anew_in_child(self) -> None:
        """Drop the turns of the parent's threads."""
        for turn in list(self._known):
            turn.drop()
