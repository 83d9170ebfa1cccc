"""The catalog of an embedded store: SQLite in WAL mode behind a fair gate.

One process at a time writes, for the time of one short transaction (``write_side``), which its threads may
share (``group_commit``); readers never wait (``read_side``). This module has what concerns both: turns,
settled answers, closing, forks.
"""

from __future__ import annotations

import contextlib
import os

from agent_world_distfs.catalog.commit_queue import Queue
from agent_world_distfs.catalog.connections import let_copy_wal
from agent_world_distfs.catalog.group_commit import GroupCommit
from agent_world_distfs.catalog.turns import Turns
from agent_world_distfs.errors import (
    StorageError,
    UnavailableError,
)
from agent_world_distfs.process_forks import watch_forks
from agent_world_distfs.protocols import Turn

_FORK_WAIT_S = 10.0


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
        super().__init__(
            path,
            locks,
            is_flushed=is_flushed,
            timeout_s=timeout_s,
            read_only=read_only,
            immutable=immutable,
        )
        self._turns = Turns(locks)
        self.handle: object = None
        """What tells others that the store is open: it lives as long as this."""
        self._is_held_for_fork = False
        self._is_fork_prepared = False
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

        try:
            return self._locked(ask)
        except StorageError as error:
            raise UnavailableError(f"whether it was committed cannot be determined now: {error}") from error

    def close(self) -> None:
        """See ``Catalog.close``."""
        if self._is_closed or self._pid != os.getpid():
            return
        may_copy = not self._read_only and self._has_flushed_wal()
        self._is_closed = True
        if self._gate.hold(self._timeout_s):
            self._readers.close(may_checkpoint=may_copy)
            if self._writer is not None and may_copy:
                let_copy_wal(self._writer)
            self._drop_writer()
            self._gate.let_go()

    def _has_flushed_wal(self) -> bool:
        """Before closing: the last connection copies the WAL, and does not report it if its flush fails."""
        try:
            self._flush_wal_file()
        except OSError:
            with contextlib.suppress(OSError):
                self._gate.set_suspect(suspect=True)
            return False
        return True

    def before_fork(self) -> None:
        """See ``process_forks``."""
        self._is_held_for_fork = self._gate.hold(_FORK_WAIT_S)
        if self._is_held_for_fork and self._readers.hold_for_fork(_FORK_WAIT_S):
            self._drop_writer()
            self._is_fork_prepared = True

    def after_fork_in_parent(self) -> None:
        """See ``process_forks``."""
        self._is_fork_prepared = False
        self._readers.let_go_after_fork()
        if self._is_held_for_fork:
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
