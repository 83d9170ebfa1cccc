"""One snapshot of a catalog as a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

import apsw

from agent_world_distfs.catalog.connections import create_database
from agent_world_distfs.catalog.failures import translate
from agent_world_distfs.catalog.schema import empty_wal
from agent_world_distfs.errors import StorageError

PAGES_AT_ONCE = 1_000

_OF_READING = {apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ, apsw.SQLITE_IOERR_CORRUPTFS}


def copy_catalog(
    connection: apsw.Connection,
    generation: int,
    path: str,
    own_settings: Mapping[str, tuple[str, bytes] | None],
) -> None:
    """Copy what ``connection``, which has a read transaction open, sees to ``path``, where nothing is yet.

    The open transaction holds the snapshot, so that others may write meanwhile. What belongs to running
    processes stays behind: leases, recorders, and generations other than the index. Not flushed.
    ``own_settings``: values of the copy's own, with their checksums, or None, in place of what is copied.

    Raises:
        StorageError: the disk of the copy failed; it names ``path``. What SQLite says of ``connection`` comes
            as it is.
    """
    with _errors_naming(path), closing(create_database(path)) as target:
        with target.backup("main", connection, "main") as backup:
            while not backup.done:
                backup.step(PAGES_AT_ONCE)
        with target:
            for table in ("leases", "recorders", "generations"):
                target.execute(f"DELETE FROM {table}")  # noqa: S608  # constants only
            target.execute("DELETE FROM files WHERE generation <> ?", (generation,))
            for name, own in own_settings.items():
                target.execute("DELETE FROM settings WHERE name = ?", (name,))
                if own is not None:
                    target.execute("INSERT INTO settings VALUES (?, ?, ?)", (name, *own))
        empty_wal(target)


@contextmanager
def _errors_naming(path: str) -> Iterator[None]:
    """Within it, an error of writing is one of the copy: what is copied is only read."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        failure = translate(error, path, 0)
        if isinstance(failure, StorageError) and getattr(error, "extendedresult", 0) not in _OF_READING:
            raise failure from error
        raise
