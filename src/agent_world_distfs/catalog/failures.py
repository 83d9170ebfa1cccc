"""SQLite's errors in our words: no apsw exception reaches a caller."""

from __future__ import annotations

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


def translate(error: apsw.Error | OSError | UnicodeDecodeError, path: str, timeout_s: float) -> WorldError:
    """The error to raise, from this one."""
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreBusyError(timeout_s)
    if isinstance(error, apsw.NoMemError):
        return UnavailableError("out of memory in the catalog")
    for kind, ours in _STORAGE.items():
        if isinstance(error, kind):
            return ours(path, str(error))
    return CatalogError(f"{type(error).__name__}: {error}")
