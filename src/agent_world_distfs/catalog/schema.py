"""Format 1 of the SQLite catalog: its tables, how one is made, and how one is recognized.

``store``         one row: what never changes
``commits``       one row per committed transaction; the last one is the state of the store: whether it
                  moved, its counters, the digests of its sets. Each also says what it did to the index.
                  Bounded; the ids of the last commits settle an unknown outcome
``changes``       those changes of a large transaction that did not fit into its row
``blobs``         one row per blob, with the bytes of small ones. ``blob_id`` is never reused
``files``         the index: path to blob, in generations of which one is current
``generations``   those being staged, and by which lease
``pins``          blobs kept without a path
``leases``        blobs kept for a running operation
``recorders``     leases that also keep whatever is named while they live: those of collections
``snapshots``     states of the index that are kept by name
``settings``      of the store, the same for every process

A path names its blob by integer. No index leads from a blob to its paths: it would cost every write
two pages, and what is named is found by reading all rows (``engine.orphans``). Pins and leases are
foreign keys, which SQLite itself keeps. Times are milliseconds since 1970. Each row carries a keyed
checksum of what it means (for a file: path, content hash, size, time), because SQLite does not
notice a flipped bit. A snapshot names its manifest by hash, so that its row says all without another.
Paths are TEXT in UTF-8, whose binary collation is the order of their bytes.

A catalog is made under another name and renamed into place complete, so there is never half of one.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import apsw

from agent_world_distfs.catalog.checksums import LENGTH, Checksums
from agent_world_distfs.catalog.commits import INSERT_COMMIT, NO_DEED, Commit
from agent_world_distfs.catalog.connections import create_database
from agent_world_distfs.catalog.failures import translate
from agent_world_distfs.errors import CatalogError, IncompatibleStoreError
from agent_world_distfs.flushing import flush_file
from agent_world_distfs.process_forks import no_fork_meanwhile
from agent_world_distfs.records import HashAlgorithm

APPLICATION_ID = 0x64697374  # "dist"
FORMAT = 1

TABLES = {
    "store": """CREATE TABLE store (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        hash_algorithm TEXT NOT NULL,
        checksum_key BLOB NOT NULL
    ) STRICT""",
    "commits": """CREATE TABLE commits (
        sequence INTEGER PRIMARY KEY,
        nonce BLOB NOT NULL,
        moved_to TEXT,
        epoch INTEGER NOT NULL,
        next_blob_id INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        total_files INTEGER NOT NULL,
        digest BLOB NOT NULL,
        total_pins INTEGER NOT NULL,
        pin_digest BLOB NOT NULL,
        total_snapshots INTEGER NOT NULL,
        snapshot_digest BLOB NOT NULL,
        history_from INTEGER,
        log_floor INTEGER NOT NULL,
        checksum BLOB NOT NULL,
        at_ms INTEGER,
        actor TEXT,
        message TEXT,
        session TEXT,
        imported TEXT,
        replaced TEXT,
        changes BLOB,
        deed_checksum BLOB
    ) STRICT""",
    "changes": """CREATE TABLE changes (
        sequence INTEGER NOT NULL,
        part INTEGER NOT NULL,
        changes BLOB NOT NULL,
        checksum BLOB NOT NULL,
        PRIMARY KEY (sequence, part)
    ) STRICT, WITHOUT ROWID""",
    "blobs": """CREATE TABLE blobs (
        blob_id INTEGER PRIMARY KEY,
        content_hash BLOB NOT NULL UNIQUE,
        size_bytes INTEGER NOT NULL,
        checksum BLOB NOT NULL,
        payload BLOB
    ) STRICT""",
    "large_blobs": "CREATE INDEX large_blobs ON blobs (content_hash) WHERE payload IS NULL",
    "files": """CREATE TABLE files (
        generation INTEGER NOT NULL,
        path TEXT NOT NULL,
        blob_id INTEGER NOT NULL,
        updated_at_ms INTEGER NOT NULL,
        checksum BLOB NOT NULL,
        PRIMARY KEY (generation, path)
    ) STRICT, WITHOUT ROWID""",
    "generations": """CREATE TABLE generations (
        generation INTEGER PRIMARY KEY,
        lease TEXT NOT NULL
    ) STRICT""",
    "pins": """CREATE TABLE pins (
        blob_id INTEGER PRIMARY KEY REFERENCES blobs,
        checksum BLOB NOT NULL
    ) STRICT""",
    "leases": """CREATE TABLE leases (
        lease TEXT NOT NULL,
        blob_id INTEGER NOT NULL REFERENCES blobs,
        PRIMARY KEY (lease, blob_id)
    ) STRICT, WITHOUT ROWID""",
    "leases_by_blob": "CREATE INDEX leases_by_blob ON leases (blob_id)",
    "recorders": "CREATE TABLE recorders (lease TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
    "snapshots": """CREATE TABLE snapshots (
        name TEXT PRIMARY KEY,
        manifest_hash BLOB NOT NULL,
        manifest_bytes INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        total_files INTEGER NOT NULL,
        message TEXT NOT NULL,
        checksum BLOB NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "settings": """CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL,
        checksum BLOB NOT NULL
    ) STRICT, WITHOUT ROWID""",
}


