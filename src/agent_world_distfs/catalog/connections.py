"""SQLite connections: how one is opened.

**None beside an inherited one.** SQLite keeps in memory which files it has locked. A forked child has the
memory, not the locks. As long as a connection of its parent is open in it, SQLite takes another to the same
file for locked already, and locks nothing: whoever else closes last deletes the WAL, with what the child has
written there. Or a thread of the parent was inside of SQLite, and has left a mutex locked. So each connection
is noted with the process that made it, and none is opened while one of another process is open. Where the
fork was prepared for, all were closed before it (see ``process_forks``). A process is told by its pid and by
the forks that led to it. The pid shows a fork that bypassed Python; but in another pid namespace the child
may have the same one.
"""

from __future__ import annotations

import functools
import itertools
import os
import weakref
from urllib.parse import quote

import apsw

from agent_world_distfs.errors import ForkedStoreError, IncompatibleStoreError

BUSY_MS = 10_000
_CACHE_KIB = 16_384

_FIXED_IN = (3, 51, 3)

_forks = bytearray()
"""Its length counts the forks that led to this process."""

if hasattr(os, "register_at_fork"):  # a call into C, which no interrupt divides
    os.register_at_fork(after_in_child=functools.partial(_forks.append, 0))

_Maker = tuple[int, int]
_made: weakref.WeakValueDictionary[tuple[_Maker, int], apsw.Connection] = weakref.WeakValueDictionary()
_numbers = itertools.count()


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
        ForkedStoreError: see above.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666))
    return connect(as_uri(path), flags=apsw.SQLITE_OPEN_READWRITE)


def open_connection(
    path: str, *, synchronous: str, read_only: bool, immutable: bool = False
) -> apsw.Connection:
    """A connection set up as every connection to a catalog must be.

    Defensive, without trusted schema, extensions or memory mapping (SQLite's log-reset bug and I/O errors
    as signals both came through mapped files). Closed or forgotten, it leaves the WAL as it is, unless
    ``let_copy_wal`` allows it otherwise: what SQLite does while it closes a connection reports no failure.

    Raises:
        ForkedStoreError: see above.
    """
    mode = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    name = as_uri(path) + ("?immutable=1" if immutable else "")
    connection = connect(name, flags=mode)
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


def connect(name: str, *, flags: int) -> apsw.Connection:
    """A bare connection to a URI: all others are made of one.

    Raises:
        ForkedStoreError: see above.
    """
    here = os.getpid(), len(_forks)  # first: a signal handler may fork in between
    for reference in _made.valuerefs():  # a copy: other threads make and forget some meanwhile
        maker, _ = reference.key
        if maker != here and _is_open(reference()):
            raise ForkedStoreError
    connection = apsw.Connection(name, flags=flags | apsw.SQLITE_OPEN_URI, statementcachesize=100)
    _made[here, next(_numbers)] = connection
    return connection


def _is_open(connection: apsw.Connection | None) -> bool:
    try:
        return connection is not None and isinstance(connection.in_transaction, bool)
    except apsw.ConnectionClosedError:
        return False
    except apsw.Error:  # a thread that is not here was using it
        return True


def let_copy_wal(connection: apsw.Connection) -> None:
    """Have the WAL copied into the database, and removed, if this connection is the last to close.

    Only after a flush of the WAL that was seen to work: the copying flushes it, too, and nobody is told if
    that fails. What relaxed commits have put there would be in doubt, and no mark would say so.
    """
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
