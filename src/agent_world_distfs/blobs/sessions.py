"""Sessions: which processes are alive, according to OS locks.

A process that has the store open to write has a session: ``tmp/<name>.lock``, held by flock for as long as
the process lives, and ``tmp/<name>/`` for its temporary files. A process that can take the lock of a session
knows that the session's process is dead, and removes both. Clocks and modification times play no part.

The lock file is made before the directory and removed after it, so that a directory without a lock file has
no owner. A process that tidies may take the lock of a session that is just being made, between its creation
and its lock: the creator sees that the file has lost its name and starts over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Iterable

from agent_world_distfs.errors import ForkedStoreError, StorageReadOnlyError, StoreClosedError
from agent_world_distfs.lock_descriptors import FORK_POLL_S, LockDescriptor, open_to_lock, try_open
from agent_world_distfs.process_forks import watch_forks

_FORK_WAIT_S = 10.0


class Sessions:
    """The sessions of one store, and this process's own."""

    def __init__(self, directory: str, *, read_only: bool) -> None:
        self._directory = directory
        self._read_only = read_only
        self._name = ""
        self._lock = LockDescriptor()
        self._pid = os.getpid()
        self.is_ended = False
        self._beginning = threading.RLock()  # an interrupt may leave it taken; its thread may go on
        self._is_held_for_fork = False
        watch_forks(self)

    def own(self) -> str:
        """The name of this process's session, begun on first use.

        Raises:
            StorageReadOnlyError, StoreClosedError, ForkedStoreError: it may not be begun.
        """
        self._check_usable()
        if not self._name:
            with self._beginning:
                self._check_usable()
                if not self._name:
                    self._begin()
        return self._name

    def _check_usable(self) -> None:
        if self.is_ended:
            raise StoreClosedError
        if self._pid != os.getpid():
            raise ForkedStoreError
        if self._read_only:
            raise StorageReadOnlyError(os.path.dirname(self._directory), "the store was opened read-only")

    def own_directory(self) -> str:
        """Where this process's temporary files belong."""
        return os.path.join(self._directory, self.own())

    def _begin(self) -> None:
        while True:
            name = secrets.token_hex(8)
            lock = try_open(self._lock_path(name), os.O_CREAT | os.O_EXCL | os.O_RDWR)
            if lock is None:  # this process is forking; the file is that of a dead session
                self._remove(name)
                time.sleep(FORK_POLL_S)
                continue
            try:
                lock.flock(fcntl.LOCK_EX)
                if os.fstat(lock.number).st_nlink:
                    os.mkdir(os.path.join(self._directory, name))
                    self._lock, self._name = lock, name
                    return
            finally:
                if self._lock is not lock:
                    lock.close()

    def _lock_path(self, name: str) -> str:
        return os.path.join(self._directory, name + ".lock")

    # --- the others ----------------------------------------------------------------------------

    def names(self) -> set[str]:
        """The names of all sessions that left anything here, dead or alive."""
        return {entry.removesuffix(".lock") for entry in os.listdir(self._directory)}

    def is_alive(self, name: str) -> bool:
        """Whether the session's process lives: whether its lock cannot be taken."""
        if name == self._name:
            return True
        lock = self._take_lock(name)
        if lock is not None:
            lock.close()
        return lock is None and self._has_lock_file(name)

    def living(self, names: Iterable[str]) -> frozenset[str]:
        """Those that live."""
        return frozenset(name for name in set(names) if self.is_alive(name))

    def temporary_files(self) -> list[os.DirEntry[str]]:
        """The temporary files of living sessions."""
        found: list[os.DirEntry[str]] = []
        for name in self.names():
            if self.is_alive(name):
                with (
                    contextlib.suppress(FileNotFoundError),
                    os.scandir(os.path.join(self._directory, name)) as files,
                ):
                    found.extend(files)
        return found

    def tidy(self) -> None:
        """Remove what dead sessions left."""
        for name in self.names() - {self._name}:
            lock = self._take_lock(name)
            if lock is None and self._has_lock_file(name):
                continue  # alive
            self._remove(name)
            if lock is not None:
                lock.close()

    def _has_lock_file(self, name: str) -> bool:
        """Whether it has its name. Where that cannot be known, this raises: the session may be alive."""
        try:
            os.lstat(self._lock_path(name))
        except FileNotFoundError:
            return False
        return True

    def _take_lock(self, name: str) -> LockDescriptor | None:
        try:
            lock = open_to_lock(self._lock_path(name), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            lock.flock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock

    def _remove(self, name: str) -> None:
        shutil.rmtree(os.path.join(self._directory, name), ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._lock_path(name))

    # --- the end -------------------------------------------------------------------------------

    def end(self) -> None:
        """End this process's session, for good."""
        with self._beginning:
            self.is_ended = True
        self._give_up()

    def _give_up(self) -> None:
        name, lock, self._name, self._lock = self._name, self._lock, "", LockDescriptor()
        if lock.number < 0:
            return
        try:
            if self._pid == os.getpid():  # or it is the parent's, of a fork that we did not see
                with contextlib.suppress(OSError):  # what stays is tidied like a dead session's
                    self._remove(name)
        finally:
            lock.close()

    def __del__(self) -> None:
        if not sys.is_finalizing():  # then the next opener tidies
            self._give_up()

    # --- forks ---------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """See ``process_forks``."""
        self._is_held_for_fork = True  # first: an interrupt may come before the lock could be noted
        self._beginning.acquire(timeout=_FORK_WAIT_S)

    def after_fork_in_parent(self) -> None:
        """See ``process_forks``."""
        if self._is_held_for_fork:
            with contextlib.suppress(RuntimeError):  # not taken, or already let go: an interrupt came between
                self._beginning.release()
            self._is_held_for_fork = False

    def after_fork_in_child(self) -> None:
        """See ``process_forks``: leaves the parent's session to the parent."""
        self._beginning = threading.RLock()
        self._is_held_for_fork = False
        self._pid = os.getpid()
        self._name, self._lock = "", LockDescriptor()
