"""Bytes out, beside collections that remove what nothing names.

A read looks the name up in one snapshot and then opens the bytes; in between a collection may have removed
them, because the path was overwritten meanwhile. So a read whose bytes are gone looks again. The bytes are
lost only if the name still stands for the same blob *row*: ids are never reused, so the row was there all the
time, and nothing may remove the bytes of a named row.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

from agent_world_distfs.engine.blob_reader import BlobReader
from agent_world_distfs.errors import (
    BlobHashMismatchError,
    BlobMissingError,
    BlobNotFoundError,
    PathNotFoundError,
    WorldError,
)
from agent_world_distfs.hashing import hash_function, require_hash
from agent_world_distfs.os_failures import reading_blob
from agent_world_distfs.protocols import BlobBrief, BlobFiles, BlobRow, Catalog, CatalogReader
from agent_world_distfs.records import FileMetadata

Find = Callable[[str], tuple[FileMetadata, BlobRow] | None]
"""Looks a path up, each time in a new snapshot."""


def open_path(catalog: Catalog, blobs: BlobFiles, path: str) -> BlobReader:
    """The content of ``path`` as a stream, with the metadata of the same snapshot."""
    return _open_found(catalog, blobs, path, catalog.find_file)


def _open_found(catalog: Catalog, blobs: BlobFiles, path: str, find: Find) -> BlobReader:
    lost: BlobRow | None = None
    while True:
        found = find(path)
        if found is None:
            raise PathNotFoundError(path)
        metadata, row = found
        source = _open_row(blobs, row)
        if source is not None:
            return _reader(catalog, source, row, metadata)
        if lost is not None and lost.blob_id == row.blob_id:
            raise BlobMissingError(row.content_hash, path)
        lost = row


def open_hash(catalog: Catalog, blobs: BlobFiles, content_hash: str) -> BlobReader:
    """The blob as a stream."""
    lost: BlobRow | None = None
    while True:
        row = catalog.read(lambda tx: tx.find_blob(content_hash))
        if row is None:
            raise BlobNotFoundError(content_hash)
        source = _open_row(blobs, row)
        if source is not None:
            return _reader(catalog, source, row, None)
        if lost is not None and lost.blob_id == row.blob_id:
            raise _loss(catalog, row)
        lost = row


def _loss(catalog: Catalog, row: BlobRow) -> WorldError:
    paths, is_pinned = catalog.read(
        lambda tx: (tx.paths_naming({row.blob_id}), tx.is_pinned(row.content_hash))
    )
    if paths or is_pinned:
        return BlobMissingError(row.content_hash, paths.get(row.blob_id))
    return BlobNotFoundError(row.content_hash)


def _open_row(blobs: BlobFiles, row: BlobRow) -> BinaryIO | None:
    if row.payload is not None:
        return io.BytesIO(row.payload)
    try:
        return blobs.open(row.content_hash)
    except FileNotFoundError:
        return None


def _reader(catalog: Catalog, source: BinaryIO, row: BlobRow, metadata: FileMetadata | None) -> BlobReader:
    return BlobReader(source, row.content_hash, row.size_bytes, catalog.hash_algorithm, metadata)


def read_path(catalog: Catalog, blobs: BlobFiles, path: str) -> tuple[FileMetadata, bytes]:
    """The content of ``path``, verified, with the metadata of the same snapshot."""
    return read_found(catalog, blobs, path, catalog.find_file)


def read_found(catalog: Catalog, blobs: BlobFiles, path: str, find: Find) -> tuple[FileMetadata, bytes]:
    """The same where ``find`` looks ``path`` up, in as many snapshots as that takes."""
    found = find(path)
    if found is None:
        raise PathNotFoundError(path)
    metadata, row = found
    if row.payload is not None:
        try:
            require_hash(row.content_hash, hash_function(catalog.hash_algorithm)(row.payload))
        except BlobHashMismatchError as error:
            error.path = path
            raise
        return metadata, row.payload
    with _open_found(catalog, blobs, path, find) as reader:
        assert reader.metadata is not None  # opened by path
        return reader.metadata, reader.read()


def read_hash(catalog: Catalog, blobs: BlobFiles, content_hash: str) -> bytes:
    """The blob, verified."""
    with open_hash(catalog, blobs, content_hash) as reader:
        return reader.read()


def verify_hash(catalog: Catalog, blobs: BlobFiles, content_hash: str) -> None:
    """Read the whole blob, in bounded memory, to see whether it still is what was stored.

    Raises:
        BlobHashMismatchError: it is not.
        BlobNotFoundError, BlobMissingError: it is not there.
    """
    with open_hash(catalog, blobs, content_hash) as reader:
        while reader.read1():
            pass


def is_corrupt(catalog: Catalog, blobs: BlobFiles, content_hash: str) -> bool:
    """Whether the blob's bytes, all of which are read, are others than were stored, or cannot be read.

    Raises:
        BlobNotFoundError, BlobMissingError: it is not there.
    """
    try:
        with reading_blob(content_hash), open_hash(catalog, blobs, content_hash) as reader:
            while reader.read1():
                pass
    except BlobHashMismatchError:
        return True
    return False


def is_stored(catalog: Catalog, blobs: BlobFiles, content_hash: str) -> bool:
    """Whether the blob has a row and its bytes are there; they are not read."""
    return catalog.read(lambda tx: find_stored(tx, blobs, content_hash)) is not None


def find_stored(tx: CatalogReader, blobs: BlobFiles, content_hash: str) -> BlobBrief | None:
    """The blob's row if its bytes are there, too; under the write lock they stay until the row is named."""
    row = tx.find_brief(content_hash)
    return row if row is not None and _has_bytes(blobs, row) else None


def _has_bytes(blobs: BlobFiles, row: BlobBrief) -> bool:
    if row.is_inline:
        return True
    form = blobs.stat(row.content_hash)
    return form is not None and form.is_regular and form.size_bytes == row.size_bytes
