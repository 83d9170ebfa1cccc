"""Manifests: the whole index as one canonical blob, out and strictly back in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agent_world_distfs.engine.blob_reader import BlobReader
from agent_world_distfs.engine.intake import Intake
from agent_world_distfs.engine.manifest_spool import spool_manifest
from agent_world_distfs.engine.reading import open_hash
from agent_world_distfs.engine.replacing import blob_of, chunks, compare, replace_index, verify_blobs
from agent_world_distfs.errors import IndexConflictError, InvalidInputError, ManifestError
from agent_world_distfs.hashing import CHUNK_BYTES, check_hash, new_hasher
from agent_world_distfs.manifest_format import MANIFEST_VERSION, decode_manifest
from agent_world_distfs.protocols import (
    BlobFiles,
    BlobRow,
    Catalog,
    CatalogReader,
    CatalogWriter,
)
from agent_world_distfs.records import (
    FileIndexManifest,
    FileIndexManifestRef,
    FileMetadata,
    ManifestImportReport,
)


def export_manifest(catalog: Catalog, files: BlobFiles, *, pin: bool) -> FileIndexManifestRef:
    """Store the manifest of one snapshot of the index; with ``pin`` also pin it, in the same transaction."""

    def change(tx: CatalogWriter, row: BlobRow) -> FileIndexManifestRef:
        if pin:
            tx.add_pin(row)
        return FileIndexManifestRef(row.content_hash, row.size_bytes)

    with spool_manifest(catalog) as spool:
        return Intake(catalog, files).store_stream(spool, change)


def read_manifest(catalog: Catalog, files: BlobFiles, ref: FileIndexManifestRef) -> FileIndexManifest:
    """Decode and check a manifest; nothing is imported."""
    with _open_manifest(catalog, files, ref) as reader:
        return FileIndexManifest(MANIFEST_VERSION, tuple(_entries(reader)))


def import_manifest(
    catalog: Catalog,
    files: BlobFiles,
    ref: FileIndexManifestRef,
    expected_current: FileIndexManifestRef | None,
) -> ManifestImportReport:
    """Replace the index by what a manifest says, after everything in it was checked."""
    with _open_manifest(catalog, files, ref) as reader:
        state = catalog.digest_of(_entries(reader))
        demand = _demand(catalog, files, expected_current)
        try:
            return replace_index(catalog, files, lambda: _entries(reader), state, demand, ref.content_hash)
        except _OtherIndexError:
            raise _conflict(catalog, expected_current) from None


def try_manifest(
    catalog: Catalog,
    files: BlobFiles,
    ref: FileIndexManifestRef,
    expected_current: FileIndexManifestRef | None,
) -> ManifestImportReport:
    """What ``import_manifest`` would do, after the same checks."""
    with _open_manifest(catalog, files, ref) as reader:
        catalog.digest_of(_entries(reader))
        try:
            catalog.read(_demand(catalog, files, expected_current))
        except _OtherIndexError:
            raise _conflict(catalog, expected_current) from None
        for chunk in chunks(_entries(reader)):
            _check_blobs(catalog, files, chunk)
        with spool_manifest(catalog) as current:
            return compare(decode_manifest(current), _entries(reader))


def _check_blobs(catalog: Catalog, files: BlobFiles, chunk: list[FileMetadata]) -> None:
    def check(tx: CatalogReader) -> None:
        for file in chunk:
            blob_of(tx, files, file)

    catalog.read(check)
    verify_blobs(catalog, files, chunk)


class _OtherIndexError(Exception):
    """The index is not the expected one. What it is, is found out after the lock is let go."""


def _demand(
    catalog: Catalog, files: BlobFiles, expected: FileIndexManifestRef | None
) -> Callable[[CatalogReader], None]:
    """A check that the index is the one of manifest ``expected``: by digest, in no time."""
    if expected is None:
        return lambda _: None
    with _open_manifest(catalog, files, expected) as reader:
        state = catalog.digest_of(_entries(reader))

    def check(tx: CatalogReader) -> None:
        if tx.index_state() != state:
            raise _OtherIndexError

    return check


def _conflict(catalog: Catalog, expected: FileIndexManifestRef | None) -> IndexConflictError:
    assert expected is not None  # nothing else is demanded
    hasher, size_bytes = new_hasher(catalog.hash_algorithm), 0
    with spool_manifest(catalog) as current:
        while chunk := current.read(CHUNK_BYTES):
            hasher.update(chunk)
            size_bytes += len(chunk)
    return IndexConflictError(expected, FileIndexManifestRef(hasher.hexdigest(), size_bytes))


def check_ref(ref: FileIndexManifestRef) -> FileIndexManifestRef:
    """Return ``ref`` if it is well-formed.

    Raises:
        TypeError: not a reference.
        BlobHashInvalidError, InvalidInputError: its hash or its size cannot be one.
    """
    if not isinstance(ref, FileIndexManifestRef):
        raise TypeError(f"a manifest is named by a FileIndexManifestRef, not {type(ref).__name__}")
    check_hash(ref.content_hash)
    if type(ref.size_bytes) is not int or ref.size_bytes < 0:
        raise InvalidInputError("the size of a manifest is a number of bytes")
    return ref


def _open_manifest(catalog: Catalog, files: BlobFiles, ref: FileIndexManifestRef) -> BlobReader:
    """The bytes of a manifest, verified as a whole, to be read as often as needed."""
    reader = open_hash(catalog, files, check_ref(ref).content_hash)
    try:
        _verify_manifest(reader, ref)
    except BaseException:
        reader.close()
        raise
    return reader


def _verify_manifest(reader: BlobReader, ref: FileIndexManifestRef) -> None:
    if reader.size_bytes != ref.size_bytes:
        raise ManifestError(f"it has {reader.size_bytes} bytes, the reference says {ref.size_bytes}")
    while reader.read(CHUNK_BYTES):
        pass


def _entries(reader: BlobReader) -> Iterator[FileMetadata]:
    reader.seek(0)
    return decode_manifest(reader)
