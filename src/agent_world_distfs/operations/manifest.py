"""Manifests: exporting the whole index as one canonical blob, and importing it strictly."""

from __future__ import annotations

from agent_world_distfs.engine.intake import Intake
from agent_world_distfs.engine.manifest_spool import spool_manifest
from agent_world_distfs.engine.manifests import Expectation, entries_of, open_manifest
from agent_world_distfs.engine.replacing import blob_of, chunks, compare, replace_index, verify_blobs
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


def export_manifest(catalog: Catalog, blobs: BlobFiles, *, pin: bool) -> FileIndexManifestRef:
    """Store the manifest of one snapshot of the index; with ``pin`` also pin it, in the same transaction."""

    def change(tx: CatalogWriter, row: BlobRow) -> FileIndexManifestRef:
        if pin:
            tx.add_pin(row)
        return FileIndexManifestRef(row.content_hash, row.size_bytes)

    with spool_manifest(catalog) as spool:
        return Intake(catalog, blobs).store_stream(spool, change)


def read_manifest(catalog: Catalog, blobs: BlobFiles, ref: FileIndexManifestRef) -> FileIndexManifest:
    """Decode and check a manifest; nothing is imported."""
    with open_manifest(catalog, blobs, ref) as reader:
        return FileIndexManifest(MANIFEST_VERSION, tuple(entries_of(reader)))


def import_manifest(
    catalog: Catalog,
    blobs: BlobFiles,
    ref: FileIndexManifestRef,
    expected: Expectation,
) -> ManifestImportReport:
    """Replace the index by what a manifest says, after everything in it was checked."""
    with open_manifest(catalog, blobs, ref) as reader:
        state = catalog.digest_of(entries_of(reader))
        with expected.told():
            return replace_index(
                catalog, blobs, lambda: entries_of(reader), state, expected.require, ref.content_hash
            )


def try_manifest(
    catalog: Catalog,
    blobs: BlobFiles,
    ref: FileIndexManifestRef,
    expected: Expectation,
) -> ManifestImportReport:
    """What ``import_manifest`` would do, after the same checks."""
    with open_manifest(catalog, blobs, ref) as reader:
        catalog.digest_of(entries_of(reader))
        with expected.told():
            catalog.read(expected.require)
        for chunk in chunks(entries_of(reader)):
            _check_blobs(catalog, blobs, chunk)
        with spool_manifest(catalog) as current:
            return compare(decode_manifest(current), entries_of(reader))


def _check_blobs(catalog: Catalog, blobs: BlobFiles, chunk: list[FileMetadata]) -> None:
    def check(tx: CatalogReader) -> None:
        for file in chunk:
            blob_of(tx, blobs, file)

    catalog.read(check)
    verify_blobs(catalog, blobs, chunk)
