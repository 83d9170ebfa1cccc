"""Files that share their blocks, where the file system can do that."""

from __future__ import annotations

import errno
import fcntl
from typing import BinaryIO

_CLONE = 0x40049409
"""FICLONE. Source: ioctl_ficlone(2); the same number on all architectures that Python runs on but a few."""

_CANNOT_CLONE = {
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EXDEV,
    errno.EINVAL,
    errno.EPERM,
    errno.EBADF,
}


def is_cloned(source: BinaryIO, target: int) -> bool:
    """Let an empty file share the blocks of another; False where that cannot be."""
    try:
        fcntl.ioctl(target, _CLONE, source.fileno())
    except OSError as error:
        if error.errno in _CANNOT_CLONE:
            return False
        raise
    return True
