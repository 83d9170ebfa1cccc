"""Space that is kept back on the disk, so that a full one can be emptied."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

RESERVE_BYTES = 2 << 20
"""Removing writes to the WAL first."""


@contextlib.contextmanager
def spare_reserve(path: str) -> Iterator[None]:
    """While held, the space of the reserve is free; afterwards it is taken again, as far as it is there.

    Otherwise a reader, which has the shared memory of SQLite there, would have given all of it to others.
    """
    with contextlib.suppress(OSError):
        os.truncate(path, 0)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the next one that can takes it again
            _fill(path)


def fill_reserve(path: str) -> None:
    """Take the space that a removal on a full disk needs; none is taken unless all of it is there."""
    if not _fill(path):
        os.truncate(path, 0)


def _fill(path: str) -> bool:
    """Take what there is of it, and tell whether that is all."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    try:
        missing = RESERVE_BYTES - os.fstat(fd).st_size
        return missing <= 0 or os.pwrite(fd, bytes(missing), RESERVE_BYTES - missing) == missing
    finally:
        os.close(fd)
