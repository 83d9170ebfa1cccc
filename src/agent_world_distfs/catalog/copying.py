"""One snapshot of a catalog as a file of its own."""

from __future__ import annotations

import apsw

from agent_world_distfs.catalog.connections import create_database
from agent_world_distfs.catalog.schema import empty_wal

PAGES_AT_ONCE = 1_000


def copy_catalog(connection: apsw.Connection, generation: int, path: str) -> None:
    """Copy what ``connection``, which has a read transaction open, sees to ``path``, where nothing is yet.

    The open transaction holds the snapshot, so that others may write meanwhile. What belongs to running
    processes stays behind: leases, recorders, and generations other than the index. Not flushed.
    """
    target = create_database(path)
    try:
        with target.backup("main", connection, "main") as backup:
            while not backup.done:
                backup.step(PAGES_AT_ONCE)
        with target:
            for table in ("leases", "recorders", "generations"):
                target.execute(f"DELETE FROM {table}")  # noqa: S608  # constants only
            target.execute("DELETE FROM files WHERE generation <> ?", (generation,))
        empty_wal(target)
    finally:
        target.close()
