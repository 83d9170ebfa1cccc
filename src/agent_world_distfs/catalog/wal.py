"""The WAL as a file, outside SQLite: to flush, write or copy it again, which SQLite has no call for.

Opening and closing the WAL is harmless: SQLite's locks are on the database and on the shared memory; none is
on the WAL, where a close could drop it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

import apsw

from agent_world_distfs.errors import CatalogError
from agent_world_distfs.flushing import flush

FRAME_BYTES = 4096 + 24
"""One page in the WAL."""

_CHUNK_BYTES = 1 << 20

# https://sqlite.org/fileformat2.html#the_write_ahead_log
HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_PAGE_SIZE_AT = 8


@contextlib.contextmanager
def opened_wal(catalog: str, flags: int) -> Iterator[int]:
    """A descriptor of the WAL of the database ``catalog``.

    Raises:
        FileNotFoundError: there is none, so nothing is in it.
    """

    def opener(path: str, _: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC)

    with open(catalog + "-wal", "rb", buffering=0, opener=opener) as file:  # closed by whatever interrupts
        yield file.fileno()


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


def copy_again(catalog: str, frames: int) -> None:
    """Put into the database once more, and flush, what checkpoints have copied: the first ``frames`` frames.

    A checkpoint that stops at a reader has copied pages without a flush; if a later flush fails, they may be
    lost, and no checkpoint copies them a second time.

    Under the write lock, and while nobody else copies. Readers are not kept out. They take from the database
    what these frames hold, so each page is written once, as the last of them has it: nobody sees a page that
    is older than it was, or that no longer belongs to the database.

    It is written by way of a file of SQLite's: closing a descriptor of ours would drop the locks that all
    connections of this process have on the database.

    Raises:
        CatalogError: the WAL is shorter.
    """
    if not frames:
        return
    with opened_wal(catalog, os.O_RDONLY) as wal:
        page_bytes = int.from_bytes(os.pread(wal, 4, _PAGE_SIZE_AT), "big")
        database = apsw.VFSFile("", catalog, [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE, 0])
        try:
            for number, position in _last_of_each_page(wal, frames, page_bytes).items():
                database.xWrite(os.pread(wal, page_bytes, position), (number - 1) * page_bytes)
            database.xSync(apsw.SQLITE_SYNC_FULL)
        finally:
            database.xClose()


def _last_of_each_page(wal: int, frames: int, page_bytes: int) -> dict[int, int]:
    """Where the last of its frames has the bytes of each page that the database has after them."""
    places: dict[int, int] = {}
    total_pages = 0
    for index in range(frames):
        position = HEADER_BYTES + index * (FRAME_HEADER_BYTES + page_bytes)
        head = os.pread(wal, FRAME_HEADER_BYTES, position)
        if len(head) < FRAME_HEADER_BYTES:
            raise CatalogError("the WAL ends before what was copied from it")
        number, pages_after_commit = struct.unpack_from(">II", head)
        places[number] = position + FRAME_HEADER_BYTES
        total_pages = pages_after_commit or total_pages
    return {number: place for number, place in places.items() if number <= total_pages}
