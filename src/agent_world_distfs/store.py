"""The public API over any catalog and any blob storage. Thin: checks what it is given and delegates."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from agent_world_distfs.engine import reading
from agent_world_distfs.engine.blob_reader import BlobReader
from agent_world_distfs.engine.full_disk import removing
from agent_world_distfs.engine.intake import Intake
from agent_world_distfs.errors import InvalidInputError
from agent_world_distfs.hashing import as_bytes, check_hash, require_hash
from agent_world_distfs.operations import (
    audit,
    collect,
    files,
    listing,
    manifest,
    original,
    pull,
    tree_in,
    tree_out,
)
from agent_world_distfs.paths import check_prefix, normalize_path
from agent_world_distfs.protocols import BlobFiles, BlobRow, BlobStore, Catalog, CatalogWriter
from agent_world_distfs.records import (
    ABSENT,
    Absent,
    AdoptReport,
    BlobStat,
    CheckoutReport,
    Data,
    Expected,
    FileIndexAuditReport,
    FileIndexManifest,
    FileIndexManifestRef,
    FileMetadata,
    HashAlgorithm,
    ManifestImportReport,
    Progress,
    PruneReport,
    Readable,
    TreeImportReport,
)

T = TypeVar("T")


class CasStore:
    """Content-addressed bytes with a mutable index of paths over them.

    Safe to use from any number of threads and processes. Writes are atomic and, once they return,
    durable as far as the store's durability says. Paths are normalized (``./a//b`` is ``a/b``).

    Conditions: ``expected_content_hash`` is a content hash that the path must hold, ABSENT if there
    must be no file, or None for no condition. Mind the trap in ``meta and meta.content_hash``: it is
    None, no condition, where there was no file; write ``meta.content_hash if meta else ABSENT``.
    Conditions compare content: that it changed and changed back is not seen.

    Every method may raise StoreClosedError, ForkedStoreError, StorageError and CatalogError; those
    that write also StoreBusyError, StoreMovedError and OutcomeUnknownError.
    """

    def __init__(self, location: str, catalog: Catalog, blob_files: BlobFiles) -> None:
        self.location = location
        self._catalog = catalog
        self._files = blob_files
        self._intake = Intake(catalog, blob_files)

    @property
    def hash_algorithm(self) -> HashAlgorithm:
        """The function that names the blobs of this store."""
        return self._catalog.hash_algorithm

    # --- blobs ---------------------------------------------------------------------------------

    def hash_bytes(self, data: Data) -> str:
        """The content hash that ``data`` has in this store; nothing is stored."""
        return self._intake.hash_bytes(as_bytes(data))

    def put(self, content_hash: str, data: Data) -> None:
        """See ``BlobStore.put``."""
        data = as_bytes(data)
        require_hash(check_hash(content_hash), self._intake.hash_bytes(data))
        self._intake.store(data, _stat, content_hash)

    def put_bytes(self, data: Data) -> str:
        """See ``BlobStore.put_bytes``."""
        return self._intake.store(as_bytes(data), _stat).content_hash

    def put_stream(self, reader: Readable, *, expected_content_hash: str | None = None) -> BlobStat:
        """Store all that ``reader`` gives, in bounded memory. The reader is not closed.

        Raises:
            BlobHashMismatchError: it is not what was expected; nothing is stored.
        """
        if expected_content_hash is not None:
            check_hash(expected_content_hash)
        return self._intake.store_stream(reader, _stat, expected_content_hash)

    def get(self, content_hash: str) -> bytes:
        """See ``BlobStore.get``.

        Raises:
            BlobMissingError: a path or pin names the blob, and its bytes are gone.
        """
        return reading.read_hash(self._catalog, self._files, check_hash(content_hash))

    def get_verified(self, content_hash: str) -> bytes:
        """The same as ``get``: both verify."""
        return self.get(content_hash)

    def has(self, content_hash: str) -> bool:
        """See ``BlobStore.has``."""
        return reading.is_stored(self._catalog, self._files, check_hash(content_hash))

    def open_blob(self, content_hash: str) -> BlobReader:
        """The blob as a seekable stream. Read to its end it is verified before its last bytes come out."""
        return reading.open_hash(self._catalog, self._files, check_hash(content_hash))

    # --- files: writing ------------------------------------------------------------------------

    def write_file(self, path: str, data: Data) -> FileMetadata:
        """See ``FileStore.write_file``. Writing what is there already counts as a write."""
        return self.write_file_if_match(path, None, data)

    def write_file_if_match(self, path: str, expected_content_hash: Expected, data: Data) -> FileMetadata:
        """Make ``path`` hold ``data`` if it holds what is expected; check and change are one step.

        Raises:
            FileConflictError: it holds something else; nothing is changed.
        """
        path, expected = normalize_path(path), _check_expected(expected_content_hash)
        return self._intake.store(as_bytes(data), _name(path, expected))

    def write_file_stream(
        self, path: str, reader: Readable, *, expected_content_hash: Expected = None
    ) -> FileMetadata:
        """The same for all that ``reader`` gives, in bounded memory. The reader is not closed."""
        path, expected = normalize_path(path), _check_expected(expected_content_hash)
        return self._intake.store_stream(reader, _name(path, expected))

    def link_file(
        self, path: str, content_hash: str, *, expected_content_hash: Expected = None
    ) -> FileMetadata:
        """Make ``path`` name a stored blob.

        Raises:
            BlobNotFoundError: it is not stored.
            FileConflictError: the path holds something else than expected.
        """
        path, expected = normalize_path(path), _check_expected(expected_content_hash)
        check_hash(content_hash)
        return self._catalog.write(lambda tx: files.link_path(tx, self._files, path, content_hash, expected))

    def copy_file(self, source: str, target: str, *, expected_content_hash: Expected = None) -> FileMetadata:
        """Make ``target`` hold what ``source`` holds; no bytes are copied. The condition is on ``target``.

        Raises:
            PathNotFoundError: there is no ``source``.
            BlobMissingError: its bytes are gone.
            FileConflictError: ``target`` holds something else than expected.
        """
        source, target = normalize_path(source), normalize_path(target)
        expected = _check_expected(expected_content_hash)
        return self._catalog.write(lambda tx: files.copy_path(tx, self._files, source, target, expected))

    def rename_file(
        self, source: str, target: str, *, expected_content_hash: Expected = None
    ) -> FileMetadata:
        """The same, and in the same step ``source`` is gone."""
        source, target = normalize_path(source), normalize_path(target)
        expected = _check_expected(expected_content_hash)
        return self._catalog.write(lambda tx: files.move_path(tx, self._files, source, target, expected))

    def delete_file(self, path: str) -> bool:
        """See ``FileStore.delete_file``."""
        return self.delete_file_if_match(path, None)

    def delete_file_if_match(self, path: str, expected_content_hash: Expected) -> bool:
        """Remove ``path`` if it holds what is expected; False if it was expected absent, and is.

        Raises:
            FileConflictError: it holds something else, or a hash was expected and there is no file.
        """
        path, expected = normalize_path(path), _check_expected(expected_content_hash)
        return self._remove(lambda tx: files.remove_path(tx, path, expected))

    def delete_files(self, paths: Iterable[str]) -> int:
        """Remove paths in one commit; returns how many were there."""
        if isinstance(paths, str):
            raise TypeError("paths is an iterable of paths, not one path")
        normal = [normalize_path(path) for path in paths]
        return self._remove(lambda tx: files.remove_paths(tx, normal))

    def _remove(self, change: Callable[[CatalogWriter], T]) -> T:
        return removing(self._catalog, self._files, lambda: self._catalog.write(change))

    # --- files: reading ------------------------------------------------------------------------

    def read_file(self, path: str) -> bytes:
        """See ``FileStore.read_file``."""
        return self.read_file_with_metadata(path)[1]

    def read_file_with_metadata(self, path: str) -> tuple[FileMetadata, bytes]:
        """Metadata and content of one snapshot: what to edit, and what to expect when writing it back.

        Raises:
            PathNotFoundError: no file there.
            BlobMissingError: its bytes are gone.
            BlobHashMismatchError: its bytes are rotten.
        """
        return reading.read_path(self._catalog, self._files, normalize_path(path))

    def open_file(self, path: str) -> BlobReader:
        """The content as a stream like ``open_blob``'s, with ``.metadata`` of the same snapshot."""
        return reading.open_path(self._catalog, self._files, normalize_path(path))

    def stat_file(self, path: str) -> FileMetadata | None:
        """See ``FileStore.stat_file``."""
        path = normalize_path(path)
        return self._catalog.read(lambda tx: tx.stat_file(path))

    def list_files(
        self, *, prefix: str = "", start_after: str = "", limit: int | None = None
    ) -> list[FileMetadata]:
        """Entries ascending by the UTF-8 bytes of the path, of one snapshot.

        ``prefix`` is a plain string prefix; ``start_after`` continues behind a path, there or not;
        ``limit`` is the most to return.
        """
        check_prefix(prefix)
        check_prefix(start_after)
        most = -1 if limit is None else _check_limit(limit)
        return self._catalog.read(lambda tx: list(tx.iter_files(prefix, start_after, most)))

    def iter_files(self, *, prefix: str = "") -> Iterator[FileMetadata]:
        """The same for many: one snapshot, taken at the first step, in bounded memory."""
        return listing.iter_index(self._catalog, check_prefix(prefix))

    # --- pins ----------------------------------------------------------------------------------

    def pin(self, content_hash: str) -> None:
        """Keep a blob from collection until it is unpinned; pins are a set, not counted.

        Raises:
            BlobNotFoundError: it is not stored.
        """
        check_hash(content_hash)
        self._catalog.write(lambda tx: files.pin_blob(tx, self._files, content_hash))

    def unpin(self, content_hash: str) -> bool:
        """Remove a pin; False if there was none."""
        check_hash(content_hash)
        return self._remove(lambda tx: tx.remove_pin(content_hash))

    def list_pins(self) -> list[str]:
        """The pinned hashes, ascending."""
        return [blob.content_hash for blob in self._catalog.read(lambda tx: tx.list_pins())]

    def is_pinned(self, content_hash: str) -> bool:
        """Whether a blob is pinned."""
        check_hash(content_hash)
        return self._catalog.read(lambda tx: tx.is_pinned(content_hash))

    # --- upkeep --------------------------------------------------------------------------------

    def audit_file_index(
        self, *, verify: bool = False, progress: Progress | None = None
    ) -> FileIndexAuditReport:
        """Compare index and bytes while others go on; with ``verify`` hash every byte (progress in bytes)."""
        return audit.audit(self._catalog, self._files, verify=verify, progress=progress)

    def prune_orphan_blobs(self, *, dry_run: bool = False, progress: Progress | None = None) -> PruneReport:
        """Take away the blobs that nothing names (progress in blobs); ``dry_run`` only says which."""
        if dry_run:
            return collect.plan_collection(self._catalog, self._files)
        return collect.collect(self._catalog, self._files, progress)

    # --- manifests -----------------------------------------------------------------------------

    def export_file_index_manifest(self, *, pin: bool = False) -> FileIndexManifestRef:
        """Store the index, as it is now, as a manifest: a blob that a prune takes unless it is pinned."""
        return manifest.export_manifest(self._catalog, self._files, pin=pin)

    def read_file_index_manifest(self, ref: FileIndexManifestRef) -> FileIndexManifest:
        """Check and decode a manifest; nothing is imported.

        Raises:
            BlobNotFoundError, BlobHashMismatchError: it is not stored, or rotten.
            ManifestError: it is not in the one canonical form.
        """
        return manifest.read_manifest(self._catalog, self._files, ref)

    def import_file_index_manifest(
        self,
        ref: FileIndexManifestRef,
        *,
        dry_run: bool = False,
        expected_current: FileIndexManifestRef | None = None,
    ) -> ManifestImportReport:
        """Replace the whole index by a manifest's, at once, with the times that it says.

        Everything is checked first: the manifest's form, and that each blob is stored, of the stated
        size and verified. ``dry_run`` checks the same and says what would change.

        Raises:
            IndexConflictError: the index is not the one of ``expected_current``.
            ManifestError: the manifest is not in the one canonical form, or lies.
            BlobNotFoundError, BlobHashMismatchError: the manifest or a blob of it is not stored, or rotten.
        """
        if dry_run:
            return manifest.try_manifest(self._catalog, self._files, ref, expected_current)
        return manifest.import_manifest(self._catalog, self._files, ref, expected_current)

    def pull_manifest(
        self, source: BlobStore, ref: FileIndexManifestRef, *, progress: Progress | None = None
    ) -> ManifestImportReport:
        """Bring a manifest and every blob of it that is missing here from another store; then import it.

        Progress in files. Interrupted, it goes on where it stopped when called again.

        Raises:
            InvalidInputError: the source names its blobs by another algorithm.
            BlobNotFoundError: the source does not have a blob.
            BlobHashMismatchError: what the source gives is something else.
        """
        self._check_algorithm(source)
        importing = partial(self.import_file_index_manifest, ref)
        return pull.pull(self._catalog, self._files, source, manifest.check_ref(ref), progress, importing)

    def pull_index(self, source: CasStore, *, progress: Progress | None = None) -> ManifestImportReport:
        """The same for one snapshot of the source's current index, leased there; nothing is left there."""
        self._check_algorithm(source)
        with pull.kept_index(source._catalog, source._files) as index:
            return pull.pull_entries(self._catalog, self._files, source, index, progress)

    def _check_algorithm(self, source: BlobStore) -> None:
        theirs = getattr(source, "hash_algorithm", self.hash_algorithm)
        if theirs is not self.hash_algorithm:
            raise InvalidInputError(
                f"the source names blobs by {theirs.value}, this store by {self.hash_algorithm.value}"
            )

    # --- real directories ----------------------------------------------------------------------

    def import_tree(
        self,
        directory: str | os.PathLike[str],
        prefix: str = "",
        *,
        mirror: bool = False,
        progress: Progress | None = None,
    ) -> TreeImportReport:
        """Lay the regular files below a real directory over the index below ``prefix``, in one commit.

        ``prefix`` is a directory of the index, by default its top. What holds the same content already
        keeps its time. With ``mirror`` paths below ``prefix`` that the directory does not have are
        removed in the same commit. Progress in files.

        Raises:
            NotFoundError: there is no such directory.
            InvalidInputError: it is no directory; or it is a store, holds this store or lies in it.
            UnavailableError: a file did not hold still while it was read.
            StorageError: something in it cannot be read. Whichever it is, nothing is named.
        """
        tree = tree_in.scan_tree(directory, prefix, self.location)
        return tree_in.import_tree(self._catalog, self._files, tree, mirror=mirror, progress=progress)

    def checkout(
        self,
        target: str | os.PathLike[str],
        prefix: str = "",
        *,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> CheckoutReport:
        """Write the files below ``prefix`` out as the directory ``target``: verified, durable, at once.

        ``prefix`` is a directory of the index, by default its top. One snapshot; what is written or
        collected meanwhile does not show. Modification times are those of the index. ``target`` must
        be missing or an empty directory; with ``replace`` it may be any, and the old one is kept
        beside it as ``TARGET.before-<id>``. Progress in files.

        Raises:
            PathNotFoundError: there is nothing below ``prefix``.
            NotFoundError: ``target`` is to be in a directory that does not exist.
            InvalidInputError: ``target`` is not empty, a file, a symlink, or holds this store or lies in
                it; or paths cannot stand in one directory (``a`` beside ``a/b``); they are listed.
            BlobMissingError, BlobHashMismatchError: the bytes of a file are gone or rotten.
            UnavailableError: a read-only store, and a file was overwritten and collected meanwhile.
            StorageError: the target's disk failed. Whichever it is, the target is as it was.
        """
        with tree_out.open_place(target, self.location, replace=replace) as place:
            return tree_out.checkout(self._catalog, self._files, place, prefix, progress)

    def adopt_original(
        self, directory: str | os.PathLike[str], *, progress: Progress | None = None
    ) -> AdoptReport:
        """Take over a store of the original: files with their times, pins, and every blob, verified.

        The index here must be empty. What is damaged there is left out and reported; blobs that
        nothing names there come as orphans. The original is never changed. Progress in blobs.

        Raises:
            InvalidInputError: the index here is not empty.
            IncompatibleStoreError: no store of the original, or its blobs are named by another algorithm.
            CatalogError: its index or pins cannot be read.
            UnavailableError: it changed meanwhile, or unpacking wants the extra ``adopt``.
        """
        snapshot = original.read_snapshot(directory)
        return original.adopt(self._catalog, self._files, directory, snapshot, progress)

    # --- the life of the object ----------------------------------------------------------------

    def close(self) -> None:
        """Give everything back; closed already is fine. Open readers stay readable."""
        self._catalog.close()
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.location!r})"


def _name(path: str, expected: Expected) -> Callable[[CatalogWriter, BlobRow], FileMetadata]:
    return lambda tx, row: files.name_blob(tx, path, expected, row)


def _stat(_: CatalogWriter, row: BlobRow) -> BlobStat:
    return BlobStat(row.content_hash, row.size_bytes)


def _check_expected(expected: Expected) -> Expected:
    if expected is None or expected is ABSENT:
        return expected
    if isinstance(expected, Absent | str):
        return check_hash(expected)
    raise TypeError(f"expected_content_hash is a hash, ABSENT or None, not {type(expected).__name__}")


def _check_limit(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit is a number or None, not {type(limit).__name__}")
    if limit < 0:
        raise InvalidInputError(f"limit is negative: {limit}")
    return min(limit, (1 << 63) - 1)  # of 64 bits are the catalog's numbers
