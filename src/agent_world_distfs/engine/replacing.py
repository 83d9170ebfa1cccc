"""Replacing the whole index at once, however large: stage, verify, flip.

The new entries are staged as another generation of the index, in short transactions; staged rows
are roots, so nothing that they name is collected. Their blobs are verified outside the lock. One
short transaction then makes the generation the index. The old generation stays claimed until the
difference is counted, and is swept in short transactions.

Where a history is kept, the old generation is written down as a manifest while it is still claimed, and
the import's entry in the change log gets the reference: what the index was before can be read from then on.

Replacing a damaged index is how one gets rid of the damage. So what cannot be read of it after the flip is no
error: it counts as if it had not been there, and a history does not know it.

A process that dies before the flip leaves a generation that nobody sees and the next tidying
removes; after it, an old one of which the same is true; then what the index was before is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from agent_world_distfs.engine.intake import Intake
from agent_world_distfs.engine.leases import END_BATCH, Lease
from agent_world_distfs.engine.manifest_spool import spool_chunks
from agent_world_distfs.engine.paging import from_page_to_page
from agent_world_distfs.engine.pairing import paired
from agent_world_distfs.engine.reading import find_stored, verify_hash
from agent_world_distfs.errors import (
    BlobNotFoundError,
    CatalogError,
    CorruptError,
    ManifestError,
    OutcomeUnknownError,
    StorageError,
    UnavailableError,
)
from agent_world_distfs.hashing import hash_function, require_hash
from agent_world_distfs.manifest_format import encode_manifest
from agent_world_distfs.protocols import BlobFiles, BlobRow, Catalog, CatalogReader, CatalogWriter, IndexState
from agent_world_distfs.records import FileMetadata, ManifestImportReport

Entries = Callable[[], Iterable[FileMetadata]]
"""Gives the same entries each time it is called: ascending by the UTF-8 bytes of the path, unique."""

_MAY_BE_LEFT = (CorruptError, OutcomeUnknownError, StorageError, UnavailableError, ValueError)
"""What keeps the old index from being written down or swept. ValueError: no manifest can hold its entries."""

CHUNK = 300
"""Entries staged in one transaction: some milliseconds of the write lock."""


def replace_index(
    catalog: Catalog,
    blobs: BlobFiles,
    entries: Entries,
    state: IndexState,
    before_flip: Callable[[CatalogWriter], None],
    manifest_hash: str | None = None,
) -> ManifestImportReport:
    """Make ``entries``, whose state is ``state``, the index.

    ``before_flip`` runs in the transaction that flips; what it raises undoes all. ``manifest_hash``:
    of the manifest of the entries; the change log names it if it is stored by then.

    Raises:
        BlobNotFoundError, BlobHashMismatchError: a blob that an entry names is not stored, or corrupt.
        ManifestError: a blob has another size than its entry says.
    """
    with Lease(catalog, blobs) as lease:
        generation = catalog.write_lazily(lambda tx: tx.stage_generation(lease.name))
        for chunk in chunks(entries()):
            _stage(catalog, blobs, generation, chunk)
            verify_blobs(catalog, blobs, chunk)

        def flip(tx: CatalogWriter) -> _Flipped:
            before_flip(tx)
            tx.note_import(find_stored(tx, blobs, manifest_hash) if manifest_hash else None)
            total, is_kept = tx.count_files(), tx.log_state().history_from is not None
            return _Flipped(tx.switch_generation(generation, state), total, tx.sequence, is_kept)

        flipped = catalog.write(flip)
        # The new index stands: an error from here on must not say that it does not. What is not written down
        # is not known later, and what is not swept the next tidying sweeps.
        if flipped.is_kept:
            with suppress(*_MAY_BE_LEFT):
                _write_down(catalog, blobs, flipped)
        report = compare(_readable(list_generation(catalog, flipped.previous)), entries())
    with suppress(*_MAY_BE_LEFT):
        while not catalog.write_lazily(lambda tx: tx.sweep_generations(END_BATCH)):
            pass
    return report


def _readable(entries: Iterator[FileMetadata]) -> Iterator[FileMetadata]:
    with suppress(CatalogError):
        yield from entries


class _Flipped(NamedTuple):
    """What was the index: its generation, how many entries; the transaction that replaced it."""

    previous: int
    total_files: int
    sequence: int
    is_kept: bool


def _write_down(catalog: Catalog, blobs: BlobFiles, flipped: _Flipped) -> None:
    """Store what the index was as a manifest, and log it, in one transaction."""

    def note(tx: CatalogWriter, row: BlobRow) -> None:
        tx.note_replaced(flipped.sequence, row)

    entries = list_generation(catalog, flipped.previous)
    with spool_chunks(encode_manifest(entries, flipped.total_files)) as spool:
        Intake(catalog, blobs).store_stream(spool, note)


def chunks(entries: Iterable[FileMetadata]) -> Iterator[list[FileMetadata]]:
    """The entries in lists that one transaction can take."""
    source = iter(entries)
    while chunk := list(islice(source, CHUNK)):
        yield chunk


def _stage(catalog: Catalog, blobs: BlobFiles, generation: int, chunk: list[FileMetadata]) -> None:
    def change(tx: CatalogWriter) -> None:
        tx.stage_files(generation, [(file, blob_of(tx, blobs, file)) for file in chunk])

    catalog.write_lazily(change)


def blob_of(tx: CatalogReader, blobs: BlobFiles, file: FileMetadata) -> int:
    """The id of the blob that an entry names, which is stored and of the size that it says."""
    row = find_stored(tx, blobs, file.content_hash)
    if row is None:
        raise BlobNotFoundError(file.content_hash)
    if row.size_bytes != file.size_bytes:
        raise ManifestError(f"says {file.size_bytes} bytes of a blob that has {row.size_bytes}")
    return row.blob_id


def verify_blobs(catalog: Catalog, blobs: BlobFiles, chunk: list[FileMetadata]) -> None:
    """Hash every byte that the entries name."""
    hash_bytes = hash_function(catalog.hash_algorithm)
    for content_hash, payload in catalog.read(lambda tx: _payloads(tx, chunk)):
        if payload is None:
            verify_hash(catalog, blobs, content_hash)
        else:
            require_hash(content_hash, hash_bytes(payload))


def _payloads(tx: CatalogReader, chunk: list[FileMetadata]) -> list[tuple[str, bytes | None]]:
    rows = (tx.find_blob(content_hash) for content_hash in {file.content_hash for file in chunk})
    return [(row.content_hash, row.payload) for row in rows if row is not None]


def list_generation(catalog: Catalog, generation: int) -> Iterator[FileMetadata]:
    """The entries of a generation that does not change any more, from page to page."""

    def page_after(path: str) -> list[FileMetadata]:
        return catalog.read(lambda tx: tx.list_generation(generation, path, CHUNK))

    return from_page_to_page(page_after)


def compare(before: Iterable[FileMetadata], after: Iterable[FileMetadata]) -> ManifestImportReport:
    """What turning one index into the other adds, changes and removes; both ascending by path."""
    total = added = changed = removed = 0
    for _, mine, theirs in paired(before, after):
        total += theirs is not None
        if mine is None:
            added += 1
        elif theirs is None:
            removed += 1
        else:
            changed += mine != theirs
    return ManifestImportReport(total, added, changed, removed)
