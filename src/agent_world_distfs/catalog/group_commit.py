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

**Whatever strikes the head**, an interrupt or want of memory, at any line: each change is noted as in doubt
before the COMMIT, and as one that holds only after it. The head ends its group on every way out. What has no
outcome by then, be it the head's own, was not committed: nobody is told that it was, and it is made alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import apsw

from agent_world_distfs.catalog.commit_queue import Group, Member, Queue, members_of
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
        if not self._queue.line and self._gate.is_free:
            return super().write(change)
        self._check_writable()
        if self._gate.is_entered_here() or self._queue.is_led_here():
            raise StoreBusyError(self._timeout_s)
        member, group = Member(change), Group()
        try:
            try:
                self._share(member, group)
            finally:
                self._go_out(member, group)
        except BaseException:
            self._go_out(member, group)  # again: an interrupt may have hit the first
            raise
        if not member.has_outcome:
            return super().write(change)
        result: T = member.outcome()
        return result

    def _share(self, member: Member, group: Group) -> None:
        """Lead ``group``, or wait until another that has ``member`` is over."""
        began = time.monotonic()
        self._gate.enter()
        leads = self._queue.join(member, group, self._timeout_s)
        self._gate.leave()
        if leads:
            self._write(lambda: self._lead(member, group), waited_s=time.monotonic() - began)

    def _go_out(self, member: Member, group: Group) -> None:
        """In this order: who waits in the line must find the group over when the head is gone from it."""
        self._gate.leave()
        group.end()
        self._queue.forget(member)

    def _lead(self, head: Member, group: Group) -> None:
        try:
            connection = self._ready_writer(self._synchronous)
            writer = self._make_all(connection, head, group)
            if writer is not None:
                self._end(connection, writer, group)
        finally:
            group.end()

    def _make_all(self, connection: apsw.Connection, head: Member, group: Group) -> SqliteWriter | None:
        """Make the changes of all that share; the last one's writer, or None if there can be no commit."""
        writer: SqliteWriter | None = None
        try:
            for member in members_of(self._queue, head, group):
                group.members.append(member)
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
                member.error, member.transaction_id = error, None
                writer.go_back_to_mark()
            writer.drop_mark()
        finally:
            writer.close()
        return writer

    def _end(self, connection: apsw.Connection, writer: SqliteWriter, group: Group) -> None:
        """Commit, and give each its outcome: in doubt at first, whatever happens in between."""
        changed = [member for member in group.members if member.transaction_id is not None]
        for member in changed:
            member.error = OutcomeUnknownError(str(member.transaction_id))
            member.has_outcome = True
        try:
            if changed:
                self._commit(connection, str(changed[0].transaction_id))
            else:
                self._commit_nothing(connection, self._synchronous)
        except OutcomeUnknownError:
            return
        except (apsw.Error, OSError):
            for member in changed:
                member.has_outcome = False
            return
        _tell_that_it_holds(group.members, changed)
        if changed:
            self._after_commit(writer)


def _tell_that_it_holds(members: list[Member], changed: list[Member]) -> None:
    for member in changed:
        member.error = None
    for member in members:
        member.has_outcome = True
