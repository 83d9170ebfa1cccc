"""What is kept without being named by a path, pin or lease: contents that the history remembers.

While a history is kept, they are both sides of every change that the log knows since then, and what
manifests name that are kept as a whole (``CatalogReader.kept_manifests``), with these themselves.
A content is one of them as long as it takes until the change expires; it was an entry of the index before.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent_world_distfs.engine.changes import iter_changes
from agent_world_distfs.engine.reading import open_hash
from agent_world_distfs.errors import BlobMissingError, BlobNotFoundError, HistoryExpiredError
from agent_world_distfs.manifest_format import decode_manifest
from agent_world_distfs.protocols import BlobFiles, Catalog
from agent_world_distfs.records import FileIndexManifestRef, FileMetadata


def kept_hashes(catalog: Catalog, files: BlobFiles) -> Iterator[str]:
    """The hashes, some of them often; in bounded memory and short snapshots.

    What was an entry when this began, or became one since, may be missing: it is found there.

    Raises:
        BlobMissingError, BlobHashMismatchError, ManifestError: a manifest cannot be read to its end.
        CatalogError: the log contradicts its checksums.
    """
    yield from _in_the_log(catalog)
    for text in catalog.read(lambda tx: tx.kept_manifests()):
        yield from _in_a_manifest(catalog, files, text)


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


def _in_a_manifest(catalog: Catalog, files: BlobFiles, text: str) -> Iterator[str]:
    ref = FileIndexManifestRef.parse(text)
    yield ref.content_hash
    try:
        for file in manifest_entries(catalog, files, ref):
            yield file.content_hash
    except BlobMissingError:
        if text in catalog.read(lambda tx: tx.kept_manifests()):
            raise  # else it has expired meanwhile


def manifest_entries(catalog: Catalog, files: BlobFiles, ref: FileIndexManifestRef) -> Iterator[FileMetadata]:
    """The entries of a kept manifest; verified when its end is reached.

    Raises:
        BlobMissingError: it is gone.
    """
    try:
        reader = open_hash(catalog, files, ref.content_hash)
    except BlobNotFoundError as error:
        raise BlobMissingError(ref.content_hash, None) from error
    with reader:
        yield from decode_manifest(reader)
