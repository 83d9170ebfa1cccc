"""SQLite connections: how one is opened, and a pool of those that read.

Each operation has a connection to itself. Before a fork all of them are closed (see ``forks``);
whoever wants one meanwhile waits.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from urllib.parse import quote

import apsw

from agent_world_distfs.errors import ForkedStoreError

_BUSY_MS = 10_000
_CACHE_KIB = 16_384


def open_connection(
    path: str, *, synchronous: str, read_only: bool, immutable: bool = False
) -> apsw.Connection:
    """A connection set up as every connection to a catalog must be.

    Defensive, without trusted schema, extensions or memory mapping (SQLite's log-reset bug and I/O errors
    as signals both came through mapped files).
    """
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE
    name = path
    if immutable:
        name, flags = f"file:{quote(path)}?immutable=1", flags | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(name, flags=flags, statementcachesize=100)
    try:
        connection.set_busy_timeout(_BUSY_MS)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.wal_autocheckpoint(0)  # the catalog does it, outside the write lock
    except BaseException:
        connection.close()
        raise
    return connection


class ReaderPool:
    """Connections for reading, handed out one to an operation."""

    def __init__(self, path: str, *, read_only: bool, immutable: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._immutable = immutable
        self._idle: list[apsw.Connection] = []
        # Weak: a connection that an interrupt loses on its way is closed, not waited for.
        self._lent: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._changed = threading.Condition()
        self._is_held_for_fork = False
        self._pid = os.getpid()

    def take(self) -> apsw.Connection:
        """A connection that nobody else has; give it back."""
        if self._pid != os.getpid():
            raise ForkedStoreError
        with self._changed:
            while self._is_held_for_fork:
                self._changed.wait()
            connection = self._idle.pop() if self._idle else self._open()
            self._lent.add(connection)
        return connection

    def give_back(self, connection: apsw.Connection) -> None:
        """End what the connection still runs and keep it for the next."""
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        with self._changed:
            self._lent.discard(connection)
            self._idle.append(connection)
            if self._is_held_for_fork:
                self._changed.notify_all()

    def _open(self) -> apsw.Connection:
        return open_connection(
            self._path, synchronous="FULL", read_only=self._read_only, immutable=self._immutable
        )

    def hold_for_fork(self, timeout_s: float) -> bool:
        """Hand out no more, wait for those that are out, close all; False if that took too long."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._is_held_for_fork = True
            while len(self._lent):
                if not self._changed.wait(deadline - time.monotonic()):
                    return False
            self._close_idle()
        return True

    def let_go_after_fork(self) -> None:
        """Hand out again, in the process that forked."""
        with self._changed:
            self._is_held_for_fork = False
            self._changed.notify_all()

    def start_anew_in_child(self) -> None:
        """Hand out again, in a child before which all connections were closed."""
        self._changed = threading.Condition()
        self._lent = weakref.WeakSet()
        self._is_held_for_fork = False
        self._pid = os.getpid()

    def close(self) -> None:
        """Close the idle connections; those that are out close when they come back or are forgotten."""
        with self._changed:
            self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()
