"""Between stores: manifests, pulls, and stores of the original."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial

from agent_world_distfs.engine.directories import as_host_path, require_other
from agent_world_distfs.engine.manifests import Expectation, check_ref
from agent_world_distfs.engine.other_stores import damage_of
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
    """Export and import of the whole index."""

    def export_file_index_manifest(self, *, pin: bool = False) -> FileIndexManifestRef:
        """Store the current index as a manifest: a blob that a prune removes unless it is pinned."""
        return manifest.export_manifest(self._catalog, self._blobs, pin=pin)

    def read_file_index_manifest(self, ref: FileIndexManifestRef) -> FileIndexManifest:
        """Check and decode a manifest; import nothing.

        Raises:
            BlobNotFoundError, BlobHashMismatchError: it is not stored, or corrupt.
            ManifestError: it is not in the one canonical form.
            InvalidInputError: it has another size than ``ref`` says.
        """
        return manifest.read_manifest(self._catalog, self._blobs, ref)

    def import_file_index_manifest(
        self,
        ref: FileIndexManifestRef,
        *,
        dry_run: bool = False,
        expected_current: FileIndexManifestRef | None = None,
    ) -> ManifestImportReport:
        """Replace the whole index by that of a manifest, in one step, with the manifest's times.

        Everything is checked first: the manifest's form, and that each blob is stored, of the stated size and
        verified. ``dry_run`` checks the same and reports what would change.

        Raises:
            IndexConflictError: the index does not match ``expected_current``.
            ManifestError: the manifest is not in the one canonical form, or states something untrue.
            BlobNotFoundError, BlobHashMismatchError: the manifest or a blob of it is not stored, or corrupt.
        """
        check_ref(ref)
        expected = Expectation(self._catalog, self._blobs, expected_current)
        if dry_run:
            return manifest.try_manifest(self._catalog, self._blobs, ref, expected)
        return manifest.import_manifest(self._catalog, self._blobs, ref, expected)

    def pull_manifest(
        self, source: BlobStore, ref: FileIndexManifestRef, *, progress: Progress | None = None
    ) -> ManifestImportReport:
        """Copy a manifest and every blob of it that is missing here from another store; then import it.

        Progress in files. If interrupted, call it again: it continues where it stopped. From the store itself
        it is an import.

        Raises:
            InvalidInputError: the source uses another hash algorithm.
            BlobNotFoundError: the source lacks a blob; ``location`` names it.
            BlobHashMismatchError: the source returned something else; the same.
        """
        self._check_source(source)
        importing = partial(self.import_file_index_manifest, ref)
        return pull.pull(self._catalog, self._blobs, source, check_ref(ref), progress, importing)

    def pull_index(
        self, source: ExchangeMethods, *, snapshots: bool = False, progress: Progress | None = None
    ) -> ManifestImportReport:
        """As ``pull_manifest``, of the source's index at one moment, leased there; nothing is left behind.

        With ``snapshots``, first copy the source's snapshots, as ``pull_snapshots`` does.
        """
        self._check_open_store(source)
        if snapshots:
            self.pull_snapshots(source, progress=progress)
        with ExitStack() as stack:
            with damage_of(source):
                index = stack.enter_context(pull.kept_index(source._catalog, source._blobs))
            return pull.pull_entries(self._catalog, self._blobs, source, index, progress)

    def pull_snapshots(self, source: ExchangeMethods, *, progress: Progress | None = None) -> list[Snapshot]:
        """Copy the snapshots of another store, with all that they name; return those that are new here.

        A snapshot that exists here with the same state is left alone. Each is copied whole or not at all, and
        what is stored here is not fetched. The index does not change. Progress in files, of one snapshot
        after the other.

        Raises:
            SnapshotExistsError: one of the same name exists here with another state; nothing is copied.
            InvalidInputError: the source uses another hash algorithm.
            BlobNotFoundError, BlobHashMismatchError: the source has lost a blob, or dropped a snapshot
                meanwhile.
            ManifestError: a snapshot there says something untrue, and could not be restored.
        """
        self._check_open_store(source)
        with damage_of(source):
            theirs = source._catalog.read(lambda tx: tx.list_snapshots())
        return pull.pull_snapshots(self._catalog, self._blobs, source, theirs, progress)

    def _check_open_store(self, source: ExchangeMethods) -> None:
        if not isinstance(source, ExchangeMethods):
            raise TypeError(f"this is pulled from an open store, not from {type(source).__name__}")
        require_other(source.location, self.location)
        self._check_source(source)

    def _check_source(self, source: BlobStore) -> None:
        if not hasattr(source, "get"):
            raise TypeError(f"a source has a get(content_hash), and {type(source).__name__} has none")
        self._require_algorithm(source)

    def adopt_original(
        self, directory: str | os.PathLike[str], *, progress: Progress | None = None
    ) -> AdoptReport:
        """Copy a store of the original into this one: files with their times, pins, and every blob, verified.

        The index here must be empty. What is damaged there is left out and reported; blobs that nothing names
        there become orphans here. The original is never changed. Progress in blobs.

        Raises:
            NotFoundError: there is no such directory.
            InvalidInputError: the index here is not empty.
            IncompatibleStoreError: not a store of the original, or it uses another hash algorithm.
            CatalogError: its index or pins cannot be read.
            UnavailableError: it changed meanwhile, or unpacking needs the extra ``adopt``.
        """
        directory = as_host_path(directory)
        snapshot = original.read_snapshot(directory)
        return original.adopt(self._catalog, self._blobs, directory, snapshot, progress, self.location)
