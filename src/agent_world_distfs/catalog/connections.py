"""SQLite connections: how one is opened."""

from __future__ import annotations

import os
from urllib.parse import quote

import apsw

from agent_world_distfs.errors import IncompatibleStoreError

BUSY_MS = 10_000
_CACHE_KIB = 16_384

_FIXED_IN = (3, 51, 3)


def require_fixed_sqlite(location: str) -> None:
    """Refuse to open with a SQLite library that can corrupt a WAL which several processes shorten.

    The WAL-reset bug is in nearly all versions up to 3.51.2. The requirements of the package say so already;
    this is for those who install apsw otherwise.

    Raises:
        IncompatibleStoreError: the library has the bug.
    """
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")[:3]) >= _FIXED_IN:
        return
    reason = f"SQLite {version} can corrupt a shared database: a library of 3.51.3 or newer is needed"
    raise IncompatibleStoreError(location, reason)


def as_uri(path: str) -> str:
    """An absolute path as SQLite takes it whatever its bytes are: names of files need not be UTF-8."""
    return "file://" + quote(os.fsencode(path))


def create_database(path: str) -> apsw.Connection:
    """A plain connection to a new, empty database.

    The file is made here and with the umask alone, since SQLite would leave out what it lets the group do;
    it gives the WAL and the shared memory the permissions of the database.

    Raises:
        FileExistsError: something is there.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666))
    return apsw.Connection(as_uri(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI)


def open_connection(
    path: str, *, synchronous: str, read_only: bool, immutable: bool = False
) -> apsw.Connection:
    """A connection set up as every connection to a catalog must be.

    Defensive, without trusted schema, extensions or memory mapping (SQLite's log-reset bug and I/O errors
    as signals both came through mapped files). Closed or forgotten, it leaves the WAL as it is, unless
    ``let_copy_wal`` allows it otherwise: what SQLite does while it closes a connection reports no failure.
    """
    mode = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    name = as_uri(path) + ("?immutable=1" if immutable else "")
    connection = apsw.Connection(name, flags=mode | apsw.SQLITE_OPEN_URI, statementcachesize=100)
    try:
        connection.set_busy_timeout(BUSY_MS)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
        # Or a join is compiled again for every value, at twice the cost.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA fullfsync = ON")  # on macOS, see flushing; elsewhere it says nothing
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.wal_autocheckpoint(0)  # the catalog does it, outside the write lock
    except BaseException:
        connection.close()
        raise
    return connection


def let_copy_wal(connection: apsw.Connection) -> None:
    """Have the WAL copied into the database, and removed, if this connection is the last to close.

    Only after a flush of the WAL that was seen to work: the copying flushes it, too, and nobody is told if
    that fails. What relaxed commits have put there would be in doubt, and no mark would say so.
    """
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
