"""SQLite connections: how one is opened, and a pool of those that read.

Each operation has a connection to itself. Before a fork all of them are closed (see ``forks``);
whoever wants one meanwhile waits.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from urllib.parse import quote

import apsw

from agent_world_distfs.errors import ForkedStoreError, IncompatibleStoreError

BUSY_MS = 10_000
_CACHE_KIB = 16_384
_POLL_S = 0.0005


_FIXED_IN = (3, 51, 3)
_FIXED_IN_BRANCHES = {(3, 44): 6, (3, 50): 7}


def require_fixed_sqlite(location: str) -> None:
    """Refuse to open with a SQLite library that can corrupt a log which several processes shorten.

    The WAL-reset bug is in all versions from 3.7.0 to 3.51.2, except for two that it was mended in
    too. The requirements of the package say so already; this is for who installs apsw otherwise.

    Raises:
        IncompatibleStoreError: the library has the bug.
    """
    version = apsw.sqlite_lib_version()
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    fixed_in = _FIXED_IN_BRANCHES.get((major, minor), sys.maxsize)
    if (major, minor, patch) >= _FIXED_IN or patch >= fixed_in:
        return
    reason = f"SQLite {version} can corrupt a shared database: a library of 3.51.3 or newer is needed"
    raise IncompatibleStoreError(location, reason)


def as_uri(path: str) -> str:
    """An absolute path as SQLite takes it whatever its bytes are: names of files need not be UTF-8."""
    return "file://" + quote(os.fsencode(path))


def open_connection(
    path: str, *, synchronous: str, read_only: bool, immutable: bool = False
) -> apsw.Connection:
    """A connection set up as every connection to a catalog must be.

    Defensive, without trusted schema, extensions or memory mapping (SQLite's log-reset bug and I/O errors
    as signals both came through mapped files).
    """
    mode = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    name = as_uri(path) + ("?immutable=1" if immutable else "")
    connection = apsw.Connection(name, flags=mode | apsw.SQLITE_OPEN_URI, statementcachesize=100)
    try:
        connection.set_busy_timeout(BUSY_MS)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
        # Or a join is compiled again for every value it is asked for, at twice its price.
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


def keep_log(connection: apsw.Connection) -> None:
    """Do not copy the log into the database when this connection is the last to close."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)


class Loan:
    """One connection in use by one operation."""

    __slots__ = ("__weakref__", "connection")

    connection: apsw.Connection


class ReaderPool:
    """Connections for reading, handed out one to an operation.

    Without a lock, so that an interrupt cannot leave one locked. Whoever takes a connection first
    shows its loan, then looks whether a fork is held for; whoever holds for a fork first says so,
    then looks for loans: one of the two sees the other. Loans are known weakly: one that an
    interrupt lost is not waited for.
    """

    def __init__(self, path: str, *, read_only: bool, immutable: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._immutable = immutable
        self._idle: list[apsw.Connection] = []
        self._is_closed = False
        self._loans: weakref.WeakSet[Loan] = weakref.WeakSet()
        self._may_lend = threading.Event()
        self._may_lend.set()
        self._pid = os.getpid()

    def take(self) -> Loan:
        """A connection that nobody else has; give it back."""
        if self._pid != os.getpid():
            raise ForkedStoreError
        loan = Loan()
        self._loans.add(loan)
        while not self._may_lend.is_set():
            self._loans.discard(loan)
            self._may_lend.wait()
            self._loans.add(loan)
        try:
            loan.connection = self._idle.pop()
        except IndexError:
            loan.connection = self._open()
        return loan

    def give_back(self, loan: Loan) -> None:
        """End what the connection still runs and keep it for the next."""
        connection = loan.connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        self._idle.append(connection)
        self._loans.discard(loan)
        if self._is_closed:
            self._close_idle()

    def _open(self) -> apsw.Connection:
        return open_connection(
            self._path, synchronous="FULL", read_only=self._read_only, immutable=self._immutable
        )

    def hold_for_fork(self, timeout_s: float) -> bool:
        """Hand out no more, wait for those that are out, close all; False if that took too long."""
        deadline = time.monotonic() + timeout_s
        self._may_lend.clear()
        while len(self._loans):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        self._close_idle()
        return True

    def let_go_after_fork(self) -> None:
        """Hand out again, in the process that forked."""
        self._may_lend.set()

    def start_anew_in_child(self) -> None:
        """Hand out again, in a child before which all connections were closed."""
        self._loans = weakref.WeakSet()
        self._may_lend = threading.Event()
        self._may_lend.set()
        self._pid = os.getpid()

    def close(self, *, may_copy_log: bool) -> None:
        """Close the idle connections; those that are out close when they come back or are forgotten.

        ``may_copy_log``: whether the last connection of all may copy the log into the database.
        """
        self._is_closed = True
        if not may_copy_log:
            for connection in self._idle:
                keep_log(connection)
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread's
                self._idle.pop().close()
