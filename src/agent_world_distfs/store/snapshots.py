"""States of the index kept by name."""

from __future__ import annotations

from collections.abc import Iterable

from agent_world_distfs.engine.manifests import Expectation
from agent_world_distfs.engine.snapshots import find_snapshot, reading
from agent_world_distfs.operations import manifest, snapshots
from agent_world_distfs.paths import check_name
from agent_world_distfs.records import (
    FileIndexManifestRef,
    ManifestImportReport,
    Snapshot,
    SnapshotPruneReport,
)
from agent_world_distfs.store.base import StoreBase, check_text


class SnapshotMethods(StoreBase):
    """A snapshot keeps its manifest, and the bytes of every file that it names, until it is dropped.

    A name is one plain path segment. Asking for a snapshot that does not exist is SnapshotNotFoundError.
    Snapshots are read by ``list_files_at``, ``stat_file_at``, ``read_file_at`` and ``diff``, which take a
    name wherever they take a ``seq``.
    """

    def snapshot(self, name: str, message: str = "") -> Snapshot:
        """Keep the current index under a name. Writers go on; nothing is copied but the manifest.

        Raises:
            InvalidInputError: not a valid name.
            SnapshotExistsError: the name is taken.
            UnavailableError: the index changes too fast to be kept.
        """
        name, message = check_name(name), check_text(message, "message")
        return snapshots.create_snapshot(self._catalog, self._blobs, name, message)

    def list_snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first; those of the same millisecond by name."""
        return self._catalog.read(lambda tx: tx.list_snapshots())

    def find_snapshot(self, name: str) -> Snapshot:
        """The snapshot of that name."""
        return find_snapshot(self._catalog, check_name(name))

    def restore_snapshot(
        self, name: str, *, expected_current: FileIndexManifestRef | None = None, prefix: str = ""
    ) -> ManifestImportReport:
        """Make the index what it was, in one step; with ``prefix``, only what is below that directory.

        Without ``prefix`` it is an import of the manifest: files have the times of then. With it, it is one
        transaction of ordinary changes: paths that already hold the content are left alone, the others get
        the current time, and the report counts the files below ``prefix``, by content. All bytes are verified
        first. ``expected_current``: as in ``import_file_index_manifest``; to be able to return, pass the
        ``manifest`` of a snapshot made just before.

        Raises:
            IndexConflictError: the index does not match ``expected_current``.
            PathNotFoundError: neither the snapshot nor the index has anything below ``prefix``.
            BlobMissingError, BlobHashMismatchError: bytes that the snapshot names are gone, or corrupt.
        """
        check_name(name)
        if prefix:
            return snapshots.restore_part(self._catalog, self._blobs, name, prefix, expected_current)
        kept = find_snapshot(self._catalog, name)
        expected = Expectation(self._catalog, self._blobs, expected_current)
        with reading(self._catalog, kept):
            return manifest.import_manifest(self._catalog, self._blobs, kept.manifest, expected)

    def drop_snapshot(self, name: str) -> None:
        """Remove a snapshot: what nothing else keeps becomes orphans, for a prune to remove."""
        self.drop_snapshots((name,))

    def drop_snapshots(self, names: Iterable[str]) -> None:
        """Remove several in one transaction, all or none; it does not matter if one is named twice.

        Raises:
            SnapshotNotFoundError: some are not there: ``name`` and ``others``.
        """
        if isinstance(names, str):
            raise TypeError("names is several names, not one str")
        snapshots.drop_snapshots(self._catalog, self._blobs, [check_name(name) for name in names])

    def prune_snapshots(
        self,
        *,
        keep_last: int = 0,
        keep_hourly: int = 0,
        keep_daily: int = 0,
        keep_weekly: int = 0,
        keep_monthly: int = 0,
        dry_run: bool = False,
    ) -> SnapshotPruneReport:
        """Drop the snapshots that no rule given keeps, in one transaction; ``dry_run`` only says which.

        ``keep_last``: the newest N. The others: the newest of each of the last N hours, days, weeks or months
        that have one, in UTC; if there are fewer than N, the oldest of all is kept, too. What any of them
        keeps is kept.

        Raises:
            InvalidInputError: no rule is given, or a number is negative.
        """
        rule = snapshots.Keep(keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly).check()
        return snapshots.prune_snapshots(self._catalog, self._blobs, rule, dry_run=dry_run)
