"""One snapshot of the SQLite catalog: its cursors, and the state that it shows."""

from __future__ import annotations

import functools
from typing import Any

import apsw

from agent_world_distfs.catalog.checksums import Checksums
from agent_world_distfs.catalog.commits import SELECT_LAST_COMMIT, Commit, check_commit
from agent_world_distfs.errors import CatalogError


class ReadTransaction:
    """What is asked of it; its connection has a transaction open."""

    def __init__(self, connection: apsw.Connection, checksums: Checksums) -> None:
        self._connection = connection
        self._cursor = connection.cursor()  # for single rows: half the price of a cursor each
        self._cursors = [self._cursor]
        self._checksums = checksums

    def close(self) -> None:
        """End what was not read to its end: it would hold the snapshot for as long as a traceback is kept."""
        for cursor in self._cursors:
            cursor.close(True)  # noqa: FBT003  # positional in apsw: whatever it still runs

    def _execute(self, sql: str, values: apsw.Bindings = ()) -> apsw.Cursor:
        """For many rows, which may be read while other statements run."""
        cursor = self._connection.cursor()
        self._cursors.append(cursor)
        return cursor.execute(sql, values)

    def _row(self, sql: str, *values: apsw.SQLiteValue) -> Any:
        return self._cursor.execute(sql, values).fetchone()

    def _scalar(self, sql: str, *values: apsw.SQLiteValue) -> Any:
        row = self._row(sql, *values)
        if row is None:
            raise CatalogError("a row that every catalog has is gone")
        return row[0]

    @functools.cached_property
    def generation(self) -> int:
        """The generation of ``files`` that is the index."""
        return self.last_commit().generation

    def last_commit(self) -> Commit:
        """The state of the store.

        Raises:
            CatalogError: it contradicts its checksum.
        """
        values = self._row(SELECT_LAST_COMMIT)
        if values is None:
            raise CatalogError("the state of the store is gone")
        return check_commit(self._checksums, values)
