"""Snapshots in the SQLite catalog: states of the index that are kept by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from agent_world_distfs.catalog.change_log import LogReader
from agent_world_distfs.catalog.checksums import Checksums, add_to_digest, sum_up, take_from_digest
from agent_world_distfs.catalog.commits import Commit
from agent_world_distfs.errors import CatalogError
from agent_world_distfs.protocols import BlobBrief, BlobRow
from agent_world_distfs.records import FileIndexManifestRef, Snapshot

_COLUMNS = "name, manifest_hash, manifest_bytes, created_at_ms, total_files, message, checksum"
_AS_STORED = f"SELECT {_COLUMNS} FROM snapshots"  # noqa: S608  # constants only
_ALL = f"{_AS_STORED} ORDER BY created_at_ms, name"
_ONE = f"SELECT {_COLUMNS} FROM snapshots WHERE name = ?"  # noqa: S608
ADD_SNAPSHOT = f"INSERT INTO snapshots ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


class SnapshotReader(LogReader):
    """The part of a ``CatalogReader`` that reads them."""

    def list_snapshots(self) -> list[Snapshot]:
        return [self._checked_snapshot(row) for row in self._execute(_ALL)]

    def find_snapshot(self, name: str) -> Snapshot | None:
        row = self._snapshot_row(name)
        return None if row is None else self._checked_snapshot(row)

    def _snapshot_row(self, name: str) -> tuple[Any, ...] | None:
        """Where rows are out of order, a name may lead to that of another, which would be dropped for it."""
        row: tuple[Any, ...] | None = self._row(_ONE, name)
        if row is not None and row[0] != name:
            raise CatalogError(f"the snapshots are out of order: {name!r} leads to another")
        return row

    def _checked_snapshot(self, row: tuple[Any, ...]) -> Snapshot:
        snapshot = snapshot_of(row)
        if self._checksums.snapshot(snapshot) != row[-1]:
            raise CatalogError(f"the row of snapshot {snapshot.name!r} contradicts its checksum")
        return snapshot

    def _find_snapshot_damage(self, stored: Commit | None) -> Iterator[str]:
        checksums, names = [], []
        for row in self._execute(_AS_STORED):
            checksums.append(row[-1])
            names.append(row[0])
            try:
                self._checked_snapshot(row)
            except CatalogError as error:
                yield error.reason
        if any(name <= before for before, name in pairwise(names)):
            yield "the snapshots are out of order: some are not found by their name"
        if stored is not None and (stored.total_snapshots, stored.snapshot_digest) != sum_up(checksums):
            yield "the snapshots are not the set that was written: rows were lost, added or changed"


class SnapshotWriter(SnapshotReader):
    """The part of a ``CatalogWriter`` that changes them."""

    _state: Commit
    has_changed: bool

    def _record(self, blob_id: int) -> None:
        raise NotImplementedError

    def add_snapshot(self, snapshot: Snapshot, blobs: Iterable[BlobRow | BlobBrief]) -> None:
        for blob in blobs:
            self._record(blob.blob_id)
        row, state = snapshot_row(snapshot, self._checksums), self._state
        self._cursor.execute(ADD_SNAPSHOT, row)
        state.total_snapshots += 1
        state.snapshot_digest = add_to_digest(state.snapshot_digest, row[-1])
        self.has_changed = True

    def remove_snapshot(self, name: str) -> bool:
        row, state = self._snapshot_row(name), self._state
        if row is None:
            return False
        self._cursor.execute("DELETE FROM snapshots WHERE name = ?", (name,))
        state.total_snapshots -= 1
        state.snapshot_digest = take_from_digest(state.snapshot_digest, row[-1])
        self.has_changed = True
        return True


def snapshot_row(snapshot: Snapshot, checksums: Checksums) -> tuple[str, bytes, int, int, int, str, bytes]:
    """A snapshot as a row."""
    ref = snapshot.manifest
    said = (snapshot.created_at_ms, snapshot.total_files, snapshot.message)
    raw, checksum = bytes.fromhex(ref.content_hash), checksums.snapshot(snapshot)
    return (snapshot.name, raw, ref.size_bytes, *said, checksum)


def snapshot_of(row: tuple[Any, ...]) -> Snapshot:
    """What a row says, in the order of the columns here; whether that is right, its checksum tells."""
    name, raw, size_bytes, created_at_ms, total_files, message, _ = row
    return Snapshot(name, FileIndexManifestRef(raw.hex(), size_bytes), created_at_ms, total_files, message)
