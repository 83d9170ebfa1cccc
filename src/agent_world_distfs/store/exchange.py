"""Between stores: manifests, pulls, and stores of the original."""

from __future__ import annotations

import os
from functools import partial

from agent_world_distfs.engine.directories import as_host_path
from agent_world_distfs.engine.manifests import Expectation, check_ref
from agent_world_distfs.operations import manifest, original, pull
from agent_world_distfs.protocols import BlobStore
from agent_world_distfs.records import (
    AdoptReport,
    FileIndexManifest,
    FileIndexManifestRef,
    ManifestImportReport,
    Progress,
    Snapshot,
)
from agent_world_distfs.store.blobs import BlobMethods


class ExchangeMethods(BlobMethods):
    """The whole index out and in."""

    def export_file_index_manifest(self, *, pin: bool = False) -> FileIndexManifestRef:
        """Store the index, as it is now, as a manifest: a blob that a prune takes unless it is pinned."""
        return manifest.export_manifest(self._catalog, self._blobs, pin=pin)

    def read_file_index_manifest(self, ref: FileIndexManifestRef) -> FileIndexManifest:
        """Check and decode a manifest; nothing is imported.

        Raises:
            BlobNotFoundError, BlobHashMismatchError: it is not stored, or rotten.
            ManifestError: it is not in the one canonical form.
        """
        return manifest.read_manifest(self._catalog, self._blobs, ref)

    def import_file_index_manifest(
        self,
        ref: FileIndexManifestRef,
        *,
        dry_run: bool = False,
        expected_current: FileIndexManifestRef | None = None,
    ) -> ManifestImportReport:
        """Replace the whole index by a manifest's, at once, with the times that it says.

        Everything is checked first: the manifest's form, and that each blob is stored, of the stated
        size and verified. ``dry_run`` checks the same and says what would change.

        Raises:
            IndexConflictError: the index is not the one of ``expected_current``.
            ManifestError: the manifest is not in the one canonical form, or lies.
            BlobNotFoundError, BlobHashMismatchError: the manifest or a blob of it is not stored, or rotten.
        """
        check_ref(ref)
        expected = Expectation(self._catalog, self._blobs, expected_current)
        if dry_run:
            return manifest.try_manifest(self._catalog, self._blobs, ref, expected)
        return manifest.import_manifest(self._catalog, self._blobs, ref, expected)

    def pull_manifest(
        self, source: BlobStore, ref: FileIndexManifestRef, *, progress: Progress | None = None
    ) -> ManifestImportReport:
        """Bring a manifest and every blob of it that is missing here from another store; then import it.

        Progress in files. Interrupted, it goes on where it stopped when called again.

        Raises:
            InvalidInputError: the source names its blobs by another algorithm.
            BlobNotFoundError: the source does not have a blob.
            BlobHashMismatchError: what the source gives is something else.
        """
        self._check_source(source)
        importing = partial(self.import_file_index_manifest, ref)
        return pull.pull(self._catalog, self._blobs, source, check_ref(ref), progress, importing)

    def pull_index(
        self, source: ExchangeMethods, *, snapshots: bool = False, progress: Progress | None = None
    ) -> ManifestImportReport:
        """As ``pull_manifest``, of one snapshot of the source's index, leased there; nothing is left there.

        With ``snapshots`` those of the source come first, as ``pull_snapshots`` brings them.
        """
        self._check_open_store(source)
        if snapshots:
            self.pull_snapshots(source, progress=progress)
        with pull.kept_index(source._catalog, source._blobs) as index:
            return pull.pull_entries(self._catalog, self._blobs, source, index, progress)

    def pull_snapshots(self, source: ExchangeMethods, *, progress: Progress | None = None) -> list[Snapshot]:
        """Bring the snapshots of another store, with all that they name; returns those that were not here.

        One that is here already, of the same state, is left alone. Each comes whole or not at all, and
        what is stored here is not fetched. The index does not change. Progress in files, of one snapshot
        after the other.

        Raises:
            SnapshotExistsError: one of the same name is here, of another state; nothing is brought.
            InvalidInputError: the source names its blobs by another algorithm.
            BlobNotFoundError, BlobHashMismatchError: the source has lost a blob, or a snapshot meanwhile.
        """
        self._check_open_store(source)
        theirs = source._catalog.read(lambda tx: tx.list_snapshots())
        return pull.pull_snapshots(self._catalog, self._blobs, source, theirs, progress)

    def _check_open_store(self, source: ExchangeMethods) -> None:
        if not isinstance(source, ExchangeMethods):
            raise TypeError(f"this is pulled from an open store, not from {type(source).__name__}")
        self._check_source(source)

    def _check_source(self, source: BlobStore) -> None:
        if not hasattr(source, "get"):
            raise TypeError(f"a source has a get(content_hash), and {type(source).__name__} has none")
        self._require_algorithm(source)

    def adopt_original(
        self, directory: str | os.PathLike[str], *, progress: Progress | None = None
    ) -> AdoptReport:
        """Take over a store of the original: files with their times, pins, and every blob, verified.

        The index here must be empty. What is damaged there is left out and reported; blobs that
        nothing names there come as orphans. The original is never changed. Progress in blobs.

        Raises:
            InvalidInputError: the index here is not empty.
            IncompatibleStoreError: no store of the original, or its blobs are named by another algorithm.
            CatalogError: its index or pins cannot be read.
            UnavailableError: it changed meanwhile, or unpacking wants the extra ``adopt``.
        """
        directory = as_host_path(directory)
        snapshot = original.read_snapshot(directory)
        return original.adopt(self._catalog, self._blobs, directory, snapshot, progress)
