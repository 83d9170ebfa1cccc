"""What is behind a store, seen and changed past it: directory, catalog, log, descriptors."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from agent_world_distfs import LocalCasStore
from agent_world_distfs.catalog.checksums import Checksums
from agent_world_distfs.catalog.commits import INSERT_COMMIT, NO_DEED, SELECT_LAST_COMMIT, Commit
from agent_world_distfs.protocols import PathChange

Logged = tuple[int, str, str | None, list[PathChange]]


def log_of(store: LocalCasStore, after: int = 0) -> list[Logged]:
    """Sequence, actor, what was imported, changes."""
    return store._catalog.read(
        lambda tx: [
            (each.sequence, each.actor, each.imported, list(each.changes))
            for each in tx.iter_transactions(after, tx.log_state().last)
        ]
    )


def blob_file(location: Path | str, content_hash: str) -> Path:
    """Where a large blob's bytes are."""
    return Path(location, "blobs", content_hash[:2], content_hash)


def temporary_files(store: LocalCasStore) -> list[Path]:
    """What stands there only as long as something is being stored."""
    return list(Path(store.location).glob("tmp/*/*"))


def tree_of(directory: Path) -> dict[str, bytes]:
    """All that stands below a directory, without the log and what its readers share in memory."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if _is_content(path) else b""
        for path in sorted(directory.rglob("*"))
        if path.name not in ("catalog.db-wal", "catalog.db-shm")
    }


def _is_content(path: Path) -> bool:
    """The database itself is not opened: closing it would drop this process's locks on it."""
    return path.is_file() and path.name != "catalog.db"


def descriptors() -> set[str]:
    """What this process holds open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue
    return found


def edit(location: Path | str, sql: str, *values: apsw.SQLiteValue) -> None:
    """Change the catalog behind the store's back. The library's own SQLite: another would drop its locks."""
    connection = apsw.Connection(str(Path(location) / "catalog.db"))
    try:
        connection.execute(sql, values)
    finally:
        connection.close()


def look(location: Path | str, sql: str, *values: apsw.SQLiteValue) -> list[tuple[apsw.SQLiteValue, ...]]:
    """Ask the catalog behind the store's back."""
    connection = apsw.Connection(str(Path(location) / "catalog.db"))
    try:
        return list(connection.execute(sql, values))
    finally:
        connection.close()


def seal(location: Path | str, moved_to: str) -> None:
    """Make the last commit say that the store has moved, as moving one does."""
    (values,) = look(location, SELECT_LAST_COMMIT)
    ((key,),) = look(location, "SELECT checksum_key FROM store")
    assert isinstance(key, bytes)
    commit = Commit(*values[:-1])  # type: ignore[arg-type]
    commit.sequence += 1
    commit.moved_to = moved_to
    edit(location, INSERT_COMMIT, *commit.row(Checksums(key)), *NO_DEED)
