"""The one way into a directory of the original: read-only, regular files, no symlinks."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from agent_world_distfs.errors import CorruptError

BLOBS_NAME = "blobs"


@contextmanager
def opened_blobs(directory: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of the directory of blobs.

    Raises:
        FileNotFoundError: nothing is there.
        CorruptError: something else is there, such as a symlink to a directory.
    """
    try:
        descriptor = os.open(
            os.path.join(directory, BLOBS_NAME), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        )
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise CorruptError(f"{BLOBS_NAME} is not a directory") from error
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_regular(path: str, parent: int | None = None) -> int:
    """A descriptor of a regular file.

    Raises:
        FileNotFoundError: nothing is there.
        CorruptError: something else is there. It is not opened: a fifo would make us wait.
    """
    if not stat.S_ISREG(os.stat(path, dir_fd=parent, follow_symlinks=False).st_mode):
        raise CorruptError(f"{os.path.basename(path)} is not a regular file")
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
