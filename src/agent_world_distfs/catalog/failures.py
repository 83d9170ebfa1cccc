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


def translate(error: apsw.Error | OSError | UnicodeDecodeError, path: str, timeout_s: float) -> WorldError:
    """The error to raise, from this one."""
    reason = str(error)
    match error:
        case apsw.BusyError() | apsw.LockedError():
            return StoreBusyError(timeout_s)
        case apsw.FullError():
            return StorageFullError(path, "no space left for the catalog")
        case apsw.IOError():
            return StorageIOError(path, reason)
        case apsw.ReadOnlyError() | apsw.PermissionsError():
            return StorageReadOnlyError(path, reason)
        case apsw.CantOpenError():
            return StorageError(path, f"the catalog cannot be opened ({reason})")
        case apsw.CorruptError() | apsw.NotADBError() | apsw.ConstraintError() | apsw.MismatchError():
            return CatalogError(reason)
        case apsw.NoMemError():
            return UnavailableError("out of memory in the catalog")
        case UnicodeDecodeError():
            return CatalogError("a text is not UTF-8")
        case OSError():
            return StorageError(path, error.strerror or reason)
        case _:
            return CatalogError(f"{type(error).__name__}: {reason}")
