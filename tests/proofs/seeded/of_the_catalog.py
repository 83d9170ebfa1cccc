"""Bugs of the catalog, of collections and of replacing the index."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import apsw
import seeded_races

from agent_world_distfs import lock_descriptors
from agent_world_distfs.catalog import connections, lock_files, lookup, reader
from agent_world_distfs.catalog.checksums import Checksums
from agent_world_distfs.catalog.commit_queue import Group
from agent_world_distfs.catalog.extending import Extending
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.group_commit import GroupCommit
from agent_world_distfs.catalog.pool import ReaderPool
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.catalog.wal import opened_wal
from agent_world_distfs.catalog.wal_length import WalLength
from agent_world_distfs.catalog.wal_room import WalRoom
from agent_world_distfs.catalog.writer import SqliteWriter
from agent_world_distfs.engine import leases, orphans
from agent_world_distfs.engine.intake import Intake
from agent_world_distfs.errors import StorageIOError
from agent_world_distfs.lock_descriptors import LockDescriptor
from agent_world_distfs.operations import files, manifest
from agent_world_distfs.operations.transactions.inputs import Inputs
from agent_world_distfs.protocols import CatalogReader
from agent_world_distfs.records import FileMetadata
from seeded.patching import replace

# --- writing ----------------------------------------------------------------------------------


def check_no_condition() -> None:
    """Whatever the path holds will do."""
    replace(files, "check_expected", lambda path, expected, actual: None)


def let_time_go_back() -> None:
    """A path gets the time of the clock, whatever it had."""
    replaced = replace(SqliteWriter, "set_file", None)

    def set_file(self: SqliteWriter, path: str, blob: Any, now_ms: int) -> FileMetadata:
        self.remove_file(path)
        written: FileMetadata = replaced(self, path, blob, now_ms)
        return written

    replace(SqliteWriter, "set_file", set_file)


def leave_a_transaction_open() -> None:
    """Whoever is interrupted in a transaction leaves it as it is."""
    replace(SqliteCatalog, "_leave", lambda self: self._gate.release())


def forget_that_the_log_is_in_doubt() -> None:
    """After an error of the log everybody goes on as before."""
    replace(Gate, "set_suspect", lambda self, *, suspect: None)


def forget_an_error_while_the_log_is_cut() -> None:
    """What is not a commit flushes the log, fails, and says so to its caller only."""
    replace(SqliteCatalog, "_in_doubt_if_it_fails", lambda self: contextlib.nullcontext())


def copy_a_log_in_doubt() -> None:
    """A checkpoint outside the lock does not look at the mark."""
    replace(Gate, "is_marked", lambda self: False)


def copy_nothing_again() -> None:
    """Settling leaves to a checkpoint what one has copied already."""
    from agent_world_distfs.catalog import wal_side

    replace(wal_side, "copy_again", lambda catalog, frames: None)


def settle_what_is_lost() -> None:
    """Settling copies what can be read of the log, whether or not it is what was written."""
    from agent_world_distfs.catalog import wal_side

    replace(wal_side, "require_whole", lambda catalog, frames: None)


def take_an_index_in_any_order() -> None:
    """All entries of an index are there; whether a search finds them is not asked."""
    from agent_world_distfs.catalog.reader import SqliteReader

    def sum_of_index(self: SqliteReader, sql: str) -> int:
        return sum(hash(content_hash) * blob_id for content_hash, blob_id in self._execute(sql))

    replace(SqliteReader, "_sum_of_index", sum_of_index)


def take_the_row_that_a_search_ends_at() -> None:
    """Whose row it is, is not looked at."""
    from agent_world_distfs.catalog.reader import SqliteReader

    def row_by_hash(self: SqliteReader, sql: str, content_hash: str) -> Any:
        return self._row(sql, bytes.fromhex(content_hash))

    replace(SqliteReader, "_row_by_hash", row_by_hash)


def report_an_unknown_outcome_as_none() -> None:
    """A commit that raised is told as one that did not happen."""

    def commit(self: SqliteCatalog, connection: apsw.Connection, transaction_id: str) -> None:
        try:
            connection.execute("COMMIT")
        except apsw.Error as error:
            self._gate.set_suspect(suspect=True)
            raise StorageIOError(self._path, "it was not written") from error

    replace(SqliteCatalog, "_commit", commit)


def trust_a_rotten_row() -> None:
    """Small bytes that are there already are not compared with those that came."""
    from agent_world_distfs.engine import intake

    def settle_inline(tx: Any, content_hash: str, data: bytes) -> Any:
        return tx.find_blob(content_hash) or tx.add_blob(content_hash, len(data), data)

    replace(intake, "settle_inline", settle_inline)


def tell_before_the_commit() -> None:
    """Who shares a commit is told as soon as its change is made."""

    def end(self: GroupCommit, connection: apsw.Connection, writer: SqliteWriter, group: Group) -> None:
        members = list(group.members)
        for member in members[1:]:
            member.has_outcome = True
        group.end()
        time.sleep(0.1)  # they read it
        group.members += members
        honest(self, connection, writer, group)

    honest = replace(GroupCommit, "_end", end)


def note_success_before_the_commit() -> None:
    """All of a group are noted as done before its commit: a head that is struck meanwhile has told so."""

    def end(self: GroupCommit, connection: apsw.Connection, writer: SqliteWriter, group: Group) -> None:
        for member in group.members:
            member.has_outcome = True
        honest(self, connection, writer, group)

    honest = replace(GroupCommit, "_end", end)


def keep_what_a_conflict_left_in_a_group() -> None:
    """A change that fails among others takes back nothing of what it did."""
    replace(SqliteWriter, "go_back_to_mark", lambda self: None)


def remember_what_was_undone() -> None:
    """A transaction keeps the number that it was compared at in a group, whatever becomes of the group."""
    check = Inputs.check

    def remember(self: Inputs, tx: CatalogReader) -> int:
        self._sequence = check(self, tx)
        return self._sequence

    replace(Inputs, "check", remember)


def write_the_room_of_the_log_over_it() -> None:
    """The zeros ahead of the commits are put where the log was thought to end."""

    def before_commit(self: WalRoom, wal_pages: int) -> None:
        with contextlib.suppress(FileNotFoundError), opened_wal(self._catalog, os.O_WRONLY) as fd:
            os.pwrite(fd, bytes(1 << 16), 32 + wal_pages * 4120)

    replace(WalRoom, "before_commit", before_commit)


def let_the_log_grow() -> None:
    """Nobody but those who commit beside others copies the log, and they never come to its end."""
    replace(WalLength, "is_too_long", lambda self: False)


def make_room_beside_a_checkpoint() -> None:
    """Nothing keeps the two apart."""

    @contextlib.contextmanager
    def whenever(_: Extending) -> Iterator[bool]:
        yield True

    replace(Extending, "alone", whenever)
    replace(Extending, "if_free", whenever)


def fork_with_connections() -> None:
    """Connections stay open over a fork, which nobody notices: the child goes on with those of its parent."""

    def before_fork(self: SqliteCatalog) -> None:
        self._is_fork_prepared = self._gate.hold(10)
        self._readers._may_lend = False

    replace(SqliteCatalog, "before_fork", before_fork)
    replace(connections, "_is_open", lambda _: False)


def count_the_idle_at_a_fork() -> None:
    """Connections are closed once as many are idle as there are; a reader may take one just then."""

    def hold_for_fork(self: ReaderPool, timeout_s: float) -> bool:
        self._may_lend = False
        while len(self._all) > len(self._idle):
            time.sleep(0.0005)
        self._close_idle()
        return True

    replace(ReaderPool, "hold_for_fork", hold_for_fork)


def overlook_forks_while_opening() -> None:
    """A fork between the opening of a lock file and its becoming known is not noticed."""

    def try_open(path: str, flags: int, mode: int = 0o666) -> LockDescriptor:
        descriptor = LockDescriptor(os.open(path, flags | os.O_CLOEXEC, mode))
        lock_descriptors._known.add(descriptor)
        return descriptor

    try_open.__code__ = try_open.__code__.replace(co_filename=lock_descriptors.__file__)  # or no test steps
    replace(lock_files, "try_open", try_open)


def close_without_unlocking() -> None:
    """A lock is let go by closing its descriptor, of which a child may have a copy."""

    def close(self: LockDescriptor) -> None:
        number, self.number = self.number, -1
        lock_descriptors._known.discard(self)
        if number >= 0:
            os.close(number)

    close.__code__ = close.__code__.replace(co_filename=lock_descriptors.__file__)
    replace(LockDescriptor, "close", close)


# --- sums -------------------------------------------------------------------------------------


def _deaf(name: str) -> Callable[[], None]:
    """Let a method of the writer change rows, and not the digest that its class keeps of them."""

    def bug() -> None:
        def method(self: SqliteWriter, *values: Any) -> Any:
            kept = self._state.digest, self._state.pin_digest
            result = honest(self, *values)
            self._state.digest, self._state.pin_digest = kept
            return result

        honest = replace(SqliteWriter, name, method)

    return bug


forget_the_digest_of_what_is_deleted = _deaf("remove_file")
forget_the_digest_of_pins = _deaf("add_pin")


def compare_no_checksum() -> None:
    """An entry is believed whatever its checksum says."""

    def checked(_: Checksums, path: str, row: tuple[Any, ...]) -> FileMetadata:
        return FileMetadata(path, row[3].hex(), row[4], row[1])

    for user in (lookup, reader):
        replace(user, "check_entry", checked)


# --- collections ------------------------------------------------------------------------------


def take_without_checking_again() -> None:
    """A collection believes under the lock what it found without it, and the database lets it."""

    class WithoutKeys(apsw.Connection):
        def execute(self, statements: str, *values: Any, **options: Any) -> Any:
            return super().execute(
                statements.replace("foreign_keys = ON", "foreign_keys = OFF"), *values, **options
            )

    replace(apsw, "Connection", WithoutKeys)
    seeded_races.take_without_checking_again()


def commit_nothing_for_a_file_without_a_row() -> None:
    """A batch that drops no row commits nothing, before it takes files away."""
    replace(SqliteWriter, "mark_epoch", lambda self: None)


def take_all_leases_for_dead() -> None:
    """What only a lease keeps is not kept."""
    for module in (leases, orphans):
        replace(module, "dead_leases", lambda catalog, files: catalog.read(lambda tx: tx.leases()))


def take_what_is_in_flight() -> None:
    """What a living process has just brought is taken for a stray file."""
    replace(orphans, "is_stray", lambda row, form, in_flight: row is None and form.is_regular)


def believe_a_damaged_catalog() -> None:
    """What a damaged catalog does not name is taken."""

    def confirmed(catalog: Any, found: list[Any], dead: frozenset[str]) -> list[Any]:
        return found

    replace(orphans, "_confirmed", confirmed)


# --- the index --------------------------------------------------------------------------------


def import_in_two_commits() -> None:
    """The old index goes in one commit, the new one comes in another."""
    honest = replace(manifest, "replace_index", None)

    def replace_index(catalog: Any, *arguments: Any) -> Any:
        def clear(tx: SqliteWriter) -> None:
            for file in list(tx.iter_files()):
                tx.remove_file(file.path)

        catalog.write(clear)
        return honest(catalog, *arguments)

    replace(manifest, "replace_index", replace_index)


def name_what_is_not_there() -> None:
    """A row is enough to name a blob; whether its file is there is not looked at."""
    from agent_world_distfs.engine import reading

    replace(reading, "_has_bytes", lambda files, row: True)


def store_before_hashing_a_stream() -> None:
    """A stream that is not what was announced is stored all the same."""
    from agent_world_distfs.engine import intake

    assert hasattr(Intake, "store_stream")
    replace(intake, "require_hash", lambda expected, actual: None)
