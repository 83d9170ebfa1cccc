"""Which blobs are missing or wrong: each is read to its end.

A file that is found to be wrong stays open until it has been dealt with. So its number is not used again, and
whoever finds that number under the blob's name under the write lock finds the file that was read, and not the
whole one that somebody has stored meanwhile. (Numbers of files that were removed are used again: by some file
systems at once.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self

from agent_world_distfs.engine.snapshot_losses import is_there, named_by
from agent_world_distfs.errors import BlobHashMismatchError, BlobMissingError, CatalogError, ManifestError
from agent_world_distfs.hashing import hash_function, hash_stream
from agent_world_distfs.os_failures import reading_blob
from agent_world_distfs.protocols import BlobFiles, BlobRow, Catalog
from agent_world_distfs.records import BlobStat, Progress, Snapshot

WINDOW = 500
"""Blob rows read with their bytes in one snapshot."""


@dataclass(frozen=True, slots=True)
class BadBlob:
    """``actual``: what the stored bytes hash to, None if there are none, empty if that cannot be determined.

    ``damaged``: the bytes of an inline blob, or the file, open; None if what is there is not a file, or one
    that the disk cannot open. It is to be closed.
    """

    row: BlobRow
    actual: str | None
    damaged: bytes | BinaryIO | None = None

    @property
    def content_hash(self) -> str:
        return self.row.content_hash

    @property
    def is_inline(self) -> bool:
        return isinstance(self.damaged, bytes)

    @property
    def is_unopened(self) -> bool:
        """Whether there is something that cannot be opened as a file."""
        return self.actual == "" and self.damaged is None

    @property
    def label(self) -> str:
        """Tells bytes of one name apart in the quarantine; empty if their hash is not known."""
        return (self.actual or "")[:16]

    def close(self) -> None:
        if self.damaged is not None and not isinstance(self.damaged, bytes):
            self.damaged.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_bad_blobs(catalog: Catalog, blobs: BlobFiles, progress: Progress | None) -> Iterator[BadBlob]:
    """Those that are missing or wrong, checked twice, each to be closed; progress in bytes."""
    total, last = catalog.read(lambda tx: (tx.total_bytes(), tx.last_blob_id()))
    done = 0
    for after in range(0, last, WINDOW):
        for row in _window(catalog, after):
            bad = examine(catalog, blobs, row)
            if bad is not None:
                bad.close()
                bad = look_again(catalog, blobs, row)
                if bad is not None:
                    yield bad
            done += row.size_bytes
            if progress is not None:
                progress(min(done, total), total)


def find_rowless_blobs(catalog: Catalog, blobs: BlobFiles) -> Iterator[BadBlob]:
    """Those that snapshots name and the catalog has no row of, as when it was rebuilt.

    A manifest comes before what it names, so that a caller that has repaired it by the next step also learns
    of that. What a manifest names counts only once it was read to its end, which verifies it.
    """
    seen, previous = set[str](), None
    for snapshot in catalog.read(lambda tx: tx.list_snapshots()):
        manifest = BlobStat(snapshot.manifest.content_hash, snapshot.manifest.size_bytes)
        if _is_rowless(catalog, manifest) and is_there(catalog, snapshot):
            yield from _unseen([manifest], seen)
        found = _rowless_in(catalog, blobs, snapshot, previous)
        if found and not is_there(catalog, snapshot):
            found = None  # collected with it, perhaps
        previous = None if found is None else snapshot
        yield from _unseen(found or [], seen)


def _unseen(found: list[BlobStat], seen: set[str]) -> Iterator[BadBlob]:
    for blob in found:
        if blob.content_hash not in seen:
            seen.add(blob.content_hash)
            yield BadBlob(BlobRow(0, blob.content_hash, blob.size_bytes, None), None)


def _rowless_in(
    catalog: Catalog, blobs: BlobFiles, snapshot: Snapshot, previous: Snapshot | None
) -> list[BlobStat] | None:
    """None: its manifest is one that nobody has, or none, and what it names is not known."""
    try:
        named = named_by(catalog, blobs, snapshot, previous)
        return [blob for blob in named if _is_rowless(catalog, blob)]
    except (BlobMissingError, BlobHashMismatchError) as error:
        unread = error.content_hash if isinstance(error, BlobMissingError) else error.expected
        if previous is not None and unread != snapshot.manifest.content_hash:
            return _rowless_in(catalog, blobs, snapshot, None)  # the previous one was dropped meanwhile
        return None
    except ManifestError:
        return None


def _is_rowless(catalog: Catalog, blob: BlobStat) -> bool:
    return catalog.read(lambda tx: tx.find_brief(blob.content_hash)) is None


def _window(catalog: Catalog, after: int) -> list[BlobRow]:
    return catalog.read(lambda tx: tx.list_payloads(after, after + WINDOW))


def look_again(catalog: Catalog, blobs: BlobFiles, row: BlobRow) -> BadBlob | None:
    """Healed or collected meanwhile, it is none: a collection drops the row before it takes the bytes."""
    now = _same(catalog, row)
    bad = None if now is None else examine(catalog, blobs, now)
    if bad is None or _same(catalog, row) is not None:
        return bad
    bad.close()
    return None


def _same(catalog: Catalog, row: BlobRow) -> BlobRow | None:
    now = catalog.read(lambda tx: tx.find_blob(row.content_hash))
    return now if now is not None and now.blob_id == row.blob_id else None


def examine(catalog: Catalog, blobs: BlobFiles, row: BlobRow) -> BadBlob | None:
    """What is wrong with the stored bytes of a blob, to be closed; None: nothing."""
    if row.payload is not None:
        actual = hash_function(catalog.hash_algorithm)(row.payload)
        return None if actual == row.content_hash else BadBlob(row, actual, row.payload)
    form = blobs.stat(row.content_hash)
    if form is None:
        return BadBlob(row, None)
    if not form.is_regular:
        return BadBlob(row, "")
    try:
        with reading_blob(row.content_hash):
            stored = blobs.open(row.content_hash)
    except (FileNotFoundError, CatalogError):
        return BadBlob(row, None)  # replaced or removed at this moment: the second look will see
    except BlobHashMismatchError:
        return BadBlob(row, "")
    bad = None
    try:
        actual = _hash_file(catalog, stored, row.content_hash)
        bad = None if actual == row.content_hash else BadBlob(row, actual, stored)
    finally:
        if bad is None:
            stored.close()
    return bad


def _hash_file(catalog: Catalog, stored: BinaryIO, content_hash: str) -> str:
    try:
        with reading_blob(content_hash):
            return hash_stream(stored, catalog.hash_algorithm)
    except BlobHashMismatchError as unreadable:
        return unreadable.actual
