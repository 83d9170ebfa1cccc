"""A second store that begins as a snapshot of the first, and shares the bytes of large blobs with it.

The new store is made in a staging directory beside the target, all of it flushed, and then renamed: the
target is missing or a whole store. A crash before that leaves the staging directory, which is harmless.

Large blobs are clones of the first store's files where the file system supports that, else further hard links
to them, else copies. A store never writes to a blob's file, it only replaces and removes names: so neither
store can affect the other through a shared file. Each is verified after it was shared; a corrupt one stops
the fork.

The snapshot keeps what is being shared. If something is gone, the snapshot was dropped meanwhile, or the
bytes are lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.schema import create_catalog
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.engine.cloning import is_cloned
from agent_world_distfs.engine.directories import flush_tree, mode_like, opened_below
from agent_world_distfs.engine.reading import open_hash
from agent_world_distfs.engine.replacing import chunks
from agent_world_distfs.engine.snapshots import OpenSnapshot, opened_snapshot, reading
from agent_world_distfs.engine.staging import TREE, Place, staged, swap_in
from agent_world_distfs.errors import BlobNotFoundError, CatalogError, StorageIOError
from agent_world_distfs.filesystem_kind import is_flushed_as_one, require_lockable
from agent_world_distfs.flushing import flush_file_system
from agent_world_distfs.hashing import CHUNK_BYTES, hash_function, hash_stream, require_hash
from agent_world_distfs.os_failures import translated
from agent_world_distfs.protocols import BlobBrief, BlobRow, CatalogWriter
from agent_world_distfs.records import FileMetadata, ForkReport, Progress

_CANNOT_LINK = {
    errno.EXDEV,
    errno.EPERM,
    errno.EACCES,
    errno.EMLINK,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EROFS,
}
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LEASE = "fork.0"


def fork_store(
    catalog: SqliteCatalog, blobs: DirectoryBlobs, name: str, place: Place, progress: Progress | None
) -> ForkReport:
    """Make the store at ``place``; progress in files."""
    with opened_snapshot(catalog, blobs, name) as snapshot, translated(place.path):
        require_lockable(os.path.dirname(place.path))
        with staged(place) as (staging, directory), opened_below(directory, (TREE,)) as root:
            location = os.path.join(os.path.dirname(place.path), os.fsdecode(staging), os.fsdecode(TREE))
            os.fchmod(root, os.fstat(root).st_mode & mode_like(blobs.root))
            with reading(catalog, snapshot.snapshot):
                fork = _Fork(catalog, blobs, location)
                fork.fill(snapshot, progress)
            _flush(root, place)
            swap_in(place, staging)
    return ForkReport(snapshot.snapshot.total_files, fork.total_blobs, fork.shared_blobs, fork.copied_bytes)


def _flush(root: int, place: Place) -> None:
    if is_flushed_as_one(os.path.dirname(place.path)):
        flush_file_system(root)
    else:
        flush_tree(root)


class _Fork:
    """The new store while it is made; nobody else knows it."""

    def __init__(self, catalog: SqliteCatalog, blobs: DirectoryBlobs, location: str) -> None:
        self._from, self._source = catalog, blobs
        self._algorithm = catalog.hash_algorithm
        self._hash_bytes = hash_function(self._algorithm)
        self._location = location
        self._target = DirectoryBlobs(location, read_only=True)  # its names; nobody else writes there
        self._can_clone = self._can_link = True
        self.total_blobs = self.shared_blobs = self.copied_bytes = 0

    def fill(self, snapshot: OpenSnapshot, progress: Progress | None) -> None:
        """Make it, with the snapshot as its index."""
        with self._new_catalog() as new:
            generation = new.write_lazily(lambda tx: tx.stage_generation(_LEASE))
            done, total = 0, snapshot.snapshot.total_files
            for chunk in chunks(snapshot.entries()):
                self._bring(new, generation, chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
            state = new.digest_of(snapshot.entries())
            manifest = self._bring_missing(new, {snapshot.snapshot.manifest.content_hash})

            def finish(tx: CatalogWriter) -> None:
                (row,) = manifest(tx).values()
                tx.note_import(row)
                tx.switch_generation(generation, state)
                tx.add_snapshot(snapshot.snapshot, [row])
                tx.end_lease(_LEASE, 1)

            new.write(finish)
            new.truncate_wal()  # closing flushes it, too, but only notes it if that fails
        if self._is_in_doubt():
            raise StorageIOError(self._location, "the WAL of the new store could not be flushed")

    def _is_in_doubt(self) -> bool:
        """Whether an error was noted: the flush of the tree, by other descriptors, may not be told of it."""
        with open(os.path.join(self._location, "locks", "gate"), "rb") as gate:
            return gate.read(1) != b"\0"

    @contextlib.contextmanager
    def _new_catalog(self) -> Iterator[SqliteCatalog]:
        locks, path = (os.path.join(self._location, name) for name in ("locks", "catalog.db"))
        DirectoryBlobs.create(self._location)
        os.makedirs(locks)
        Gate.create(locks)
        create_catalog(path, self._algorithm)
        new = SqliteCatalog(path, locks, is_flushed=False, timeout_s=60)
        with contextlib.closing(new):
            yield new

    # --- blobs ---------------------------------------------------------------------------------

    def _bring(self, new: SqliteCatalog, generation: int, chunk: list[FileMetadata]) -> None:
        add = self._bring_missing(new, {file.content_hash for file in chunk})

        def stage(tx: CatalogWriter) -> None:
            rows = add(tx)
            tx.stage_files(generation, [(file, rows[file.content_hash].blob_id) for file in chunk])

        new.write_lazily(stage)

    def _bring_missing(
        self, new: SqliteCatalog, names: set[str]
    ) -> Callable[[CatalogWriter], dict[str, BlobBrief]]:
        """Bring the bytes of those that the new store does not have; what adds their rows and gives all."""
        missing = new.read(lambda tx: [name for name in names if tx.find_brief(name) is None])
        brought = [self._fetch(name) for name in missing]

        def add(tx: CatalogWriter) -> dict[str, BlobBrief]:
            for blob in brought:
                tx.add_blob(blob.content_hash, blob.size_bytes, blob.payload)
            return {name: row for name in names if (row := tx.find_brief(name)) is not None}

        return add

    def _fetch(self, content_hash: str) -> BlobRow:
        """The row of a blob whose bytes, if they are a file, are there now."""
        row = self._from.read(lambda tx: tx.find_blob(content_hash))
        if row is None:
            raise BlobNotFoundError(content_hash)
        if row.payload is not None:
            require_hash(content_hash, self._hash_bytes(row.payload))
            return row
        target = self._target.path_of(content_hash)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        self.total_blobs += 1
        if self._clone(content_hash, target) or self._link(content_hash, target):
            self._verify(content_hash, target)
            self.shared_blobs += 1
        else:
            self._copy(content_hash, target)
        return row

    def _clone(self, content_hash: str, target: str) -> bool:
        if not self._can_clone:
            return False
        try:
            source = self._source.open(content_hash)
        except (FileNotFoundError, CatalogError):
            return False  # copying will tell
        with source, open(os.open(target, _NEW_FILE, 0o666), "rb") as clone:
            self._can_clone = is_cloned(source, clone.fileno())
        if not self._can_clone:
            os.unlink(target)  # nor will the next be
        return self._can_clone

    def _link(self, content_hash: str, target: str) -> bool:
        form = self._source.stat(content_hash)
        if not self._can_link or form is None or not form.is_regular:
            return False
        try:
            os.link(self._source.path_of(content_hash), target, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            self._can_link = error.errno == errno.EMLINK  # that of one file
            return False
        return True

    def _verify(self, content_hash: str, target: str) -> None:
        with open(os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as shared:
            require_hash(content_hash, hash_stream(shared, self._algorithm))

    def _copy(self, content_hash: str, target: str) -> None:
        with (
            open_hash(self._from, self._source, content_hash) as source,
            open(os.open(target, _NEW_FILE, 0o666), "wb") as copy,
        ):
            while chunk := source.read(CHUNK_BYTES):
                copy.write(chunk)
                self.copied_bytes += len(chunk)
