"""States of the index that are kept by name."""

from __future__ import annotations

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

    A name is one plain segment of a path. Whoever is asked for a name that there is no snapshot of:
    SnapshotNotFoundError. Snapshots are read by ``list_files_at``, ``stat_file_at``, ``read_file_at``
    and ``diff``, which take a name wherever they take a ``seq``.
    """

    def snapshot(self, name: str, message: str = "") -> Snapshot:
        """Keep the index, as it is now, by a name. Writers go on; nothing is copied but the manifest.

        Raises:
            InvalidInputError: it cannot be a name.
            SnapshotExistsError: there is one of this name.
            UnavailableError: the index changes too fast to be kept.
        """
        name, message = check_name(name), check_text(message, "message")
        return snapshots.create_snapshot(self._catalog, self._blobs, name, message)

    def list_snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first; those of one millisecond by name."""
        return self._catalog.read(lambda tx: tx.list_snapshots())

    def find_snapshot(self, name: str) -> Snapshot:
        """The snapshot of a name."""
        return find_snapshot(self._catalog, check_name(name))

    def restore_snapshot(
        self, name: str, *, expected_current: FileIndexManifestRef | None = None, prefix: str = ""
    ) -> ManifestImportReport:
        """Make the index what it was, at once; with ``prefix``, a directory of it, only what is below that.

        Whole, it is an import of the manifest: files have the times of then. Of a part it is one
        transaction of ordinary changes: a path that holds the content already is left alone, the
        others have the time of now, and the report counts the files below ``prefix``, by content. All
        bytes are verified first. ``expected_current``: as in ``import_file_index_manifest``; to be able
        to come back, give the ``manifest`` of a snapshot that was made just before.

        Raises:
            IndexConflictError: the index is not the one of ``expected_current``.
            PathNotFoundError: neither the snapshot nor the index has anything below ``prefix``.
            BlobMissingError, BlobHashMismatchError: bytes that the snapshot names are gone, or rotten.
        """
        check_name(name)
        if prefix:
            return snapshots.restore_part(self._catalog, self._blobs, name, prefix, expected_current)
        kept = find_snapshot(self._catalog, name)
        expected = Expectation(self._catalog, self._blobs, expected_current)
        with reading(self._catalog, kept):
            return manifest.import_manifest(self._catalog, self._blobs, kept.manifest, expected)

    def drop_snapshot(self, name: str) -> None:
        """Keep a snapshot no longer: what nothing else keeps are orphans then, for a prune to take."""
        snapshots.drop_snapshot(self._catalog, self._blobs, check_name(name))

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

        ``keep_last``: the newest so many. The others: the newest of each of the last so many hours,
        days, weeks or months that have one, in UTC; where there are not so many, the oldest of all is
        kept, too. What any of them keeps is kept.

        Raises:
            InvalidInputError: no rule is given, or a number is negative.
        """
        rule = snapshots.Keep(keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly).check()
        return snapshots.prune_snapshots(self._catalog, self._blobs, rule, dry_run=dry_run)
