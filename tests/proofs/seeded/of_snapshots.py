"""Bugs of states that are kept by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from agent_world_distfs.catalog.snapshots import SnapshotReader
from agent_world_distfs.catalog.writer import SqliteWriter
from agent_world_distfs.engine import orphans
from agent_world_distfs.operations.snapshots import creating, restoring
from seeded.patching import replace


def trust_the_look() -> None:
    """What the index named when it was looked at is taken for stored when the snapshot is added."""
    replace(creating._Creator, "_blobs_that_left", lambda self, tx, look: [])


def tell_no_collection() -> None:
    """Collections that run do not learn of what a new snapshot names."""
    honest = replace(SqliteWriter, "add_snapshot", None)

    def add_snapshot(self: SqliteWriter, snapshot: Any, _: Iterable[Any]) -> None:
        honest(self, snapshot, [])

    replace(SqliteWriter, "add_snapshot", add_snapshot)


def collect_without_snapshots() -> None:
    """What only snapshots name is an orphan."""
    nothing: list[str] = []
    replace(orphans, "snapshot_hashes", lambda catalog, files: iter(nothing))


def miss_lost_rows() -> None:
    """Nobody counts the rows of snapshots."""

    def find_no_damage(_: SnapshotReader, __: Any) -> Iterator[str]:
        return iter(())

    replace(SnapshotReader, "_find_snapshot_damage", find_no_damage)


def restore_by_letters() -> None:
    """A part is whatever begins with the same letters."""
    replace(restoring, "as_directory", lambda prefix: prefix)
