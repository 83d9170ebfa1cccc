"""The connections that read: each operation has one to itself.

All of them are closed before a fork (see ``process_forks``); a reader that needs one meanwhile waits.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref

import apsw

from agent_world_distfs.catalog.connections import keep_wal, open_connection
from agent_world_distfs.catalog.lookup import Lookup
from agent_world_distfs.errors import ForkedStoreError

_POLL_S = 0.0005


class Loan:
    """A connection: idle, or in use by one operation."""

    __slots__ = ("__weakref__", "connection", "is_open", "lookup")

    connection: apsw.Connection
    lookup: Lookup

    def __init__(self) -> None:
        self.is_open = False


class ReaderPool:
    """Connections for reading, handed out one to an operation.

    Without a lock, so that an interrupt cannot leave one locked. What is not idle is out. A thread that takes
    a connection first marks it out, then checks whether a fork is pending; a thread that forks first
    announces it, then checks what is out: one of the two sees the other. All are referenced weakly: one that
    an interrupt lost is not waited for.
    """

    def __init__(self, path: str, *, read_only: bool, immutable: bool) -> None:
        self._path = path
        self._read_only = read_only
        self._immutable = immutable
        self._all: weakref.WeakSet[Loan] = weakref.WeakSet()
        self._idle: list[Loan] = []
        self._is_closed = False
        self._may_lend = threading.Event()
        self._may_lend.set()
        self._pid = os.getpid()

    def take(self) -> Loan:
        """A connection that nobody else has; give it back."""
        if self._pid != os.getpid():
            raise ForkedStoreError
        while True:
            try:
                loan = self._idle.pop()
            except IndexError:
                loan = Loan()
                self._all.add(loan)
            if self._may_lend.is_set():
                break
            self._idle.append(loan)
            self._may_lend.wait()
        if not loan.is_open:
            self._open(loan)
        return loan

    def _open(self, loan: Loan) -> None:
        loan.connection = open_connection(
            self._path, synchronous="FULL", read_only=self._read_only, immutable=self._immutable
        )
        loan.lookup = Lookup(loan.connection)
        loan.is_open = True

    def give_back(self, loan: Loan) -> None:
        """End what the connection still runs and keep it for the next."""
        if loan.connection.in_transaction:
            loan.connection.execute("ROLLBACK")
        self._idle.append(loan)
        if self._is_closed:
            self._close_idle()

    def hold_for_fork(self, timeout_s: float) -> bool:
        """Hand out no more, wait for those that are out, close all; False if that took too long."""
        deadline = time.monotonic() + timeout_s
        self._may_lend.clear()
        while len(self._all) > len(self._idle):
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
        self._all = weakref.WeakSet()
        self._idle = []
        self._may_lend = threading.Event()
        self._may_lend.set()
        self._pid = os.getpid()

    def close(self, *, may_checkpoint: bool) -> None:
        """Close the idle connections; those that are out close when they come back or are forgotten.

        ``may_checkpoint``: whether the very last connection may copy the WAL into the database.
        """
        self._is_closed = True
        if not may_checkpoint:
            for loan in self._idle:
                if loan.is_open:
                    keep_wal(loan.connection)
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread's
                loan = self._idle.pop()
                if loan.is_open:
                    loan.connection.close()
