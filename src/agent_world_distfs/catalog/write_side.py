"""The writing half of the SQLite catalog: one connection of each process, behind the gate.

A write is acknowledged after COMMIT has flushed the WAL (``synchronous=FULL``).

**When the flush fails.** A COMMIT that raised may turn out committed after a crash, and a crash may lose what
is acknowledged after it on the same WAL. So the outcome is reported as unknown, and a mark in the gate file
makes every process, before its next commit, settle the WAL: a checkpoint that flushes the database and
truncates the WAL. Whatever was not committed by then never will be. The mark is set wherever a flush of the
WAL can fail, not only in a COMMIT: a relaxed commit before it has said yes already, and the system, which has
told of the failure once, will take the next flush for a good one. So a checkpoint that fails sets it, and so
does settling itself, which also runs where nothing was in doubt before (``was_committed``). Nothing copies a
WAL that is in doubt into the database, except settling, which writes it again first. A checkpoint outside the
lock looks at the mark when its connection has the WAL open: what fails later is reported to that, too.

**Why a removal is safe** (``write_then``). A writer killed inside its flush leaves commit frames in the WAL
that nobody sees, and that a recovery would bring back. The transaction that drops blob rows is appended over
such frames and flushed before the bytes are touched; from then on no recovery can bring back a state in which
something named the blob. A failed flush touches nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import apsw

from agent_world_distfs.catalog.connections import BUSY_MS, let_copy_wal, open_connection
from agent_world_distfs.catalog.database_room import DatabaseRoom
from agent_world_distfs.catalog.extending import Extending
from agent_world_distfs.catalog.failures import MALFORMED, translate
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.read_side import ReadSide
from agent_world_distfs.catalog.wal import copy_again, opened_wal, rewrite_wal
from agent_world_distfs.catalog.wal_length import OTHERS_S, READERS_MS, WalLength
from agent_world_distfs.catalog.wal_room import WalRoom
from agent_world_distfs.catalog.writer import LeftState, SqliteWriter
from agent_world_distfs.errors import (
    CatalogError,
    ForkedStoreError,
    OutcomeUnknownError,
    StorageFullError,
    StorageReadOnlyError,
    StoreBusyError,
    UnavailableError,
    WorldError,
)
from agent_world_distfs.flushing import flush

T = TypeVar("T")

_CUT = "PRAGMA wal_checkpoint(TRUNCATE)"
_BEGIN_ANEW = "PRAGMA wal_checkpoint(RESTART)"
_LOOK = "PRAGMA wal_checkpoint(NOOP)"


class WriteSide(ReadSide):
    """Changes of the catalog, one transaction at a time."""

    def __init__(
        self, path: str, locks: str, *, is_flushed: bool, timeout_s: float, read_only: bool, immutable: bool
    ) -> None:
        super().__init__(path, timeout_s=timeout_s, read_only=read_only, immutable=immutable)
        self._synchronous = "FULL" if is_flushed else "NORMAL"
        self._gate = Gate(locks, timeout_s)
        self._extending = Extending(locks, timeout_s)
        self._writer: apsw.Connection | None = None
        self._writer_synchronous = ""
        self._database_room: DatabaseRoom | None = None  # of this writer
        self._left: LeftState | None = None  # by the last commit of this writer
        self._wal_length = WalLength(path)
        self._wal_room = WalRoom(path)

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

    def _truncate_wal(self) -> None:
        if self._gate.is_suspect():
            self._settle()
            return
        connection = self._writer_connection("FULL")
        connection.set_busy_timeout(0)  # readers are not waited for
        try:
            with self._in_doubt_if_it_fails():
                connection.execute(_CUT).fetchall()
        finally:
            connection.set_busy_timeout(BUSY_MS)

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

    def _ready_writer(self, synchronous: str) -> apsw.Connection:
        """The connection to change something with, once the WAL can be trusted, and is not too long."""
        if self._gate.is_suspect():
            self._settle()
        connection = self._writer_connection(synchronous)
        self._wal_length.learn(connection)
        if self._wal_length.is_too_long():
            self._begin_wal_anew(connection)
        return connection

    def _make_room(self, synchronous: str) -> None:
        assert self._database_room is not None
        self._database_room.before_commit()
        if synchronous == "FULL":
            self._wal_room.before_commit(self._wal_length.pages)

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

    def _flush_wal(self) -> None:
        """Make durable what a call found and had not to do: it may be a relaxed neighbour's commit."""
        with self._in_doubt_if_it_fails():
            self._flush_wal_file()

    @contextlib.contextmanager
    def _in_doubt_if_it_fails(self) -> Iterator[None]:
        """Under the gate: what flushes the WAL puts it in doubt if that fails."""
        try:
            yield
        except (apsw.IOError, OSError):
            self._gate.set_suspect(suspect=True)
            raise

    def _flush_wal_file(self) -> None:
        with contextlib.suppress(FileNotFoundError), opened_wal(self._path, os.O_RDONLY) as fd:
            flush(fd)

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

    def _give_back(self, *, may_copy: bool) -> None:
        """Close the connections, with the gate held; ``may_copy``: whether the last one copies the WAL."""
        self._readers.close(may_checkpoint=may_copy)
        if self._writer is not None and may_copy:
            let_copy_wal(self._writer)
        self._drop_writer()

    def _writer_connection(self, synchronous: str) -> apsw.Connection:
        if self._writer is None:
            writer = open_connection(self._path, synchronous=synchronous, read_only=False)
            writer.set_wal_hook(self._wal_length.hear)  # not a method of this: see the connections that read
            self._database_room = DatabaseRoom(writer, self._extending)
            self._writer_synchronous = synchronous
            self._wal_length.forget()
            self._writer = writer  # last: an interrupt before leaves none, not half of one
        if self._writer_synchronous != synchronous:
            self._writer_synchronous = ""  # or an interrupt would let a commit pass as flushed that is not
            self._writer.execute(f"PRAGMA synchronous = {synchronous}")
            self._writer_synchronous = synchronous
        return self._writer

    def _drop_writer(self) -> None:
        writer, self._writer, self._left, self._database_room = self._writer, None, None, None
        if writer is not None:
            with contextlib.suppress(apsw.Error):
                writer.close()

    def _shorten_wal(self) -> None:
        """Copy the WAL into the database. The commit before it already holds: a failure here only delays."""
        self._wal_length.note_try()
        with contextlib.suppress(apsw.Error, OSError, WorldError):
            try:
                with self._extending.if_free() as is_free:
                    if is_free:
                        self._checkpoint_wal()
            except apsw.IOError:  # perhaps a flush of the WAL: relaxed commits in it are in doubt from now on
                self._gate.set_suspect(suspect=True)

    def _checkpoint_wal(self) -> None:
        loan = self._readers.take()
        try:
            loan.connection.execute("SELECT 1 FROM store").fetchall()  # now it has the WAL open
            if not self._gate.is_marked():
                loan.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            self._readers.give_back(loan)

    def _begin_wal_anew(self, connection: apsw.Connection) -> None:
        """See ``wal_length``. Where it does not work, the change to come goes on without."""
        self._wal_length.note_in_use()
        with contextlib.suppress(apsw.FullError, apsw.BusyError, UnavailableError):
            with self._extending.alone(min(self._timeout_s / 2, OTHERS_S)), self._in_doubt_if_it_fails():
                connection.set_busy_timeout(READERS_MS)
                try:
                    result = connection.execute(_BEGIN_ANEW).fetchone()
                finally:
                    connection.set_busy_timeout(BUSY_MS)
            if result is not None and not result[0]:
                self._wal_length.note_begun_anew()

    def _settle(self) -> None:
        """Flush database and WAL and truncate the WAL; afterwards nothing in it is in doubt.

        The WAL is written again first: else a power cut in the middle could leave a half copied database
        without the WAL that completes it. So is what has been copied from it: see ``copy_again``.

        Raises:
            UnavailableError: readers keep the WAL in use, or others are copying it.
        """
        with self._extending.alone(), self._in_doubt_if_it_fails():
            rewrite_wal(self._path)
            self._drop_writer()  # it may hold what never reached the disk
            connection = self._writer_connection("FULL")
            copied: list[Any] = connection.execute(_LOOK).fetchall()
            copy_again(self._path, copied[0][2])
            result = connection.execute(_CUT).fetchone()
        if result is None or result[0]:
            raise UnavailableError("the WAL must be settled after an I/O error, but readers use it: retry")
        self._gate.set_suspect(suspect=False)
