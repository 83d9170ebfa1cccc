"""What is kept without a path, pin or lease: the contents of a kept history and of snapshots.

A kept history keeps both sides of every change in the change log since it was turned on, and the manifests of
imports, with all that they name. Such content was an entry of the index before, and is kept until the change
expires.

A snapshot keeps its manifest and all that it names until it is dropped. Its creator made or decoded the
manifest, and its bytes hash correctly: so the hashes are picked out of it without decoding it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from agent_world_distfs.engine.blob_reader import BlobReader
from agent_world_distfs.engine.changes import iter_changes
from agent_world_distfs.engine.reading import open_hash
from agent_world_distfs.errors import BlobMissingError, BlobNotFoundError, HistoryExpiredError, ManifestError
from agent_world_distfs.manifest_format import decode_manifest, scan_hashes
from agent_world_distfs.os_failures import reading_blob
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogReader
from agent_world_distfs.records import FileIndexManifestRef, FileMetadata


def kept_hashes(catalog: Catalog, blobs: BlobFiles) -> Iterator[str]:
    """The hashes, some of them often; in bounded memory and short snapshots.

    What was an entry when this began, or became one since, may be missing: it is found there.

    Raises:
        BlobMissingError, BlobHashMismatchError, ManifestError: a manifest cannot be read to its end.
        CatalogError: the catalog contradicts its checksums.
    """
    yield from history_hashes(catalog, blobs)
    yield from snapshot_hashes(catalog, blobs)


def history_hashes(catalog: Catalog, blobs: BlobFiles) -> Iterator[str]:
    """The same of the history alone."""
    yield from _in_the_log(catalog)
    yield from _in_manifests(catalog, blobs, lambda tx: tx.kept_manifests())


def snapshot_hashes(catalog: Catalog, blobs: BlobFiles) -> Iterator[str]:
    """The same of snapshots alone."""
    yield from _in_manifests(
        catalog, blobs, lambda tx: [str(snapshot.manifest) for snapshot in tx.list_snapshots()]
    )


def _in_the_log(catalog: Catalog) -> Iterator[str]:
    state = catalog.read(lambda tx: tx.log_state())
    if state.history_from is None:
        return
    since = state.kept_after
    while True:
        try:
            for change in iter_changes(catalog, since, state.last):
                since = change.seq - 1
                for side in (change.before, change.after):
                    if side is not None:
                        yield side.content_hash
        except HistoryExpiredError as error:
            since = error.first_seq  # somebody lets it expire just now: what is left is still kept
        else:
            return


def _in_manifests(
    catalog: Catalog, blobs: BlobFiles, list_kept: Callable[[CatalogReader], Iterable[str]]
) -> Iterator[str]:
    for text in dict.fromkeys(catalog.read(list_kept)):
        ref = FileIndexManifestRef.parse(text)
        yield ref.content_hash
        try:
            with reading_blob(ref.content_hash), _opened(catalog, blobs, ref) as reader:
                yield from scan_hashes(reader)
        except BlobMissingError:
            if text in catalog.read(list_kept):
                raise  # else it has expired, or was dropped, meanwhile


def manifest_entries(catalog: Catalog, blobs: BlobFiles, ref: FileIndexManifestRef) -> Iterator[FileMetadata]:
    """The entries of a kept manifest; verified when its end is reached.

    Raises:
        BlobMissingError: it is gone.
        BlobHashMismatchError: its bytes are others, or the disk cannot read them.
        ManifestError: they are right, and no manifest.
    """
    with reading_blob(ref.content_hash), _opened(catalog, blobs, ref) as reader:
        try:
            yield from decode_manifest(reader)
        except ManifestError:
            _read_to_end(reader)  # rotten bytes are the reason, if they are
            raise


def _read_to_end(reader: BlobReader) -> None:
    while reader.read1():
        pass


def _opened(catalog: Catalog, blobs: BlobFiles, ref: FileIndexManifestRef) -> BlobReader:
    try:
        return open_hash(catalog, blobs, ref.content_hash)
    except BlobNotFoundError as error:
        raise BlobMissingError(ref.content_hash, None) from error
