"""The connection that writes, and the WAL that it appends to: kept short, and settled where it is in doubt.

All but ``_shorten_wal`` is for who has the gate.

**When a flush fails.** A COMMIT that raised may turn out committed after a crash, and a crash may lose what
is acknowledged after it on the same WAL. So the outcome is reported as unknown, and a mark in the gate file
makes every process, before its next commit, settle the WAL: what it holds is written and copied again, both
are flushed, and it is truncated. Whatever was not committed by then never will be. The mark is set wherever a
flush of the WAL can fail, not only in a COMMIT: a relaxed commit before it has said yes already, and the
system, which has told of the failure once, will take the next flush for a good one. So a checkpoint that
fails sets it, and so does settling itself, which also runs where nothing was in doubt before
(``was_committed``). Nothing copies a WAL that is in doubt into the database, except settling, which writes it
again first. A checkpoint outside the lock looks at the mark when its connection has the WAL open: what fails
later is reported to that, too.

**When pages are lost.** If the system has already evicted a page that it took for clean, the WAL has again
what the disk had there, and SQLite would copy that: it checks the frames only in a recovery. So settling
looks first whether the WAL is whole (``wal_chain``). If not, it is refused, and so is every commit, until all
have closed the store; the mark stays, so that none of them copies the WAL. The next to open it recovers the
commits before the first page that is lost, among them all that were flushed, and settles these.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import apsw

from agent_world_distfs.catalog.connections import BUSY_MS, let_copy_wal, open_connection
from agent_world_distfs.catalog.database_room import DatabaseRoom
from agent_world_distfs.catalog.extending import Extending
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.read_side import ReadSide
from agent_world_distfs.catalog.wal import copy_again, opened_wal, rewrite_wal
from agent_world_distfs.catalog.wal_chain import LOSS, require_whole
from agent_world_distfs.catalog.wal_length import OTHERS_S, READERS_MS, WalLength
from agent_world_distfs.catalog.wal_room import WalRoom
from agent_world_distfs.catalog.writer import LeftState
from agent_world_distfs.errors import CatalogError, UnavailableError, WorldError
from agent_world_distfs.flushing import flush

_CUT = "PRAGMA wal_checkpoint(TRUNCATE)"
_BEGIN_ANEW = "PRAGMA wal_checkpoint(RESTART)"
_LOOK = "PRAGMA wal_checkpoint(NOOP)"


class WalSide(ReadSide):
    """The writing connection of a process."""

    def __init__(self, path: str, locks: str, *, timeout_s: float, read_only: bool, immutable: bool) -> None:
        super().__init__(path, timeout_s=timeout_s, read_only=read_only, immutable=immutable)
        self._gate = Gate(locks, timeout_s)
        self._extending = Extending(locks, timeout_s)
        self._writer: apsw.Connection | None = None
        self._writer_synchronous = ""
        self._database_room: DatabaseRoom | None = None  # of this writer
        self._left: LeftState | None = None  # by the last commit of this writer
        self._wal_length = WalLength(path)
        self._wal_room = WalRoom(path)

    def _ready_writer(self, synchronous: str) -> apsw.Connection:
        """The connection to change something with, once the WAL can be trusted, and is not too long."""
        if self._gate.is_suspect():
            self._settle()
        connection = self._writer_connection(synchronous)
        self._wal_length.learn(connection)
        if self._wal_length.is_too_long():
            self._begin_wal_anew(connection)
        return connection

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

    def _give_back(self, *, may_copy: bool) -> None:
        """Close the connections, with the gate held; ``may_copy``: whether the last one copies the WAL."""
        self._readers.close(may_checkpoint=may_copy)
        if self._writer is not None and may_copy:
            let_copy_wal(self._writer)
        self._drop_writer()

    def _make_room(self, synchronous: str) -> None:
        assert self._database_room is not None
        self._database_room.before_commit()
        if synchronous == "FULL":
            self._wal_room.before_commit(self._wal_length.pages)

    # --- the WAL ---------------------------------------------------------------------------------

    def _flush_wal(self) -> None:
        """Make durable what a call found and had not to do: it may be a relaxed neighbour's commit."""
        with self._in_doubt_if_it_fails():
            self._flush_wal_file()

    def _flush_wal_file(self) -> None:
        with contextlib.suppress(FileNotFoundError), opened_wal(self._path, os.O_RDONLY) as fd:
            flush(fd)

    @contextlib.contextmanager
    def _in_doubt_if_it_fails(self) -> Iterator[None]:
        """What flushes the WAL puts it in doubt if that fails: relaxed commits in it, at least."""
        try:
            yield
        except (apsw.IOError, OSError, CatalogError):
            self._gate.set_suspect(suspect=True)
            raise

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

    def _shorten_wal(self) -> None:
        """Copy the WAL into the database. The commit before it already holds: a failure here only delays."""
        self._wal_length.note_try()
        with (
            contextlib.suppress(apsw.Error, OSError, WorldError),
            self._extending.if_free() as is_free,
            self._in_doubt_if_it_fails(),
        ):
            if is_free:
                self._checkpoint_wal()

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
        without the WAL that completes it. So is what has been copied from it: see ``copy_again``. What can be
        read of the WAL may be not what was written: nothing is copied before that is known.

        Raises:
            CatalogError: part of the WAL is lost.
            UnavailableError: readers keep the WAL in use, or others are copying it.
        """
        with self._extending.alone(), self._in_doubt_if_it_fails():
            rewrite_wal(self._path)
            self._drop_writer()  # it may hold what never reached the disk
            try:
                connection = self._writer_connection("FULL")
                looked: list[Any] = connection.execute(_LOOK).fetchall()
            except (apsw.NotADBError, apsw.CorruptError) as error:  # it has read a page that is lost
                raise CatalogError(LOSS) from error
            _, frames, copied = looked[0]
            require_whole(self._path, frames)
            copy_again(self._path, copied)
            result = connection.execute(_CUT).fetchone()
            self._drop_writer()  # it may have read a page before it was put back
        if result is None or result[0]:
            raise UnavailableError("the WAL must be settled after an I/O error, but readers use it: retry")
        self._gate.set_suspect(suspect=False)