def create_catalog(path: str, algorithm: HashAlgorithm) -> None:
    """Write a new, empty catalog to ``path``, where nothing is yet; flushed, closed, without a WAL."""
    write_catalog(path, lambda connection: _insert_first_rows(connection, algorithm))


def write_catalog(path: str, fill: Callable[[apsw.Connection], None]) -> None:
    """The same with the rows that ``fill`` inserts, in one transaction.

    Its connection is in no pool that would close it before a fork. So it is made and closed between forks.
    """
    try:
        with no_fork_meanwhile():
            _create_tables(path, fill)
    except apsw.Error as error:
        raise translate(error, path, 0) from error
    flush_file(path)  # nobody has it open yet: closing drops no lock


def _create_tables(path: str, fill: Callable[[apsw.Connection], None]) -> None:
    connection = create_database(path)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # first: it holds only for an empty file
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode = WAL")
        with connection:
            for statement in TABLES.values():
                connection.execute(statement)
            fill(connection)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        empty_wal(connection)
    finally:
        connection.close()


def empty_wal(connection: apsw.Connection) -> None:
    """Copy all of the WAL into the database and truncate it: then the file can be moved without it.

    Closing does so, too, but does not report a failure: half a catalog would take its name.

    Raises:
        apsw.Error: that is not possible.
    """
    ((is_busy, *_),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if is_busy:
        raise apsw.BusyError("somebody reads what is not finished")


def _insert_first_rows(connection: apsw.Connection, algorithm: HashAlgorithm) -> None:
    key = secrets.token_bytes(32)
    connection.execute("INSERT INTO store VALUES (1, ?, ?)", (algorithm.value, key))
    none = bytes(LENGTH)
    first = Commit(
        sequence=0,
        nonce=secrets.token_bytes(8),
        moved_to=None,
        epoch=0,
        next_blob_id=1,
        generation=1,
        total_files=0,
        digest=none,
        total_pins=0,
        pin_digest=none,
        total_snapshots=0,
        snapshot_digest=none,
        history_from=None,
        log_floor=0,
    )
    connection.execute(INSERT_COMMIT, (*first.row(Checksums(key)), *NO_DEED))


def check_schema(connection: apsw.Connection, location: str) -> None:
    """Make sure that this is a catalog of the format that this code was written for, exactly.

    Raises:
        IncompatibleStoreError: another program's database, or another format.
        CatalogError: our format, but not our tables.
    """
    application_id = connection.pragma("application_id")
    if application_id != APPLICATION_ID:
        raise IncompatibleStoreError(location, "the catalog is a database of another program")
    version = connection.pragma("user_version")
    if version != FORMAT:
        raise IncompatibleStoreError(location, f"format {version}; this release reads format {FORMAT}")
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_autoindex\\_%' ESCAPE '\\'"
    )
    if dict(rows) != TABLES:
        raise CatalogError("its tables are not those of this format")
