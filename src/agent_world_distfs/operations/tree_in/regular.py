"""A file of a tree, as it was at one moment."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO

_NOT_A_FILE = {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENODEV}
"""What opening says where a regular file was and now is nothing, a symlink, a socket or a device."""


class UpTo:
    """The beginning of a file: one that grows as fast as it is read would never end."""

    def __init__(self, source: FileIO, size_bytes: int) -> None:
        self._source = source
        self._left_bytes = size_bytes

    def read(self, size: int, /) -> bytes:
        """The next bytes of it."""
        part = self._source.read(min(size, self._left_bytes)) or b""
        self._left_bytes -= len(part)
        return part


def open_regular(directory: int, name: bytes) -> FileIO | None:
    """A regular file to read; None if there is no longer one of this name."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a fifo would make us wait
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            return None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return FileIO(descriptor, "rb")
    os.close(descriptor)
    return None


def held_still(source: FileIO, before: os.stat_result) -> bool:
    """Whether size and times are what they were."""
    now = os.fstat(source.fileno())
    return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
