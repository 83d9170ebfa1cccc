"""A stored manifest, checked before it is used; and the index that one demands to be the current one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent_world_distfs.engine.blob_reader import BlobReader
from agent_world_distfs.engine.manifest_spool import spool_manifest
from agent_world_distfs.engine.reading import open_hash
from agent_world_distfs.errors import IndexConflictError, InvalidInputError
from agent_world_distfs.hashing import CHUNK_BYTES, check_hash, new_hasher
from agent_world_distfs.manifest_format import decode_manifest
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogReader, IndexState
from agent_world_distfs.records import FileIndexManifestRef, FileMetadata


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


def open_manifest(catalog: Catalog, blobs: BlobFiles, ref: FileIndexManifestRef) -> BlobReader:
    """The bytes of a manifest, verified as a whole, to be read as often as needed.

    Raises:
        InvalidInputError: the reference is wrong: the blob is whole, and has another size.
    """
    reader = open_hash(catalog, blobs, check_ref(ref).content_hash)
    try:
        _verify(reader, ref)
    except BaseException:
        reader.close()
        raise
    return reader


def _verify(reader: BlobReader, ref: FileIndexManifestRef) -> None:
    while reader.read(CHUNK_BYTES):
        pass
    if reader.size_bytes != ref.size_bytes:  # and the bytes are what their name says
        has = f"the blob {ref.content_hash} has {reader.size_bytes} bytes, not {ref.size_bytes}"
        raise InvalidInputError(f"{has}: take the reference as it was printed")


def entries_of(reader: BlobReader) -> Iterator[FileMetadata]:
    """The entries of a manifest, from the first."""
    reader.seek(0)
    return decode_manifest(reader)


class _OtherIndexError(Exception):
    """The index is not the expected one. What it is gets determined after the lock is released."""


class Expectation:
    """That the index is the one of a manifest, or nothing."""

    def __init__(self, catalog: Catalog, blobs: BlobFiles, expected: FileIndexManifestRef | None) -> None:
        self._catalog = catalog
        self._expected = expected
        self._state: IndexState | None = None
        if expected is not None:
            with open_manifest(catalog, blobs, expected) as reader:
                self._state = catalog.digest_of(entries_of(reader))

    def require(self, tx: CatalogReader) -> None:
        """Verify it: by digest, at once. To be called while ``told``."""
        if self._state is not None and tx.index_state() != self._state:
            raise _OtherIndexError

    @contextmanager
    def told(self) -> Iterator[None]:
        """While it is required.

        Raises:
            IndexConflictError: the index is another.
        """
        try:
            yield
        except _OtherIndexError:
            assert self._expected is not None
            raise IndexConflictError(self._expected, self._current()) from None

    def _current(self) -> FileIndexManifestRef:
        hasher, size_bytes = new_hasher(self._catalog.hash_algorithm), 0
        with spool_manifest(self._catalog) as current:
            while chunk := current.read(CHUNK_BYTES):
                hasher.update(chunk)
                size_bytes += len(chunk)
        return FileIndexManifestRef(hasher.hexdigest(), size_bytes)
