"""SQLite's errors in our words: no apsw exception reaches a caller."""

from __future__ import annotations

import os
import struct

import apsw

from agent_world_distfs import os_failures
from agent_world_distfs.errors import (
    CatalogError,
    StorageError,
    StorageFullError,
    StorageIOError,
    StorageReadOnlyError,
    StoreBusyError,
    UnavailableError,
    WorldError,
)

_STORAGE: dict[type[Exception], type[StorageError]] = {
    apsw.FullError: StorageFullError,
    apsw.IOError: StorageIOError,
    apsw.ReadOnlyError: StorageReadOnlyError,
    apsw.PermissionsError: StorageReadOnlyError,
    apsw.CantOpenError: StorageError,
}

_SUCCESS = "not an error"
_SENTENCES = {
    StorageFullError: "database or disk is full",
    StorageIOError: "disk I/O error",
    StorageReadOnlyError: "attempt to write a readonly database",
}

_FILES_OF_A_CONNECTION = 3  # the database, the WAL and the shared memory

_SHORT_READ = apsw.SQLITE_IOERR_SHORT_READ
_NO_ROOM_FOR_SHM = apsw.SQLITE_IOERR_SHMSIZE

MALFORMED = (AttributeError, TypeError, ValueError, OverflowError, struct.error)
"""What comes of values that their columns cannot hold: a flipped bit makes a number of a text."""


LOCK_IS_GONE = "the lock file is gone: close the store everywhere, then run `distfs repair`"


def is_lock_file(path: str) -> bool:
    """Whether it is one of those that only a new store makes, and a repair."""
    directory, name = os.path.split(path)
    return os.path.basename(directory) == "locks" and name in ("turnstile", "gate", "handles")


def translate(error: Exception, path: str, timeout_s: float) -> WorldError:
    """The error to raise, from this one: SQLite's, the system's or one of MALFORMED."""
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreBusyError(timeout_s)
    if isinstance(error, apsw.NoMemError):
        return UnavailableError("out of memory in the catalog")
    if isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) == _SHORT_READ:
        return CatalogError("its file ends in the middle of a page")  # the device is well
    if (of_storage := _storage_error(error, path)) is not None:
        return of_storage
    if isinstance(error, MALFORMED):
        return CatalogError(f"a row holds what its table cannot ({type(error).__name__})")
    return CatalogError(f"{type(error).__name__}: {error}")


def _storage_error(error: Exception, path: str) -> WorldError | None:
    if isinstance(error, FileNotFoundError) and is_lock_file(str(error.filename)):
        return StorageError(str(error.filename), LOCK_IS_GONE)
    if isinstance(error, OSError):  # of a lock file: what to do next depends on its number
        return os_failures.translate(error, path)
    if isinstance(error, apsw.CantOpenError) and (obstacle := _obstacle_to_opening()) is not None:
        return os_failures.translate(obstacle, path)
    if getattr(error, "extendedresult", 0) == _NO_ROOM_FOR_SHM:
        return StorageFullError(path, _SENTENCES[StorageFullError])
    kind = next((ours for kind, ours in _STORAGE.items() if isinstance(error, kind)), None)
    return None if kind is None else kind(path, _reason(error, kind))


def _obstacle_to_opening() -> OSError | None:
    """Why no file can be opened now, whichever: SQLite does not say why it could not open one of its own.

    As many are opened as a connection has, whose own have just been closed again, and one more.
    """
    opened: list[int] = []
    try:
        while len(opened) <= _FILES_OF_A_CONNECTION:
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return OSError(error.errno, error.strerror)
    finally:
        for fd in opened:
            os.close(fd)
    return None


def _reason(error: Exception, kind: type[StorageError]) -> str:
    """What SQLite says; its backups give a code, and leave the sentence to be that of a success."""
    said = str(error)
    return _SENTENCES.get(kind, "the database cannot be opened") if said in ("", _SUCCESS) else said
