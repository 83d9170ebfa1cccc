"""SQLite's errors in our words: no apsw exception reaches a caller."""

from __future__ import annotations

import struct

import apsw

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
    OSError: StorageError,
}

_SHORT_READ = apsw.SQLITE_IOERR_SHORT_READ

MALFORMED = (AttributeError, TypeError, ValueError, OverflowError, struct.error)
"""What comes of values that their columns cannot hold: a flipped bit makes a number of a text."""


def translate(error: Exception, path: str, timeout_s: float) -> WorldError:
    """The error to raise, from this one: SQLite's, the system's or one of MALFORMED."""
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreBusyError(timeout_s)
    if isinstance(error, apsw.NoMemError):
        return UnavailableError("out of memory in the catalog")
    if isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) == _SHORT_READ:
        return CatalogError("its file ends in the middle of a page")  # the device is well
    for kind, ours in _STORAGE.items():
        if isinstance(error, kind):
            return ours(path, str(error))
    if isinstance(error, MALFORMED):
        return CatalogError(f"a row holds what its table cannot ({type(error).__name__})")
    return CatalogError(f"{type(error).__name__}: {error}")
