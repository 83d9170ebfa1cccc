"""Group commit: threads of one process that write at the same time share a transaction and its flush.

Each change in it has its own savepoint, its own row among the commits, its own id and its own entry in the
change log, as if it had committed alone, just behind the one before. One that raises undoes itself alone.
All are acknowledged after the one COMMIT that has flushed them.

An answer must not depend on another thread's change that is then rolled back. So if anything goes wrong with
the transaction itself, no answer is given: it is rolled back, and each thread makes its change again, alone,
which raises the error where it belongs. Only an unknown outcome is not retried: it is reported to each thread
whose change is in doubt, with that change's own id. A thread that changed nothing looks again: what it saw
may be gone.

A change may run in another thread than its own. Changes do not depend on the thread, and their threads hold
no lock meanwhile; what runs code of users (the block of a transaction, the function of an update) has run it
before it comes here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import apsw

from agent_world_distfs.catalog.commit_queue import Fate, Member, Queue, members_of
from agent_world_distfs.catalog.failures import MALFORMED
from agent_world_distfs.catalog.write_side import WriteSide
from agent_world_distfs.catalog.writer import SqliteWriter
from agent_world_distfs.errors import OutcomeUnknownError, StoreBusyError, WorldError

T = TypeVar("T")


_OF_THE_TRANSACTION = (apsw.Error, OSError, MemoryError, *MALFORMED)
"""What a change may raise that says nothing about this change alone."""


class GroupCommit(WriteSide):
    """The write side for many threads. Alone, a thread goes the straight way."""

    def __init__(
        self, path: str, locks: str, *, is_flushed: bool, timeout_s: float, read_only: bool, immutable: bool
    ) -> None:
        super().__init__(
            path, locks, is_flushed=is_flushed, timeout_s=timeout_s, read_only=read_only, immutable=immutable
        )
        self._queue = Queue()

    def write(self, change: Callable[[SqliteWriter], T]) -> T:
        """See ``Catalog.write``."""
        if self._queue.head is None and self._gate.is_free:
            return super().write(change)
        member = Member(change)
        began = time.monotonic()
        try:
            try:
                self._join(member)
                if member.fate is Fate.LEADS:
                    self._write(lambda: self._lead(member), waited_s=time.monotonic() - began)
            finally:
                self._queue.forget(member)
        except BaseException:
            self._queue.forget(member)  # again: an interrupt may have hit the first
            raise
        if member.fate is Fate.IS_ALONE:
            return super().write(change)
        result: T = member.outcome()
        return result

    def _join(self, member: Member) -> None:
        self._check_writable()
        if self._gate.is_entered_here() or self._queue.is_led_here():
            raise StoreBusyError(self._timeout_s)
        try:
            self._gate.enter()
            self._queue.join(member, self._timeout_s)
        finally:
            self._gate.leave()

    def _lead(self, head: Member) -> None:
        members: list[Member] = []
        try:
            if self._gate.is_suspect():
                self._settle()
            connection = self._writer_connection(self._synchronous)
            writer = self._make_all(connection, head, members)
            if writer is not None:
                self._end(connection, writer, members)
        finally:
            for member in members:
                member.settle(Fate.IS_DONE if member.fate is Fate.IS_DONE else Fate.IS_ALONE)

    def _make_all(
        self, connection: apsw.Connection, head: Member, members: list[Member]
    ) -> SqliteWriter | None:
        """Make the changes of all that share; the last one's writer, or None if there can be no commit."""
        writer: SqliteWriter | None = None
        try:
            for member in members_of(self._queue, head):
                members.append(member)
                writer = self._make(connection, member, writer)
            self._make_room(self._synchronous)
        except apsw.IOError:
            self._gate.set_suspect(suspect=True)
            return None
        except Exception:  # noqa: BLE001  # each, alone, meets it again if it is still there, and raises it
            return None
        return writer

    def _make(self, connection: apsw.Connection, member: Member, before: SqliteWriter | None) -> SqliteWriter:
        writer = SqliteWriter(connection, self._checksums)
        try:
            if before is None:
                left, self._left = self._left, None
                writer.begin(left)
            else:
                writer.go_on(before)
            writer.set_mark()
            try:
                member.result = member.change(writer)
                member.transaction_id = writer.finish()
            except BaseException as error:
                is_for_all = not isinstance(error, WorldError) and isinstance(error, _OF_THE_TRANSACTION)
                if is_for_all or (before is None and not isinstance(error, Exception)):
                    raise
                member.error = error
                writer.go_back_to_mark()
            writer.drop_mark()
        finally:
            writer.close()
        return writer

    def _end(self, connection: apsw.Connection, writer: SqliteWriter, members: list[Member]) -> None:
        """Commit, and give each its outcome: in doubt at first, whatever happens in between."""
        changed = [member for member in members if member.transaction_id is not None]
        for member in changed:
            member.error, member.fate = OutcomeUnknownError(str(member.transaction_id)), Fate.IS_DONE
        try:
            if changed:
                self._commit(connection, str(changed[0].transaction_id))
            else:
                self._commit_nothing(connection, self._synchronous)
        except OutcomeUnknownError:
            return
        except (apsw.Error, OSError):
            for member in changed:
                member.fate = Fate.IS_ALONE
            return
        _tell_that_it_holds(members, changed)
        if changed:
            self._after_commit(writer)


def _tell_that_it_holds(members: list[Member], changed: list[Member]) -> None:
    for member in changed:
        member.error = None
    for member in members:
        member.fate = Fate.IS_DONE
