"""The writing half of the SQLite catalog: one transaction of all processes at a time, behind the gate.

A write is acknowledged after COMMIT has flushed the WAL (``synchronous=FULL``); see ``wal_side`` for what
follows where that fails.

**Why a removal is safe** (``write_then``). A writer killed inside its flush leaves commit frames in the WAL
that nobody sees, and that a recovery would bring back. The transaction that drops blob rows is appended over
such frames and flushed before the bytes are touched; from then on no recovery can bring back a state in which
something named the blob. A failed flush touches nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import apsw

from agent_world_distfs.catalog.failures import MALFORMED, translate
from agent_world_distfs.catalog.wal_side import WalSide
from agent_world_distfs.catalog.writer import SqliteWriter
from agent_world_distfs.errors import (
    CatalogError,
    ForkedStoreError,
    OutcomeUnknownError,
    StorageFullError,
    StorageReadOnlyError,
    StoreBusyError,
    WorldError,
)

T = TypeVar("T")


class WriteSide(WalSide):
    """Changes of the catalog, one transaction at a time."""

    def __init__(
        self, path: str, locks: str, *, is_flushed: bool, timeout_s: float, read_only: bool, immutable: bool
    ) -> None:
        super().__init__(path, locks, timeout_s=timeout_s, read_only=read_only, immutable=immutable)
        self._synchronous = "FULL" if is_flushed else "NORMAL"

    def write(self, change: Callable[[SqliteWriter], T]) -> T:
        """See ``Catalog.write``."""
        return self._write(lambda: self._change(change, self._synchronous))

    def write_lazily(self, change: Callable[[SqliteWriter], T]) -> T:
        """See ``Catalog.write_lazily``."""
        return self._write(lambda: self._change(change, "NORMAL"))

    def _write(self, work: Callable[[], T], waited_s: float = 0.0) -> T:
        try:
            result = self._locked(work, waited_s)
        except StorageFullError:
            self._shorten_wal()  # a second try may find room in it
            raise
        if self._wal_length.is_due():
            self._shorten_wal()
        return result

    def write_then(self, change: Callable[[SqliteWriter], T], then: Callable[[T], None]) -> T:
        """See ``Catalog.write_then``."""

        def change_then() -> T:
            result = self._change(change, "FULL")
            then(result)
            return result

        return self._locked(change_then)

    def truncate_wal(self) -> None:
        """See ``Catalog.truncate_wal``."""
        self._locked(self._truncate_wal)

    def _check_writable(self) -> None:
        self._check_usable()
        if self._read_only:
            raise StorageReadOnlyError(os.path.dirname(self._path), "the store was opened read-only")

    def _locked(self, work: Callable[[], T], waited_s: float = 0.0) -> T:
        self._check_writable()
        if self._gate.is_entered_here():  # a signal handler that writes inside a write of this very thread
            raise StoreBusyError(self._timeout_s)
        try:
            try:
                self._gate.acquire(waited_s)
                self._check_usable()
                self.require_present()
                return work()
            finally:
                self._leave()
        except CatalogError:
            self._require_same()
            raise
        except WorldError:
            raise
        except (apsw.Error, OSError, *MALFORMED) as error:
            self.require_present()  # or what is gone with the whole store would be missed in it
            raise translate(error, self._path, self._timeout_s) from error
        except BaseException:
            self._leave()  # again: an interrupt may have hit the first
            raise

    def _change(self, change: Callable[[SqliteWriter], T], synchronous: str) -> T:
        connection = self._ready_writer(synchronous)
        writer = SqliteWriter(connection, self._checksums)
        try:
            left, self._left = self._left, None
            writer.begin(left)
            result = change(writer)
            transaction_id = writer.finish()
            self._make_room(synchronous)
        except apsw.IOError:
            self._gate.set_suspect(suspect=True)
            raise
        finally:
            writer.close()
        if transaction_id is None:
            self._commit_nothing(connection, synchronous)
        else:
            self._commit(connection, transaction_id)
            self._after_commit(writer)
        return result

    def _commit_nothing(self, connection: apsw.Connection, synchronous: str) -> None:
        connection.execute("ROLLBACK")
        if synchronous == "FULL":
            self._flush_wal()

    def _after_commit(self, writer: SqliteWriter) -> None:
        self._left = writer.leave()
        assert self._database_room is not None
        self._database_room.after_commit(self._wal_length.pages)

    def _commit(self, connection: apsw.Connection, transaction_id: str) -> None:
        if self._pid != os.getpid():  # forked by a signal handler meanwhile: it is the parent's to commit
            raise ForkedStoreError
        try:
            connection.execute("COMMIT")
        except (apsw.FullError, apsw.BusyError):
            raise  # the frame that commits was not written
        except apsw.Error as error:
            self._gate.set_suspect(suspect=True)
            raise OutcomeUnknownError(transaction_id) from error

    def _leave(self) -> None:
        """Give up the write lock, if this thread has it, with nothing left open behind it."""
        if self._pid != os.getpid():
            return  # the transaction and the lock are the parent's
        if self._writer is not None and self._writer.in_transaction and self._gate.is_held_here():
            try:
                self._writer.execute("ROLLBACK")
            except apsw.Error:
                self._drop_writer()
        self._gate.release()
        if self._is_closed:  # and closing did not wait for this thread, or for long enough
            try:
                if self._gate.hold(0):
                    self._give_back(may_copy=False)
            finally:
                self._gate.let_go()
