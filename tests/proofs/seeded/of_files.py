"""Bugs of what is on the disk: blob files, sessions, the reserve. Private names are only in these modules."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

from agent_world_distfs.blobs import directory
from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.blobs.sessions import Sessions
from agent_world_distfs.engine.intake import Intake
from agent_world_distfs.errors import WorldError
from agent_world_distfs.flushing import flush_directory
from agent_world_distfs.lock_descriptors import LockDescriptor, open_to_lock
from agent_world_distfs.presence import Presence
from agent_world_distfs.protocols import BlobRow, CatalogWriter, StoredForm
from agent_world_distfs.recovering import finding
from seeded.patching import replace


def write_in_place() -> None:
    """A blob is written under its name, so that it is there in part meanwhile."""

    def give_name(self: DirectoryBlobs, temporary: str, content_hash: str) -> None:
        self._make_shard(content_hash[:2])
        path = self.path_of(content_hash)
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
        try:
            with open(temporary, "rb") as source:
                while part := source.read(4_096):
                    os.write(fd, part)
            os.fsync(fd)
        finally:
            os.close(fd)
        flush_directory(os.path.dirname(path))

    replace(DirectoryBlobs, "give_name", give_name)


def trust_a_file_without_a_row() -> None:
    """A file that hashes right is named, though nothing says that its own writer has flushed it."""

    def find_whole_copy(self: Intake, content_hash: str) -> int | None:
        try:
            with self._blobs.open(content_hash) as stored:
                is_whole = self.hash_bytes(stored.read(1 << 30)) == content_hash
        except FileNotFoundError:
            return None
        form = self._blobs.stat(content_hash)
        return form.identity if is_whole and form is not None else None

    def settle_copy(self: Intake, tx: CatalogWriter, content_hash: str, identity: int) -> BlobRow:
        form = self._blobs.stat(content_hash)
        if form is not None and form.identity == identity:
            added = tx.add_blob(content_hash, form.size_bytes, None)
            if added is not None:
                return added
        row: BlobRow = honest(self, tx, content_hash, identity)
        return row

    replace(Intake, "_find_whole_copy", find_whole_copy)
    honest = replace(Intake, "_settle_copy", settle_copy)


def keep_a_rotten_copy() -> None:
    """A name that is taken is left as it is: what stands there may be rotten."""

    def give_name(self: DirectoryBlobs, temporary: str, content_hash: str) -> None:
        self._make_shard(content_hash[:2])
        with contextlib.suppress(FileExistsError):
            os.link(temporary, self.path_of(content_hash))
        flush_directory(os.path.dirname(self.path_of(content_hash)))

    replace(DirectoryBlobs, "give_name", give_name)


def ignore_errors_of_a_listing() -> None:
    """A directory that cannot be listed is taken for an empty one."""

    def list_shard(self: DirectoryBlobs, shard: str) -> dict[str, StoredForm]:
        try:
            forms: dict[str, StoredForm] = honest(self, shard)
        except WorldError:
            return {}
        return forms

    honest = replace(DirectoryBlobs, "list_shard", list_shard)


def tidy_the_living() -> None:
    """Whoever opens the store removes the temporary files of everybody."""

    def tidy(self: Sessions) -> None:
        for name in self.names() - {self._name}:
            self._remove(name)

    replace(Sessions, "tidy", tidy)


def tell_life_by_age() -> None:
    """A session that has not been heard of for an hour is taken for dead."""

    def take_lock(self: Sessions, name: str) -> LockDescriptor | None:
        path = self._lock_path(name)
        with contextlib.suppress(FileNotFoundError):
            if time.time() - os.stat(path).st_mtime > 3_600:
                return open_to_lock(path, os.O_RDONLY)
        lock: LockDescriptor | None = honest(self, name)
        return lock

    honest = replace(Sessions, "_take_lock", take_lock)


def keep_nothing_back() -> None:
    """The reserve is never let go: a full disk stays full."""

    @contextlib.contextmanager
    def spare_reserve(path: str) -> Iterator[None]:
        yield

    replace(directory, "spare_reserve", spare_reserve)


def go_on_where_another_store_is() -> None:
    """Whether the store still stands at its location is not asked."""
    replace(Presence, "require", lambda self: None)


def take_any_catalog_for_ours() -> None:
    """A repair takes a stored catalog for that of the store."""
    replace(finding, "_belongs_there", lambda name, found: found.key is not None)


def read_unverified() -> None:
    """What is read is handed out whatever it hashes to."""
    from agent_world_distfs.engine import blob_reader, reading

    def verify(self: Any) -> None:
        self._is_verified = True

    replace(blob_reader.BlobReader, "_verify", verify)
    replace(reading, "require_hash", lambda expected, actual: None)
