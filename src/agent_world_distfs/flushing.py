"""Making things durable: down to the medium, not only to the drive.

On macOS ``fsync`` leaves the drive's own cache as it is; ``F_FULLFSYNC`` empties it.
Source: fsync(2) of macOS; the same call is SQLite's ``fullfsync``.
"""

from __future__ import annotations

import errno
import fcntl
import os

_FULL_FLUSH: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_NOT_SUPPORTED = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY}


def flush(descriptor: int) -> None:
    """Make the content of an open file, or the names in an open directory, durable."""
    if _FULL_FLUSH is not None:
        try:
            fcntl.fcntl(descriptor, _FULL_FLUSH)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:  # of some file systems and directories
                raise
        else:
            return
    os.fsync(descriptor)


def flush_directory(path: str) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)
