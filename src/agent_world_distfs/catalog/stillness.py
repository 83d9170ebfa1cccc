"""Reading a catalog in a directory that is not writable: without locks, so only while nothing changes.

SQLite cannot share the WAL there, and is told that the file does not change. A process with write permission
can break that assumption at any time; what was read meanwhile may be half of one state and half of another.
So each answer is given only if nothing has changed since the store was opened. And since SQLite overlooks the
WAL there, nothing may be in it then: that is seen with the same look, or what came between two would count as
having been there before.
"""

from __future__ import annotations

import os

from agent_world_distfs.errors import StorageError, UnavailableError
from agent_world_distfs.os_failures import translated


class Stillness:
    """A catalog as it was when it was opened, its WAL empty.

    Raises:
        UnavailableError: it is not.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._before = self._look()
        if self._before[1]:
            reason = "the WAL is not empty: open the store once writable first"
            raise UnavailableError(f"{os.path.dirname(path)}: {reason}")

    def require(self) -> None:
        """Raise UnavailableError if anything is not as it was."""
        if self._look() != self._before:
            raise UnavailableError(f"{self._path} is being written by another: open the store again")

    def _look(self) -> tuple[tuple[int, int, int], int]:
        with translated(self._path):
            status = os.stat(self._path)
        return (status.st_ino, status.st_size, status.st_mtime_ns), self._log_bytes()

    def _log_bytes(self) -> int:
        try:
            return os.stat(self._path + "-wal").st_size
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StorageError(self._path, str(error.strerror)) from error
