"""One path looked up in one statement, which is a snapshot by itself: no transaction around it.

Nearly every read of a store is this one. The row of the last commit comes along, since it says which
generation is the index; it stays the same from read to read until somebody writes, so it is checked only if
it differs from the one checked last.
"""

from __future__ import annotations

from typing import Any

import apsw

from agent_world_distfs.catalog.checksums import Checksums
from agent_world_distfs.catalog.commits import STATE_COLUMNS, check_commit
from agent_world_distfs.errors import CatalogError
from agent_world_distfs.protocols import BlobRow
from agent_world_distfs.records import FileMetadata

_STATE = ", ".join(f"c.{column}" for column in STATE_COLUMNS)
_FOUND = f"""SELECT {_STATE}, f.blob_id, f.updated_at_ms, f.checksum, b.content_hash, b.size_bytes %s
    FROM commits c
    LEFT JOIN files f ON f.generation = c.generation AND f.path = ?
    LEFT JOIN blobs b ON b.blob_id = f.blob_id
    WHERE c.sequence = (SELECT max(sequence) FROM commits)"""  # noqa: S608  # constants only
_FILE = _FOUND % ", b.payload"
_STAT = _FOUND % ""
_STATE_LENGTH = len(STATE_COLUMNS)


class Lookup:
    """Looks paths up over one connection."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._checked_state: tuple[Any, ...] = ()

    def find_file(self, checksums: Checksums, path: str) -> tuple[FileMetadata, BlobRow] | None:
        """See ``CatalogReader.find_file``."""
        row = self._find(_FILE, checksums, path)
        return None if row is None else check_found(checksums, path, row)

    def stat_file(self, checksums: Checksums, path: str) -> FileMetadata | None:
        """See ``CatalogReader.stat_file``."""
        row = self._find(_STAT, checksums, path)
        return None if row is None else check_entry(checksums, path, row)

    def _find(self, sql: str, checksums: Checksums, path: str) -> tuple[Any, ...] | None:
        try:
            rows = self._cursor.execute(sql, (path,)).fetchall()
        except BaseException:  # an interrupt may have cut it short: its snapshot must not stay
            self._cursor.close(True)  # noqa: FBT003  # positional in apsw: whatever it still runs
            self._cursor = self._connection.cursor()
            raise
        if not rows:
            raise CatalogError("the state of the store is gone")
        state = rows[0][:_STATE_LENGTH]
        if state != self._checked_state:
            check_commit(checksums, state)
            self._checked_state = state
        return None if rows[0][_STATE_LENGTH] is None else rows[0][_STATE_LENGTH:]


def check_entry(checksums: Checksums, path: str, row: tuple[Any, ...]) -> FileMetadata:
    """The entry of ``path`` from blob_id, updated_at_ms, checksum, content_hash, size_bytes.

    Raises:
        CatalogError: they contradict the checksum, or the blob has no row.
    """
    _, updated_at_ms, checksum, content_hash, size_bytes = row
    if content_hash is None:
        raise CatalogError(f"the entry of {path!r} names no blob")
    if checksums.file(path, content_hash, size_bytes, updated_at_ms) != checksum:
        raise CatalogError(f"the entry of {path!r} contradicts its checksum")
    return FileMetadata(path, content_hash.hex(), size_bytes, updated_at_ms)


def check_found(checksums: Checksums, path: str, row: tuple[Any, ...]) -> tuple[FileMetadata, BlobRow]:
    """The same with its blob; ``payload`` comes last."""
    file = check_entry(checksums, path, row[:-1])
    return file, as_blob_row(row[0], file.content_hash, file.size_bytes, row[-1])


def as_blob_row(blob_id: int, content_hash: str, size_bytes: int, payload: bytes | None) -> BlobRow:
    """A row of ``blobs``.

    Raises:
        CatalogError: it holds what its table cannot.
    """
    if type(size_bytes) is not int or not (payload is None or type(payload) is bytes):
        raise CatalogError(f"the row of blob {content_hash} holds what its table cannot")
    return BlobRow(blob_id, content_hash, size_bytes, payload)
