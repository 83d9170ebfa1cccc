"""Room in the WAL file for the commits to come.

A commit that extends the WAL file is flushed twice: its bytes, and the new length of the file. A commit that
overwrites existing bytes is flushed once, for half the price. SQLite overwrites only what it has written
before, and the last process to close removes the WAL; so a store that has just been opened would pay for the
length with each of its first commits. Instead the WAL is extended ahead, in steps, with zeros: real ones,
since space that is only allocated costs the same again when it is first written.

**Why zeros are safe.** A frame of the WAL is valid only with the number of a page, the salt of the WAL and a
checksum over all frames before it; zeros have none, so behind the last frame they mean nothing, and a WAL of
nothing but zeros is an empty WAL. They are appended, never written to a position: whatever was written
meanwhile stays. And nothing depends on them: the flush of the commit that follows is the only one. So a
process that cannot extend the WAL goes on without, and if the disk is at fault, SQLite will report it.
"""

from __future__ import annotations

import contextlib
import os

from agent_world_distfs.catalog.wal import FRAME_BYTES, opened_wal

MAX_STEP_BYTES = 1 << 18
"""A step doubles the WAL, but adds no more than this: its zeros are flushed with a commit."""

AHEAD_PAGES = 16
"""How many pages there is room for: more than a small commit or two take."""

MAX_PAGES = 1_000
"""The longest it gets: the WAL is then copied into the database, and written from its start again."""


class WalRoom:
    """The room for what one process commits."""

    def __init__(self, catalog: str) -> None:
        self._catalog = catalog
        self._log = catalog + "-wal"
        self._pages = 0  # how long the WAL was when last checked
        self._end_pages = 0  # and how long it could become

    def before_commit(self, wal_pages: int) -> None:
        """Inside a transaction that will be flushed: extend the WAL if its end has been reached.

        ``wal_pages``: how long it was after this process's last commit; 0 if it has made none, and may make
        no other: then room would be for nobody.
        """
        if self._pages <= wal_pages < self._end_pages - AHEAD_PAGES or not 0 < wal_pages < MAX_PAGES:
            return
        with contextlib.suppress(OSError):
            size_bytes = os.stat(self._log).st_size
            if size_bytes < (wal_pages + AHEAD_PAGES) * FRAME_BYTES:
                size_bytes += self._extend(min(size_bytes, MAX_STEP_BYTES))
            self._pages, self._end_pages = wal_pages, size_bytes // FRAME_BYTES

    def _extend(self, step_bytes: int) -> int:
        with opened_wal(self._catalog, os.O_WRONLY | os.O_APPEND) as fd:
            return os.write(fd, bytes(step_bytes))
