"""Dropping snapshots, by name or those that no rule keeps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from agent_world_distfs.engine.full_disk import removing
from agent_world_distfs.errors import SnapshotNotFoundError
from agent_world_distfs.operations.snapshots.rules import Keep, choose
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogWriter
from agent_world_distfs.records import Snapshot, SnapshotPruneReport


def drop_snapshots(catalog: Catalog, blobs: BlobFiles, names: Sequence[str]) -> None:
    """Drop several in one transaction; what only they kept are orphans then.

    Raises:
        SnapshotNotFoundError: some are not there; none is dropped.
    """
    wanted = dict.fromkeys(names)

    def drop_all(tx: CatalogWriter) -> None:
        missing = [name for name in wanted if tx.find_snapshot(name) is None]
        if missing:
            raise SnapshotNotFoundError(*missing)
        for name in wanted:
            tx.remove_snapshot(name)

    removing(catalog, blobs, partial(catalog.write, drop_all))


def prune_snapshots(catalog: Catalog, blobs: BlobFiles, rule: Keep, *, dry_run: bool) -> SnapshotPruneReport:
    """Drop what the rule does not keep of the snapshots of one moment, in one transaction."""
    if dry_run:
        return _report(catalog.read(lambda tx: tx.list_snapshots()), rule)
    return removing(catalog, blobs, partial(catalog.write, partial(_drop_others, rule=rule)))


def _drop_others(tx: CatalogWriter, rule: Keep) -> SnapshotPruneReport:
    report = _report(tx.list_snapshots(), rule)
    for name in report.dropped:
        tx.remove_snapshot(name)
    return report


def _report(snapshots: list[Snapshot], rule: Keep) -> SnapshotPruneReport:
    kept = tuple(each.name for each in choose(snapshots, rule))
    return SnapshotPruneReport(kept, tuple(each.name for each in snapshots if each.name not in kept))
