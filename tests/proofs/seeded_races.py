"""Bugs that the harnesses of races must catch. Each is applied in a child, before it opens the store.

Where the public API or the operating system is enough to break a promise, nothing else is touched.
The few names of private functions that are needed are all in this file.
"""

from __future__ import annotations

import fcntl
import os
from typing import Any

from agent_world_distfs import (
    ABSENT,
    BlobMissingError,
    FileConflictError,
    FileMetadata,
    LocalCasStore,
    PathNotFoundError,
    StorageError,
)
from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.blobs.incoming import IncomingFile
from agent_world_distfs.catalog.writer import SqliteWriter
from agent_world_distfs.engine import reading
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.operations.transactions import Transaction
from agent_world_distfs.operations.transactions.inputs import Inputs
from agent_world_distfs.records import Data, Expected


def _replace(owner: Any, name: str, new: Any) -> Any:
    """Put something else under a name; what was there."""
    honest = getattr(owner, name)
    setattr(owner, name, new)
    return honest


def check_the_condition_outside_of_the_transaction() -> None:
    """Look, then write whatever the path holds by then."""

    def write_file_if_match(
        self: LocalCasStore, path: str, expected_content_hash: Expected, data: Data
    ) -> FileMetadata:
        if expected_content_hash is not None:
            found = self.stat_file(path)
            if (ABSENT if found is None else found.content_hash) != expected_content_hash:
                raise FileConflictError(path, expected_content_hash, found)
        written: FileMetadata = honest(self, path, None, data)
        return written

    honest = _replace(LocalCasStore, "write_file_if_match", write_file_if_match)


def acknowledge_before_it_is_written() -> None:
    """Carry out each write when the store is used again: its own process never sees the difference."""
    late: list[tuple[str, Data]] = []

    def write_file(self: LocalCasStore, path: str, data: Data) -> FileMetadata:
        late.append((path, data))
        return FileMetadata(path, self.hash_bytes(data), len(data), 0)

    def catch_up(self: LocalCasStore, name: str) -> Any:
        if late and not name.startswith("_") and name not in ("hash_bytes", "hash_algorithm"):
            honest(self, *late.pop())
        return object.__getattribute__(self, name)

    honest = _replace(LocalCasStore, "write_file", write_file)
    _replace(LocalCasStore, "__getattribute__", catch_up)


def answer_from_memory() -> None:
    """Read each path once, and answer so every third time after that."""
    known: dict[str, tuple[FileMetadata, bytes]] = {}
    asked = 0

    def read_file_with_metadata(self: LocalCasStore, path: str) -> tuple[FileMetadata, bytes]:
        nonlocal asked
        asked += 1
        if asked % 3 == 0 and path in known:
            return known[path]
        known[path] = honest(self, path)
        return known[path]

    honest = _replace(LocalCasStore, "read_file_with_metadata", read_file_with_metadata)


def lock_nothing() -> None:
    """A gate that is open to all at once."""

    def flock(fd: int, operation: int) -> None:
        if os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) not in ("gate", "turnstile"):
            honest(fd, operation)

    honest = _replace(fcntl, "flock", flock)


def take_without_checking_again() -> None:
    """A collection that believes under the lock what it found without it."""

    def drop_blob(self: SqliteWriter, blob_id: int, _: str) -> bool:
        self._cursor.execute("DELETE FROM blobs WHERE blob_id = ?", (blob_id,))
        self.has_changed = True
        return True

    _replace(SqliteWriter, "drop_blob", drop_blob)


def name_without_telling_a_collection() -> None:
    """A naming that no running collection hears of."""

    def record_nothing(*_: Any) -> None:
        pass

    _replace(SqliteWriter, "_record", record_nothing)


def name_without_looking_again() -> None:
    """A put that does not look, under the lock, whether a collection has taken its file."""

    def ensure_nothing(self: IncomingFile, content_hash: str) -> None:
        pass

    _replace(IncomingFile, "ensure", ensure_nothing)


def keep_nothing_for_a_copy() -> None:
    """A copy that leases nothing of what it is about to copy."""
    _replace(Lease, "keep", lambda self, content_hashes: [])


def replace_what_may_be_gone() -> None:
    """A put that fails if what it is about to replace goes meanwhile."""

    def give_name(self: DirectoryBlobs, temporary: str, content_hash: str) -> None:
        if os.path.lexists(self.path_of(content_hash)):
            try:
                os.stat(self.path_of(content_hash))
            except FileNotFoundError as error:
                raise StorageError(temporary, "gone") from error
        honest(self, temporary, content_hash)

    honest = _replace(DirectoryBlobs, "give_name", give_name)


def look_once() -> None:
    """A reader that takes the first look at a path for the last: what was collected since is lost to it."""

    def open_found(catalog: Any, files: Any, path: str, find: Any) -> Any:
        found = find(path)
        if found is None:
            raise PathNotFoundError(path)
        metadata, row = found
        source = reading._open_row(files, row)
        if source is None:
            raise BlobMissingError(row.content_hash, path)
        return reading._reader(catalog, source, row, metadata)

    _replace(reading, "_open_found", open_found)


def check_no_input() -> None:
    """A transaction that commits whatever others have changed meanwhile."""
    _replace(Inputs, "renew", lambda self, tx: None)


def check_paths_and_no_listings() -> None:
    """A transaction in whose listings files may appear."""

    def list_files(self: Inputs, tx: Any, prefix: str) -> list[FileMetadata]:
        found: list[FileMetadata] = honest(self, tx, prefix)
        self._listings.clear()
        return found

    honest = _replace(Inputs, "list_files", list_files)


def check_inputs_at_the_last_read_only() -> None:
    """A transaction that somebody may be faster than between its last read and its commit."""

    def apply(self: Transaction, tx: Any) -> None:
        self._inputs = Inputs()
        honest(self, tx)

    honest = _replace(Transaction, "_apply", apply)
