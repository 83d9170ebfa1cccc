"""Room in the database file for what is so far only in the WAL.

The WAL is copied into the database from time to time, and only then can it be written from its start again.
If the disk is full by then and the database has to grow, neither works: nothing could be removed any more,
because a removal writes to the WAL first. So the database file is extended to the size of the database
*before* the disk can be full: ahead of a large commit, which fails without this room, and after a number of
pages of small ones. What may be missing in between is less than the reserve. Never beside a checkpoint: see
``extending``.
"""

from __future__ import annotations

import contextlib
import ctypes

import apsw

from agent_world_distfs.catalog.extending import Extending

CHUNK_BYTES = 1 << 18
"""The database file grows and shrinks by this much."""

STEP_PAGES = 128
"""How much of the WAL may lack room in the database."""

LARGE_ROWS = 16
"""A transaction that changes more rows than this sees to its room itself."""


class DatabaseRoom:
    """The room for what one connection commits."""

    def __init__(self, connection: apsw.Connection, extending: Extending) -> None:
        self._connection = connection
        self._extending = extending
        self._rows = connection.total_changes()
        self._step = -1
        self._control(apsw.SQLITE_FCNTL_CHUNK_SIZE, ctypes.c_int(CHUNK_BYTES))

    def before_commit(self) -> None:
        """Inside a transaction: make room for it if it is large.

        Raises:
            apsw.FullError: there is none.
            StoreBusyError: a checkpoint that is under way takes too long.
        """
        rows, self._rows = self._rows, self._connection.total_changes()
        if self._rows - rows > LARGE_ROWS:
            with self._extending.alone():
                self._make()

    def after_commit(self, wal_pages: int) -> None:
        """Make room for what was committed, by anybody, if the WAL has grown by a step."""
        step = wal_pages // STEP_PAGES
        if self._step == step:
            return
        with contextlib.suppress(apsw.Error, OSError), self._extending.if_free() as is_free:
            if is_free:  # else the next commit tries again; as it holds, so does the next step after an error
                self._step = step
                self._make()

    def _make(self) -> None:
        page_bytes, pages = self._connection.pragma("page_size"), self._connection.pragma("page_count")
        try:
            self._control(apsw.SQLITE_FCNTL_SIZE_HINT, ctypes.c_int64(page_bytes * pages))
        except apsw.IOError as error:  # SQLite keeps no errno here; that the disk is full is what it means
            raise apsw.FullError("the database file cannot grow") from error

    def _control(self, operation: int, value: ctypes.c_int | ctypes.c_int64) -> None:
        self._connection.file_control("main", operation, ctypes.addressof(value))
