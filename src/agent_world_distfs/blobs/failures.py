"""The file system's errors in our words."""

from __future__ import annotations

import errno

from agent_world_distfs.errors import (
    StorageError,
    StorageFullError,
    StorageIOError,
    StorageReadOnlyError,
    UnavailableError,
    WorldError,
)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_UNAVAILABLE = {
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.ENOMEM: "out of memory",
}


def translate(error: OSError, path: str) -> WorldError:
    """The error to raise, from this one."""
    where = error.filename if isinstance(error.filename, str) else path
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return StorageFullError(where, reason)
    if error.errno in _READ_ONLY:
        return StorageReadOnlyError(where, reason)
    if error.errno == errno.EIO:
        return StorageIOError(where, reason)
    if error.errno in _UNAVAILABLE:
        return UnavailableError(f"{where}: {reason}")
    return StorageError(where, reason)
