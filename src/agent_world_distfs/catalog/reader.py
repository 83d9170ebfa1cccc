"""Queries of one snapshot of the SQLite catalog."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from agent_world_distfs.catalog.checksums import sum_as_digest, sum_up
from agent_world_distfs.catalog.commits import Commit
from agent_world_distfs.catalog.copying import copy_catalog
from agent_world_distfs.catalog.lookup import as_blob_row, check_entry, check_found
from agent_world_distfs.catalog.snapshots import SnapshotReader
from agent_world_distfs.errors import CatalogError
from agent_world_distfs.paths import is_path
from agent_world_distfs.protocols import (
    BlobBrief,
    BlobRow,
    Doubted,
    IndexState,
)
from agent_world_distfs.records import FileMetadata

_ENTRY = """SELECT f.blob_id, f.updated_at_ms, f.checksum, b.content_hash, b.size_bytes %s
    FROM files f LEFT JOIN blobs b ON b.blob_id = f.blob_id WHERE f.generation = ? AND f.path = ?"""
_ENTRY_ALONE = _ENTRY % ""
ENTRY_WITH_PATH = _ENTRY % ", f.path"
_ENTRY_WITH_BYTES = _ENTRY % ", b.payload"

# The bytes ff follow every path that begins with the prefix: they never stand in UTF-8.
_ENTRIES = """SELECT f.path, b.content_hash, b.size_bytes, f.updated_at_ms
    FROM files f LEFT JOIN blobs b USING (blob_id)
    WHERE f.generation = ? AND f.path > ? AND f.path >= ?
    AND f.path < CAST(? AS TEXT) ORDER BY f.path LIMIT ?"""

_BRIEF = "SELECT b.blob_id, b.content_hash, b.size_bytes, b.payload IS NOT NULL FROM blobs b"

# The index gives the id, and the row says whose it is: in a query of one table both would be the index's.
_BY_HASH = """SELECT b.blob_id, b.size_bytes, %s, b.content_hash
    FROM blobs i LEFT JOIN blobs b ON b.blob_id = i.blob_id WHERE i.content_hash = ?"""
_FULL_BY_HASH = _BY_HASH % "b.payload"
_BRIEF_BY_HASH = _BY_HASH % "b.payload IS NOT NULL"

_PIN = "SELECT blob_id, checksum FROM pins WHERE blob_id = ?"

_INDEX_OF_HASHES = "SELECT content_hash, blob_id FROM blobs INDEXED BY sqlite_autoindex_blobs_1"

_INDEX_OF_LARGE = "SELECT content_hash, blob_id FROM blobs INDEXED BY large_blobs WHERE payload IS NULL"

# Where the index of hashes is damaged, a blob is stored again beside its own row, and one of the two taken.
_LOST_BY_HASH = """SELECT blob_id FROM blobs b NOT INDEXED WHERE blob_id IS NOT
    (SELECT blob_id FROM blobs INDEXED BY sqlite_autoindex_blobs_1 WHERE content_hash = b.content_hash)"""

_UNNAMED = (
    _BRIEF  # noqa: S608  # constants only
    + """ WHERE b.blob_id NOT IN (
        SELECT blob_id FROM files WHERE generation IN (SELECT value FROM json_each(?1))
        UNION ALL SELECT blob_id FROM pins
        UNION ALL SELECT blob_id FROM leases WHERE lease NOT IN (SELECT value FROM json_each(?2)))"""
)


class SqliteReader(SnapshotReader):
    """A ``CatalogReader``; its connection has a read transaction open."""

    # --- files ---------------------------------------------------------------------------------

    def find_file(self, path: str) -> tuple[FileMetadata, BlobRow] | None:
        row = self._row(_ENTRY_WITH_BYTES, self.generation, path)
        return None if row is None else check_found(self._checksums, path, row)

    def stat_file(self, path: str) -> FileMetadata | None:
        row = self._row(_ENTRY_ALONE, self.generation, path)
        return None if row is None else check_entry(self._checksums, path, row)

    def iter_files(self, prefix: str = "", start_after: str = "", limit: int = -1) -> Iterator[FileMetadata]:
        end = prefix.encode() + b"\xff"
        rows = self._execute(_ENTRIES, (self.generation, start_after, prefix, end, limit))
        for path, content_hash, size_bytes, updated_at_ms in rows:
            if content_hash is None:
                raise CatalogError(f"the entry of {path!r} names no blob")
            yield FileMetadata(path, content_hash.hex(), size_bytes, updated_at_ms)

    def list_generation(self, generation: int, start_after: str, limit: int) -> list[FileMetadata]:
        rows = self._execute(_ENTRIES, (generation, start_after, "", b"\xff", limit))
        return [
            FileMetadata(path, "" if raw is None else raw.hex(), size_bytes or 0, at)
            for path, raw, size_bytes, at in rows
        ]

    def count_files(self) -> int:
        return self.last_commit().total_files

    # --- the index as a whole ------------------------------------------------------------------

    def index_state(self) -> IndexState:
        commit = self.last_commit()
        return IndexState(commit.total_files, commit.digest)

    # --- blobs ---------------------------------------------------------------------------------

    def find_blob(self, content_hash: str) -> BlobRow | None:
        row = self._row_by_hash(_FULL_BY_HASH, content_hash)
        return None if row is None else as_blob_row(row[0], content_hash, row[1], row[2])

    def find_brief(self, content_hash: str) -> BlobBrief | None:
        row = self._row_by_hash(_BRIEF_BY_HASH, content_hash)
        return None if row is None else BlobBrief(row[0], content_hash, row[1], bool(row[2]))

    def _row_by_hash(self, sql: str, content_hash: str) -> Any:
        """A damaged index may lead to another blob, whose bytes would be taken for wrong ones, and healed."""
        raw = bytes.fromhex(content_hash)
        row = self._row(sql, raw)
        if row is not None and row[-1] != raw:
            raise CatalogError(f"the hash {content_hash} leads to the row of another blob")
        return row

    def paths_naming(self, blob_ids: Collection[int]) -> dict[int, str]:
        sql = """SELECT blob_id, min(path) FROM files
            WHERE generation = ? AND blob_id IN (SELECT value FROM json_each(?)) GROUP BY blob_id"""
        return dict(self._execute(sql, (self.generation, json.dumps(list(blob_ids)))))

    def last_blob_id(self) -> int:
        return self.last_commit().next_blob_id - 1

    def list_shard(self, shard: str) -> list[BlobBrief]:
        first = bytes.fromhex(shard)
        sql = f"{_BRIEF} WHERE content_hash >= ? AND content_hash <= ? AND payload IS NULL"
        return [_brief(row) for row in self._execute(sql, (first, first + b"\xff" * 32))]

    def list_payloads(self, after_id: int, up_to_id: int) -> list[BlobRow]:
        sql = (
            "SELECT blob_id, content_hash, size_bytes, payload FROM blobs WHERE blob_id > ? AND blob_id <= ?"
        )
        rows = self._execute(sql, (after_id, up_to_id))
        return [as_blob_row(row[0], row[1].hex(), row[2], row[3]) for row in rows]

    def list_unnamed_blobs(self, dead: frozenset[str]) -> list[BlobBrief]:
        rooted = json.dumps(sorted(self._rooted_generations(dead)))
        return [_brief(row) for row in self._execute(_UNNAMED, (rooted, json.dumps(sorted(dead))))]

    def _rooted_generations(self, dead: frozenset[str]) -> set[int]:
        staged = self._execute("SELECT generation, lease FROM generations")
        return {self.generation, *(generation for generation, lease in staged if lease not in dead)}

    def has_dead_rows(self) -> bool:
        return self._dead_generation() is not None

    def _dead_generation(self) -> int | None:
        kept = self._rooted_generations(frozenset())
        generation: int | None = 0
        while generation is not None:  # from seek to seek: the index itself may be long
            sql = "SELECT min(generation) FROM files WHERE generation > ?"
            generation = self._scalar(sql, generation)
            if generation not in kept:
                break
        return generation

    def total_bytes(self) -> int:
        return int(self._scalar("SELECT coalesce(sum(size_bytes), 0) FROM blobs"))

    # --- pins and leases -----------------------------------------------------------------------

    def is_pinned(self, content_hash: str) -> bool:
        return self._pin(content_hash) is not None

    def _pin(self, content_hash: str) -> tuple[int, bytes] | None:
        """The pin of a blob: the blob's id and the checksum."""
        brief = self.find_brief(content_hash)
        return None if brief is None else self._row(_PIN, brief.blob_id)

    def list_pins(self) -> list[BlobBrief]:
        sql = f"{_BRIEF} JOIN pins USING (blob_id) ORDER BY content_hash"
        return [_brief(row) for row in self._execute(sql)]

    def leases(self) -> frozenset[str]:
        sql = """SELECT DISTINCT lease FROM leases UNION SELECT lease FROM generations
            UNION SELECT lease FROM recorders"""
        leases = frozenset(row[0] for row in self._execute(sql))
        if any(type(lease) is not str for lease in leases):
            raise CatalogError("a lease is no text")
        return leases

    def copy_to(self, path: str, own_settings: Mapping[str, str | None]) -> None:
        """Copy this snapshot to ``path``; see ``copy_catalog``."""
        own = {
            name: None if value is None else (value, self._checksums.setting(name, value))
            for name, value in own_settings.items()
        }
        copy_catalog(self._connection, self.generation, path, own)

    # --- damage --------------------------------------------------------------------------------

    def find_damage(self, doubted: Doubted | None = None) -> Iterator[str]:
        doubted = doubted or Doubted(set(), set())
        try:
            stored: Commit | None = self.last_commit()
        except CatalogError as error:
            yield error.reason
            stored = None
        yield from self._find_blob_damage(doubted, sys.maxsize if stored is None else stored.next_blob_id)
        yield from self._find_pin_damage(doubted, stored)
        yield from self._find_snapshot_damage(stored)
        yield from self._find_file_damage(doubted, stored)
        yield from self._find_setting_damage()
        if stored is not None:
            yield from self._find_log_damage()

    def _find_file_damage(self, doubted: Doubted, stored: Commit | None) -> Iterator[str]:
        count, digests, checksum_of = 0, 0, self._checksums.encoded_file
        before, is_ordered = b"", True
        sql = """SELECT CAST(path AS BLOB), blob_id, updated_at_ms, f.checksum, content_hash, size_bytes
            FROM files f LEFT JOIN blobs b USING (blob_id) WHERE generation = ?"""
        for raw_path, blob_id, updated_at_ms, checksum, content_hash, size_bytes in self._execute(
            sql, (self.generation,)
        ):
            count += 1
            digests += int.from_bytes(checksum, "little")
            doubted.unnamed.discard(blob_id)
            is_ordered &= before < raw_path
            before = raw_path
            path = raw_path.decode(errors="backslashreplace")
            if content_hash is None:
                yield f"the entry of {path!r} names blob {blob_id}, which has no row"
            elif checksum_of(raw_path, content_hash, size_bytes, updated_at_ms) != checksum:
                yield f"the entry of {path!r} contradicts its checksum"
            elif not is_path(path):
                yield f"the entry of {path[:80]!r} is of what can be no path"
        if not is_ordered:
            yield "the entries are out of order: some are not found by their path"
        if stored is not None and (stored.total_files, stored.digest) != (count, sum_as_digest(digests)):
            yield "the entries are not the set that was written: rows were lost, added or changed"

    def _find_blob_damage(self, doubted: Doubted, next_id: int) -> Iterator[str]:
        sql = """SELECT blob_id, content_hash, size_bytes, payload IS NOT NULL, length(payload), checksum
            FROM blobs"""
        checksum_of, rowless, hashes, large = self._checksums.blob, doubted.rowless, 0, 0
        for blob_id, content_hash, size_bytes, is_inline, length, checksum in self._execute(sql):
            product = hash(content_hash) * blob_id
            hashes += product
            if not is_inline:
                large += product
            if rowless:
                rowless.discard(content_hash.hex())
            if checksum_of(content_hash, size_bytes, is_inline=bool(is_inline)) != checksum:
                yield f"the row of blob {blob_id} contradicts its checksum"
            elif is_inline and length != size_bytes:
                yield f"the row of blob {blob_id} holds {length} bytes, not {size_bytes}"
            elif blob_id >= next_id:
                yield f"the row of blob {blob_id} is newer than the state of the store"
        yield from self._find_index_damage(hashes, large)

    def _find_index_damage(self, hashes: int, large: int) -> Iterator[str]:
        if hashes != self._sum_of_index(_INDEX_OF_HASHES):
            lost = [row[0] for row in self._execute(_LOST_BY_HASH)]
            yield from (f"the row of blob {blob_id} is not found by its hash" for blob_id in lost)
            if not lost:
                yield "the index of hashes has entries of no blob"
        if large != self._sum_of_index(_INDEX_OF_LARGE):
            yield "the index of large blobs is not that of the blobs"

    def _sum_of_index(self, sql: str) -> int | None:
        """Of hash times id over an index, to compare with that over the table, whose order is another.

        None where its order is wrong: then an entry that a scan comes across may not be found by its hash.
        """
        total, before = 0, b""
        for content_hash, blob_id in self._execute(sql):
            if type(content_hash) is not bytes or content_hash <= before:
                return None
            before = content_hash
            total += hash(content_hash) * blob_id
        return total

    def _find_pin_damage(self, doubted: Doubted, stored: Commit | None) -> Iterator[str]:
        checksums, before, is_ordered = [], 0, True
        sql = "SELECT blob_id, content_hash, p.checksum FROM pins p LEFT JOIN blobs b USING (blob_id)"
        for blob_id, content_hash, checksum in self._execute(sql):
            checksums.append(checksum)
            is_ordered &= before < blob_id
            before = blob_id
            doubted.unnamed.discard(blob_id)
            if content_hash is None:
                yield f"a pin names blob {blob_id}, which has no row"
            elif self._checksums.pin(content_hash) != checksum:
                yield f"the pin of blob {content_hash.hex()} contradicts its checksum"
        if not is_ordered:
            yield "the pins are out of order: some are not found by their blob"
        if stored is not None and (stored.total_pins, stored.pin_digest) != sum_up(checksums):
            yield "the pins are not the set that was written: rows were lost, added or changed"

    def check_pages(self) -> Iterator[str]:
        """SQLite's own check of its pages and of each index against its table."""
        for (finding,) in self._execute("PRAGMA integrity_check"):
            if finding != "ok":
                yield f"SQLite: {finding}"


def _brief(row: tuple[int, bytes, int, int]) -> BlobBrief:
    return BlobBrief(row[0], row[1].hex(), row[2], bool(row[3]))
