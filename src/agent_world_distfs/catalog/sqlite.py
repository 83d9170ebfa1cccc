"""The catalog of an embedded store: SQLite in WAL mode behind a fair gate.

One process at a time writes, for the time of one short transaction (``write_side``), which its threads may
share (``group_commit``); readers never wait (``read_side``). This module has what concerns both: turns,
settled answers, closing, forks.
"""

from __future__ import annotations

import os
from typing import Protocol

from agent_world_distfs.catalog.commit_queue import Queue
from agent_world_distfs.catalog.group_commit import GroupCommit
from agent_world_distfs.catalog.turns import Turns
from agent_world_distfs.errors import StorageError, UnavailableError, WorldError
from agent_world_distfs.process_forks import no_fork_meanwhile, watch_forks
from agent_world_distfs.protocols import Turn

_FORK_WAIT_S = 10.0


class Closeable(Protocol):
    """Something to close at the end."""

    def close(self) -> None:
        """Give back what it has. Idempotent."""


class SqliteCatalog(GroupCommit):
    """A ``Catalog`` in one SQLite database, shared by the processes of one machine."""

    def __init__(
        self,
        path: str,
        locks: str,
        *,
        is_flushed: bool,
        timeout_s: float,
        read_only: bool = False,
        immutable: bool = False,
    ) -> None:
        self._turns = Turns(locks)
        self.handle: Closeable | None = None
        """What tells others that the store is open, until no connection to it is left."""
        self._is_given_back = False
        self._is_fork_prepared = False
        with no_fork_meanwhile():  # the first connection is made here, and must be closed before any fork
            super().__init__(
                path,
                locks,
                is_flushed=is_flushed,
                timeout_s=timeout_s,
                read_only=read_only,
                immutable=immutable,
            )
            watch_forks(self)

    def turn(self, name: str, *, insists: bool) -> Turn:
        """See ``Catalog.turn``."""
        self._check_writable()
        self.require_present()  # or the queue would be made in another store's directory
        return self._turns.turn(name, insists=insists)

    def was_committed(self, transaction_id: str) -> bool | None:
        """See ``Catalog.was_committed``.

        It answers no only once the WAL is empty: what a commit that failed, or was killed, has left in it
        could come back in a recovery, even if another commit has been written over it and not flushed yet.
        """

        def ask() -> bool | None:
            if self._gate.is_suspect():
                self._settle()
            if self.read(lambda tx: tx.has_committed(transaction_id)) is False:
                self._settle()
            else:
                self._flush_wal()  # a yes is for good, too
            return self.read(lambda tx: tx.has_committed(transaction_id))

        self._check_writable()  # that no repetition will help is said, too
        try:
            return self._locked(ask)
        except StorageError as error:
            raise UnavailableError(f"whether it was committed cannot be determined now: {error}") from error

    def close(self) -> None:
        """See ``Catalog.close``."""
        if self._pid != os.getpid():
            return
        self._is_closed = True
        try:
            if not self._is_given_back and self._gate.hold(self._timeout_s):  # else the thread in it does it
                self._give_back(may_copy=self._may_copy_wal())
        finally:
            self._gate.let_go()

    def _may_copy_wal(self) -> bool:
        """Flush the WAL; whether the last connection may copy it when it closes.

        SQLite does not report it if its own flush fails then. So nobody may commit any more: the lock is kept
        until the connections are closed.
        """
        if self._read_only:
            return False
        is_locked = self._gate.lock_soon()
        try:
            self.require_present()
            self._flush_wal_file()
            return is_locked and not self._gate.is_suspect()
        except WorldError:
            return False
        except OSError:
            self._gate.set_suspect(suspect=True)
            return False

    def _give_back(self, *, may_copy: bool) -> None:
        super()._give_back(may_copy=may_copy)
        if self.handle is not None:
            self.handle.close()  # last: who needs the store alone must not find a connection
        self._is_given_back = True

    def before_fork(self) -> None:
        """See ``process_forks``."""
        if self._gate.hold(_FORK_WAIT_S) and self._readers.hold_for_fork(_FORK_WAIT_S):
            self._drop_writer()
            self._is_fork_prepared = True

    def after_fork_in_parent(self) -> None:
        """See ``process_forks``."""
        self._is_fork_prepared = False
        self._readers.let_go_after_fork()
        self._gate.let_go()

    def after_fork_in_child(self) -> None:
        """See ``process_forks``."""
        self._gate.start_anew_in_child()
        self._queue = Queue()
        self._turns.start_anew_in_child()
        if self._is_fork_prepared:
            self._readers.start_anew_in_child()
            self._pid = os.getpid()
        self._is_fork_prepared = False
