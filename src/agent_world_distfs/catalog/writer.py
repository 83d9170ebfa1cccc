"""Changes to the SQLite catalog inside one write transaction."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import apsw

from agent_world_distfs.catalog.change_format import Side
from agent_world_distfs.catalog.change_log import LogWriter
from agent_world_distfs.catalog.checksums import add_to_digest, sum_up, take_from_digest
from agent_world_distfs.catalog.commits import INSERT_COMMIT, Commit
from agent_world_distfs.catalog.reader import ENTRY_WITH_PATH, SqliteReader
from agent_world_distfs.catalog.snapshots import SnapshotWriter
from agent_world_distfs.errors import CatalogError, LeaseExpiredError, StoreMovedError
from agent_world_distfs.protocols import BlobBrief, BlobRow, IndexState
from agent_world_distfs.records import FileMetadata

_SET_FILE = """INSERT INTO files VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    blob_id = excluded.blob_id, updated_at_ms = excluded.updated_at_ms, checksum = excluded.checksum"""

_ADD_BLOB = "INSERT INTO blobs VALUES (?, ?, ?, ?, ?) ON CONFLICT (content_hash) DO NOTHING"
_RECORD = "INSERT OR IGNORE INTO leases SELECT lease, ? FROM recorders"


class LeftState(NamedTuple):
    """The state after a commit. It holds while SQLite's counter of changes, anybody's, is the same."""

    data_version: int
    state: Commit


class SqliteWriter(LogWriter, SnapshotWriter, SqliteReader):
    """A ``CatalogWriter``; its connection holds SQLite's write lock."""

    def begin(self, left: LeftState | None) -> None:
        """Take SQLite's write lock and learn the state of the store, from ``left`` if it still holds.

        Raises:
            StoreMovedError: the store has moved.
        """
        self._cursor.execute("BEGIN IMMEDIATE")
        if left is not None and left.data_version == self._connection.data_version():
            self._start(left.state)
        else:
            self._start(self.last_commit())

    def go_on(self, before: SqliteWriter) -> None:
        """Begin a change behind another's, in its transaction."""
        self._start(before._state)

    def set_mark(self) -> None:
        """Remember this point, to come back to it."""
        self._cursor.execute("SAVEPOINT mark")

    def go_back_to_mark(self) -> None:
        """Undo what was done since, in the database and here."""
        self._cursor.execute("ROLLBACK TO mark")
        self._start(self.last_commit())

    def drop_mark(self) -> None:
        """What was done since stays, if the transaction does."""
        self._cursor.execute("RELEASE mark")

    def _start(self, state: Commit) -> None:
        self._state = state
        self._first_new_id = state.next_blob_id
        self.generation = state.generation
        if state.moved_to is not None:
            raise StoreMovedError(state.moved_to)

    def finish(self) -> str | None:
        """Append the commit's row; returns the transaction's id, None if there is nothing to commit."""
        if not self.has_changed:
            return None
        state = self._state
        transaction_id = self.transaction_id
        state.sequence, state.nonce = self.sequence, self._nonce
        if state.history_from is None:
            self._trim_log()
        self._cursor.execute(INSERT_COMMIT, (*state.row(self._checksums), *self._deed()))
        return transaction_id

    def leave(self) -> LeftState:
        """After the commit: what the next transaction of this connection need not read again."""
        return LeftState(self._connection.data_version(), self._state)

    # --- blobs ---------------------------------------------------------------------------------

    def add_blob(self, content_hash: str, size_bytes: int, payload: bytes | None) -> BlobRow | None:
        raw, blob_id = bytes.fromhex(content_hash), self._state.next_blob_id
        checksum = self._checksums.blob(raw, size_bytes, is_inline=payload is not None)
        if not self._changes(_ADD_BLOB, blob_id, raw, size_bytes, checksum, payload):
            return None
        self._state.next_blob_id += 1
        return BlobRow(blob_id, content_hash, size_bytes, payload)

    def set_payload(self, blob: BlobRow, size_bytes: int, payload: bytes | None) -> BlobRow:
        checksum = self._checksums.blob(
            bytes.fromhex(blob.content_hash), size_bytes, is_inline=payload is not None
        )
        sql = "UPDATE blobs SET size_bytes = ?, checksum = ?, payload = ? WHERE blob_id = ?"
        self._cursor.execute(sql, (size_bytes, checksum, payload, blob.blob_id))
        self.has_changed = True
        return BlobRow(blob.blob_id, blob.content_hash, size_bytes, payload)

    def drop_blob(self, blob_id: int, recorder: str) -> bool:
        if self._row("SELECT 1 FROM recorders WHERE lease = ?", recorder) is None:
            raise LeaseExpiredError  # somebody took this process for dead: namings went unrecorded
        sql = """DELETE FROM blobs WHERE blob_id = ?1
            AND NOT EXISTS (SELECT 1 FROM pins WHERE blob_id = ?1)
            AND NOT EXISTS (SELECT 1 FROM leases WHERE blob_id = ?1)"""
        return self._changes(sql, blob_id)

    def _record(self, blob_id: int) -> None:
        """Tell the running collections, if any, that something names a blob that was there before."""
        if blob_id < self._first_new_id and self._has_recorders:
            self._cursor.execute(_RECORD, (blob_id,))

    @functools.cached_property
    def _has_recorders(self) -> bool:
        return self._row("SELECT 1 FROM recorders LIMIT 1") is not None

    def _changes(self, sql: str, *values: apsw.SQLiteValue) -> bool:
        self._cursor.execute(sql, values)
        is_changed = self._connection.changes() > 0
        self.has_changed |= is_changed
        return is_changed

    # --- files ---------------------------------------------------------------------------------

    def set_file(self, path: str, blob: BlobRow | BlobBrief, now_ms: int) -> FileMetadata:
        self._record(blob.blob_id)
        state, raw = self._state, bytes.fromhex(blob.content_hash)
        replaced = self._entry(path)
        updated_at_ms = now_ms if replaced is None else max(now_ms, replaced[1])
        checksum = self._checksums.file(path, raw, blob.size_bytes, updated_at_ms)
        self._cursor.execute(_SET_FILE, (state.generation, path, blob.blob_id, updated_at_ms, checksum))
        if replaced is None:
            state.total_files += 1
        else:
            state.digest = take_from_digest(state.digest, replaced[2])
        state.digest = add_to_digest(state.digest, checksum)
        self.has_changed = True
        self._log.add(path, _side_of(replaced), (raw, blob.size_bytes, updated_at_ms))
        return FileMetadata(path, blob.content_hash, blob.size_bytes, updated_at_ms)

    def remove_file(self, path: str) -> bool:
        state = self._state
        removed = self._entry(path)
        if removed is None:
            return False
        self._log.add(path, _side_of(removed), None)
        self._cursor.execute("DELETE FROM files WHERE generation = ? AND path = ?", (state.generation, path))
        state.total_files -= 1
        state.digest = take_from_digest(state.digest, removed[2])
        self.has_changed = True
        return True

    def _entry(self, path: str) -> Any:
        """Where entries are out of order, a path may lead to that of another, which would go in its place."""
        row = self._row(ENTRY_WITH_PATH, self._state.generation, path)
        if row is not None and row[-1] != path:
            raise CatalogError(f"the entries are out of order: {path!r} leads to that of another path")
        return row

    # --- pins and leases -----------------------------------------------------------------------

    def add_pin(self, blob: BlobRow | BlobBrief) -> None:
        checksum, state = self._checksums.pin(bytes.fromhex(blob.content_hash)), self._state
        self._record(blob.blob_id)
        if self._changes("INSERT INTO pins VALUES (?, ?) ON CONFLICT DO NOTHING", blob.blob_id, checksum):
            state.total_pins += 1
            state.pin_digest = add_to_digest(state.pin_digest, checksum)

    def remove_pin(self, content_hash: str) -> bool:
        pin, state = self._pin(content_hash), self._state
        if pin is None:
            return False
        self._changes("DELETE FROM pins WHERE blob_id = ?", pin[0])
        state.total_pins -= 1
        state.pin_digest = take_from_digest(state.pin_digest, pin[1])
        return True

    def add_recorder(self, lease: str) -> None:
        self._changes("INSERT INTO recorders VALUES (?)", lease)

    def add_lease(self, lease: str, blob_id: int) -> None:
        self._record(blob_id)
        self._changes("INSERT INTO leases VALUES (?, ?) ON CONFLICT DO NOTHING", lease, blob_id)

    def end_lease(self, lease: str, limit: int) -> bool:
        self._changes("DELETE FROM generations WHERE lease = ?", lease)
        self._changes("DELETE FROM recorders WHERE lease = ?", lease)
        sql = """DELETE FROM leases WHERE lease = ?1
            AND blob_id IN (SELECT blob_id FROM leases WHERE lease = ?1 LIMIT ?2)"""
        is_changed = self._changes(sql, lease, limit)
        is_ended = self._row("SELECT 1 FROM leases WHERE lease = ?", lease) is None
        if not is_ended and not is_changed:
            raise CatalogError("leases hold rows that cannot be removed")  # or callers would retry forever
        return is_ended

    # --- imports ------------------------------------------------------------------------------- A kept
    # history names the manifest: so it is reported to the running collections, as any name is.

    def note_import(self, manifest: BlobRow | BlobBrief | None) -> None:
        self._log_import(None if manifest is None else self._named_manifest(manifest))

    def note_replaced(self, sequence: int, manifest: BlobRow | BlobBrief) -> None:
        self._log_replaced(sequence, self._named_manifest(manifest))

    def _named_manifest(self, manifest: BlobRow | BlobBrief) -> str:
        self._record(manifest.blob_id)
        return f"{manifest.content_hash}:{manifest.size_bytes}"

    # --- generations ---------------------------------------------------------------------------

    def stage_generation(self, lease: str) -> int:
        # The highest row of files decides too: rows of a dead generation may still be there.
        sql = """SELECT 1 + max((SELECT generation FROM commits ORDER BY sequence DESC LIMIT 1),
            coalesce((SELECT max(generation) FROM generations), 0),
            coalesce((SELECT max(generation) FROM files), 0))"""
        generation = int(self._scalar(sql))
        self._changes("INSERT INTO generations VALUES (?, ?)", generation, lease)
        return generation

    def stage_files(self, generation: int, files: Iterable[tuple[FileMetadata, int]]) -> bytes:
        rows = []
        for file, blob_id in files:
            self._record(blob_id)
            raw = bytes.fromhex(file.content_hash)
            checksum = self._checksums.file(file.path, raw, file.size_bytes, file.updated_at_ms)
            rows.append((generation, file.path, blob_id, file.updated_at_ms, checksum))
        self._connection.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?)", rows)
        self.has_changed = True
        _, digest = sum_up(row[-1] for row in rows)
        return digest

    def switch_generation(self, generation: int, state: IndexState) -> int:
        previous, self._state.generation = self._state.generation, generation
        self._state.total_files, self._state.digest = state.total_files, state.digest
        if not self._changes(
            "UPDATE generations SET generation = ? WHERE generation = ?", previous, generation
        ):
            raise LeaseExpiredError  # somebody took this process for dead, and may have swept what was staged
        return previous

    def sweep_generations(self, limit: int) -> bool:
        generation = self._dead_generation()
        if generation is None:
            return True
        sql = """DELETE FROM files WHERE generation = ?1
            AND path IN (SELECT path FROM files WHERE generation = ?1 ORDER BY path LIMIT ?2)"""
        if not self._changes(sql, generation, limit):
            raise CatalogError("files hold rows that cannot be removed")  # or callers would retry forever
        return False

    def return_space(self, limit: int) -> bool:
        before = int(self._scalar("PRAGMA freelist_count"))
        if before:
            self._cursor.execute(f"PRAGMA incremental_vacuum({limit})").fetchall()
            self.has_changed = True
        # A damaged header may say that nothing can be returned: retrying would never end.
        return before <= limit or int(self._scalar("PRAGMA freelist_count")) == before

    def mark_epoch(self) -> None:
        self._state.epoch += 1
        self.has_changed = True


def _side_of(entry: tuple[Any, ...] | None) -> Side | None:
    """What an entry that goes said; None if it is damaged: that it went is all that is known."""
    return None if entry is None or entry[3] is None else (entry[3], entry[4], entry[1])
