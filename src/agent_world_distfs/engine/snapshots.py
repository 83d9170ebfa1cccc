"""States of the index kept by name: finding one, reading it, and adding one whose blobs are held.

Beside a drop: an open manifest stays readable, but the blobs that it names may be collected. A reader that
finds one gone checks whether the snapshot still exists: if so, the blob is lost; otherwise the snapshot was
dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent_world_distfs.engine.blob_reader import BlobReader
from agent_world_distfs.engine.manifests import entries_of, open_manifest
from agent_world_distfs.errors import (
    BlobMissingError,
    BlobNotFoundError,
    SnapshotExistsError,
    SnapshotNotFoundError,
)
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogReader
from agent_world_distfs.records import FileMetadata, Snapshot


def find_snapshot(catalog: Catalog, name: str) -> Snapshot:
    """The snapshot of a name.

    Raises:
        SnapshotNotFoundError: there is none.
    """
    found = catalog.read(lambda tx: tx.find_snapshot(name))
    if found is None:
        raise SnapshotNotFoundError(name)
    return found


def require_free(tx: CatalogReader, name: str) -> None:
    """Raise SnapshotExistsError if there is a snapshot of this name."""
    held = tx.find_snapshot(name)
    if held is not None:
        raise SnapshotExistsError(name, held)


@contextmanager
def reading(catalog: Catalog, snapshot: Snapshot) -> Iterator[None]:
    """While blobs of a snapshot are read.

    Raises:
        BlobMissingError: what was not found is lost.
        SnapshotNotFoundError: the snapshot was dropped meanwhile.
    """
    try:
        yield
    except BlobNotFoundError as error:
        if catalog.read(lambda tx: tx.find_snapshot(snapshot.name)) != snapshot:
            raise SnapshotNotFoundError(snapshot.name) from error
        raise BlobMissingError(error.content_hash, None) from error


class OpenSnapshot:
    """A snapshot whose manifest was verified; its entries can be gone through again and again."""

    def __init__(self, snapshot: Snapshot, manifest: BlobReader) -> None:
        self.snapshot = snapshot
        self._manifest = manifest

    def entries(self, prefix: str = "") -> Iterator[FileMetadata]:
        """Those with a string prefix, ascending by the bytes of the path; once at a time."""
        end = prefix.encode() + b"\xff"  # which never stands in UTF-8
        for file in entries_of(self._manifest):
            if file.path.startswith(prefix):
                yield file
            elif file.path.encode() > end:
                return

    def find(self, path: str) -> FileMetadata | None:
        """The entry of a path."""
        return next((file for file in self.entries(path) if file.path == path), None)


@contextmanager
def opened_snapshot(catalog: Catalog, blobs: BlobFiles, name: str) -> Iterator[OpenSnapshot]:
    """A snapshot to read.

    Raises:
        SnapshotNotFoundError: there is no snapshot of this name.
        BlobMissingError, BlobHashMismatchError: its manifest is lost, or corrupt.
    """
    snapshot = find_snapshot(catalog, name)
    with reading(catalog, snapshot):
        manifest = open_manifest(catalog, blobs, snapshot.manifest)
    with manifest:
        yield OpenSnapshot(snapshot, manifest)
