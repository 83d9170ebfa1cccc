"""The connections that read: each operation has one to itself.

All of them are closed before a fork (see ``process_forks``); a reader that needs one meanwhile waits.

**Why none is open at the fork.** Whoever takes a connection first makes it out (off the idle ones, or a new
one among all), then looks whether a fork is held for, and only then opens it. Whoever holds for a fork first
says so, then takes the idle ones, closes them and keeps them, until all that are known are among those that
it has kept. One that it keeps nobody else has. One that it does not know has been made known after it looked,
so that its taker looks later still, sees the hold and puts it back unopened. Counting what is idle would not
do: between the count and the closing a reader may take the last one, to put it back open when it sees the
hold; and one that came idle between two counts may stand for one that is out.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import weakref
from collections.abc import Callable

import apsw

from agent_world_distfs.catalog.connections import let_copy_wal, open_connection
from agent_world_distfs.catalog.lookup import Lookup
from agent_world_distfs.errors import ForkedStoreError
from agent_world_distfs.presence import not_present

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

    Without a lock, so that an interrupt cannot leave one locked. What is not idle is out. All are referenced
    weakly: one that an interrupt lost is not waited for.
    """

    def __init__(
        self,
        path: str,
        *,
        read_only: bool,
        immutable: bool,
        require_present: Callable[[], None] = lambda: None,
    ) -> None:
        """``require_present`` raises if by now another file, or none, is at ``path``."""
        self._path = path
        self._require_present = require_present
        self._read_only = read_only
        self._immutable = immutable
        self.key: bytes | None = None
        """What the store's checksums are made with, once that is known."""
        self._is_doubtful = False  # whether another store may have come to the same file meanwhile
        self._all: weakref.WeakValueDictionary[int, Loan] = weakref.WeakValueDictionary()
        self._numbers = itertools.count()
        self._idle: list[Loan] = []
        self._is_closed = False
        self._may_lend = True  # not an Event: an interrupt inside of one can leave its lock taken
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
                self._all[next(self._numbers)] = loan
            if self._may_lend:
                break
            self._idle.append(loan)
            while not self._may_lend:
                time.sleep(_POLL_S)
        if not loan.is_open:
            self._open(loan)
        return loan

    def _open(self, loan: Loan) -> None:
        loan.connection = open_connection(
            self._path, synchronous="FULL", read_only=self._read_only, immutable=self._immutable
        )
        try:
            self._require_present()  # or it would answer from the store that has come there
            if self._is_doubtful and self.key is not None:
                self._require_same(loan.connection)
                self._is_doubtful = False  # until the next fork a connection keeps the file
        except BaseException:
            loan.connection.close()
            raise
        loan.lookup = Lookup(loan.connection)
        loan.is_open = True

    def _require_same(self, connection: apsw.Connection) -> None:
        if connection.execute("SELECT checksum_key FROM store").fetchone() != (self.key,):
            raise not_present(self._path)

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
        self._may_lend = False
        kept: list[Loan] = []
        try:
            while not self._has_kept_all(kept):
                if time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_S)
        finally:
            self._idle.extend(kept)
        return True

    def _has_kept_all(self, kept: list[Loan]) -> bool:
        """Take what is idle to what is kept, closed; whether that is all there is."""
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread's
                kept.append(self._idle.pop())
                _close(kept[-1])
        known = (reference() for reference in self._all.valuerefs())  # a copy: others make and forget some
        return all(loan is None or loan in kept for loan in known)

    def let_go_after_fork(self) -> None:
        """Hand out again, in the process that forked."""
        self._is_doubtful = True
        self._may_lend = True

    def start_anew_in_child(self) -> None:
        """Hand out again, in a child before which all connections were closed."""
        self._all = weakref.WeakValueDictionary()
        self._idle = []
        self._is_doubtful = True
        self._may_lend = True
        self._pid = os.getpid()

    def close(self, *, may_checkpoint: bool) -> None:
        """Close the idle connections; those that are out close when they come back or are forgotten.

        ``may_checkpoint``: whether one of the idle, if it is the very last connection, may copy the WAL into
        the database. One that is out may not: the flush that allows it may be long ago then.
        """
        self._is_closed = True
        if may_checkpoint:
            for loan in self._idle:
                if loan.is_open:
                    let_copy_wal(loan.connection)
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread's
                _close(self._idle.pop())


def _close(loan: Loan) -> None:
    if loan.is_open:
        loan.is_open = False
        loan.connection.close()
