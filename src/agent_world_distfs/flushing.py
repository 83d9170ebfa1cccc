"""Making things durable: down to the medium, not only to the drive.

On macOS ``fsync`` leaves the drive's own cache as it is; ``F_FULLFSYNC`` empties it.
Source: fsync(2) of macOS; the same call is SQLite's ``fullfsync``.

Many files are made durable by one flush of their file system where it has one that can be relied
on: ``filesystem_kind.is_flushed_as_one`` tells.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import sys
from collections.abc import Callable

FEW_FILES = 8
"""Up to this many are flushed one by one: a flush of the file system also waits for what others write."""

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


def flush_file(path: str) -> None:
    """Make the content of a file durable, no matter which process wrote it."""
    _flush_opened(path, os.O_RDONLY | os.O_CLOEXEC)


def flush_directory(path: str) -> None:
    """Make the names in a directory durable."""
    _flush_opened(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def flush_name(path: str) -> None:
    """Make the name of a file or directory durable."""
    try:
        flush_directory(os.path.dirname(path))
    except PermissionError:  # the directory may be entered and not be read, so that it cannot be opened
        os.sync()


def _flush_opened(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)


class WriteBehind:
    """Has the disk begin with a file while the rest of it is still coming.

    A hint, and no part of any promise: without it, all waits for the flush. Linux begins to write what is
    dirty in a part of a file that is said not to be needed in memory, does not wait for it, and reports an
    error of it to the next flush by this descriptor, as that of any write: so it is for who flushes before
    closing, or flushes the file system by a descriptor that is older. Source: ``POSIX_FADV_DONTNEED`` in
    mm/fadvise.c.
    """

    STEP_BYTES = 8 << 20

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._begun_bytes = self._written_bytes = 0

    def wrote(self, size_bytes: int) -> None:
        """So much more has been written, at the end of the file."""
        self._written_bytes += size_bytes
        waiting_bytes = self._written_bytes - self._begun_bytes
        if waiting_bytes < self.STEP_BYTES:
            return
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._descriptor, self._begun_bytes, waiting_bytes, os.POSIX_FADV_DONTNEED)
        self._begun_bytes = self._written_bytes


def flush_file_system(descriptor: int) -> None:
    """Make everything durable that was written to a file system before this call, by whomever.

    ``descriptor``: of any file or directory in it that was opened before the first of the writes that
    matter, since it is to the descriptor that the system tells of a write that has failed meanwhile.
    """
    _syncfs()(descriptor)


@functools.cache
def _syncfs() -> Callable[[int], None]:
    import ctypes  # late: it takes milliseconds, and most processes never come here

    call = ctypes.CDLL(None, use_errno=True).syncfs

    def syncfs(descriptor: int) -> None:
        while call(descriptor):
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))

    return syncfs
