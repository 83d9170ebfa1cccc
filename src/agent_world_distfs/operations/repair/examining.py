"""Which blobs are missing or wrong: each is read to its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent_world_distfs.engine.snapshot_losses import named_by
from agent_world_distfs.errors import BlobHashMismatchError, BlobMissingError, CatalogError
from agent_world_distfs.hashing import hash_function, hash_stream
from agent_world_distfs.os_failures import translated
from agent_world_distfs.protocols import BlobFiles, BlobRow, Catalog
from agent_world_distfs.records import Progress, Snapshot

WINDOW = 500
"""Blob rows read with their bytes in one snapshot."""


@dataclass(frozen=True, slots=True)
class BadBlob:
    """``actual``: what the stored bytes hash to, None if there are none, empty if that cannot be determined.

    ``identity``: of the thing under the blob's name; ``data``: of an inline blob.
    """

    row: BlobRow
    actual: str | None
    identity: int = 0
    data: bytes | None = None

    @property
    def content_hash(self) -> str:
        return self.row.content_hash

    @property
    def label(self) -> str:
        """Tells bytes of one name apart in the quarantine."""
        return (self.actual or f"{self.identity:x}")[:16]


def find_bad_blobs(catalog: Catalog, blobs: BlobFiles, progress: Progress | None) -> Iterator[BadBlob]:
    """Those that are missing or wrong, checked twice; progress in bytes."""
    total, last = catalog.read(lambda tx: (tx.total_bytes(), tx.last_blob_id()))
    done = 0
    for after in range(0, last, WINDOW):
        for row in _window(catalog, after):
            if examine(catalog, blobs, row) is not None:
                bad = _look_again(catalog, blobs, row)
                if bad is not None:
                    yield bad
            done += row.size_bytes
            if progress is not None:
                progress(min(done, total), total)


def find_rowless_blobs(catalog: Catalog, blobs: BlobFiles) -> Iterator[BadBlob]:
    """Those that snapshots name and the catalog has no row of, as when it was rebuilt.

    A manifest comes before what it names, so that a caller that has repaired it by the next step also learns
    of that.
    """
    seen, previous = set[str](), None
    for snapshot in catalog.read(lambda tx: tx.list_snapshots()):
        is_read = False
        try:
            for bad in _rowless_in(catalog, blobs, snapshot, previous):
                if bad.content_hash not in seen:
                    seen.add(bad.content_hash)
                    yield bad
            is_read = True
        except (BlobMissingError, BlobHashMismatchError):
            pass  # a manifest that nobody has: what it names is not known
        previous = snapshot if is_read else None


def _rowless_in(
    catalog: Catalog, blobs: BlobFiles, snapshot: Snapshot, previous: Snapshot | None
) -> Iterator[BadBlob]:
    for blob in named_by(catalog, blobs, snapshot, previous):
        name = blob.content_hash
        if catalog.read(lambda tx, name=name: tx.find_brief(name)) is None:  # type: ignore[misc]
            yield BadBlob(BlobRow(0, name, blob.size_bytes, None), None)


def _window(catalog: Catalog, after: int) -> list[BlobRow]:
    return catalog.read(lambda tx: tx.list_payloads(after, after + WINDOW))


def _look_again(catalog: Catalog, blobs: BlobFiles, row: BlobRow) -> BadBlob | None:
    """Healed or collected meanwhile, it is none."""
    now = catalog.read(lambda tx: tx.find_blob(row.content_hash))
    return examine(catalog, blobs, now) if now is not None and now.blob_id == row.blob_id else None


def examine(catalog: Catalog, blobs: BlobFiles, row: BlobRow) -> BadBlob | None:
    """What is wrong with the stored bytes of a blob; None: nothing."""
    if row.payload is not None:
        actual = hash_function(catalog.hash_algorithm)(row.payload)
        return None if actual == row.content_hash else BadBlob(row, actual, data=row.payload)
    form = blobs.stat(row.content_hash)
    if form is None:
        return BadBlob(row, None)
    if not form.is_regular:
        return BadBlob(row, "", form.identity)
    try:
        actual = _hash_file(catalog, blobs, row.content_hash)
    except (FileNotFoundError, CatalogError):
        return BadBlob(row, None)  # replaced or removed at this moment: the second look will see
    return None if actual == row.content_hash else BadBlob(row, actual, form.identity)


def _hash_file(catalog: Catalog, blobs: BlobFiles, content_hash: str) -> str:
    with blobs.open(content_hash) as stored, translated(f"blob {content_hash}"):
        return hash_stream(stored, catalog.hash_algorithm)
