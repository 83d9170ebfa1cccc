"""The blobs of a copy: those with a row in its catalog, each verified while it is copied, and no others."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.copying.catalogs import list_rows
from agent_world_distfs.engine.orphans import SHARDS
from agent_world_distfs.errors import BlobHashMismatchError, CatalogError
from agent_world_distfs.flushing import flush_directory
from agent_world_distfs.hashing import CHUNK_BYTES, hash_stream, new_hasher, require_hash
from agent_world_distfs.os_failures import reading_blob, translated
from agent_world_distfs.protocols import BlobBrief
from agent_world_distfs.records import BackupReport, Progress


@dataclass(slots=True)
class Tally:
    """What has been copied, and what is lost or corrupt here."""

    total_blobs: int = 0
    copied_blobs: int = 0
    copied_bytes: int = 0
    missing: set[str] = field(default_factory=set)
    corrupt: set[str] = field(default_factory=set)

    def note_corrupt(self, content_hash: str) -> None:
        """It is there, even if it was taken for missing because its size is not right, or not known."""
        self.corrupt.add(content_hash)
        self.missing.discard(content_hash)

    def report(self, total_files: int, removed: int, named: set[str]) -> BackupReport:
        """What was done; of what is missing or corrupt only what something names."""
        return BackupReport(
            total_files=total_files,
            total_blobs=self.total_blobs,
            copied_blobs=self.copied_blobs,
            copied_bytes=self.copied_bytes,
            removed_blobs=removed,
            missing_blob_hashes=tuple(sorted(self.missing & named)),
            corrupt_blob_hashes=tuple(sorted(self.corrupt & named)),
        )


@dataclass(frozen=True, slots=True)
class Carrier:
    """Copies large blobs from ``here`` to ``there``: those that ``copy``, the new catalog, has rows for."""

    here: DirectoryBlobs
    there: DirectoryBlobs
    copy: SqliteCatalog
    tally: Tally
    verify: bool
    _trusted: set[str] = field(default_factory=set, init=False)
    """Directories with a name that was there before."""

    def carry(self, progress: Progress | None) -> None:
        """Copy what is not there yet, and make all of it durable; progress in bytes."""
        done, total = 0, self.copy.read(lambda tx: tx.total_bytes())
        for shard in SHARDS:
            for row in list_rows(self.copy, shard):
                self.tally.total_blobs += 1
                if self._is_there(row):
                    self._trusted.add(os.path.dirname(self.there.path_of(row.content_hash)))
                else:
                    self._copy(row)
                done += row.size_bytes
                if progress is not None:
                    progress(done, total)
        self._flush_trusted()

    def _flush_trusted(self) -> None:
        """The bytes under a name are durable; the name is not, if the copying that gave it died then."""
        for shard in sorted(self._trusted):
            with translated(shard):
                flush_directory(shard)
        for blobs in {os.path.dirname(shard) for shard in self._trusted}:
            with translated(blobs):
                flush_directory(blobs)

    def _is_there(self, row: BlobBrief) -> bool:
        form = self.there.stat(row.content_hash)
        if form is None or not form.is_regular or form.size_bytes != row.size_bytes:
            return False
        self.tally.missing.discard(row.content_hash)
        if not self.verify:
            return True
        try:
            with reading_blob(row.content_hash), self.there.open(row.content_hash) as stored:
                return hash_stream(stored, self.copy.hash_algorithm) == row.content_hash
        except BlobHashMismatchError:  # it cannot be read: replaced like one that is corrupt
            return False

    def _copy(self, row: BlobBrief) -> None:
        try:
            with reading_blob(row.content_hash):
                source = self.here.open(row.content_hash)
        except (FileNotFoundError, CatalogError):
            self.tally.missing.add(row.content_hash)
            return
        except BlobHashMismatchError:
            self.tally.note_corrupt(row.content_hash)
            return
        hasher, incoming = new_hasher(self.copy.hash_algorithm), self.there.incoming()
        try:
            with source:
                for chunk in _chunks(source, row.content_hash):
                    hasher.update(chunk)
                    incoming.write(chunk)
            require_hash(row.content_hash, hasher.hexdigest())
            incoming.publish(row.content_hash)
        except BlobHashMismatchError:
            self.tally.note_corrupt(row.content_hash)
            return
        finally:
            incoming.discard()
        self.tally.missing.discard(row.content_hash)  # it may have been stored again meanwhile
        self.tally.copied_blobs += 1
        self.tally.copied_bytes += row.size_bytes


def _chunks(source: BinaryIO, content_hash: str) -> Iterator[bytes]:
    while True:
        with reading_blob(content_hash):
            chunk = source.read(CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


def remove_others(target: str, there: DirectoryBlobs) -> int:
    """Take away the files that the new catalog has no row for; nobody has it open."""
    catalog = SqliteCatalog(
        os.path.join(target, "catalog.db"), os.path.join(target, "locks"), is_flushed=True, timeout_s=10
    )
    removed = 0
    with contextlib.closing(catalog):
        for shard in SHARDS:
            known = {row.content_hash for row in list_rows(catalog, shard)}
            others = there.list_shard(shard).keys() - known
            there.remove(others)()
            removed += len(others)
    return removed
