"""The WAL as a file, outside SQLite: for flushes that SQLite has no call for.

Opening and closing it is harmless: SQLite's locks are on the database and on the shared memory; none is on
the WAL, where a close could drop it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from agent_world_distfs.flushing import flush

_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def opened_wal(catalog: str, flags: int) -> Iterator[int]:
    """A descriptor of the WAL of the database ``catalog``.

    Raises:
        FileNotFoundError: there is none, so nothing is in it.
    """
    fd = os.open(catalog + "-wal", flags | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def rewrite_wal(catalog: str) -> None:
    """Put the same bytes to the same places, which readers do not notice, and flush them.

    Under the write lock. Where a flush has failed, the system may take for clean what is not on the
    disk, and the next flush leaves it out.
    """
    with contextlib.suppress(FileNotFoundError), opened_wal(catalog, os.O_RDWR) as fd:
        position = 0
        while part := os.pread(fd, _CHUNK_BYTES, position):
            position += os.pwrite(fd, part, position)
        flush(fd)
