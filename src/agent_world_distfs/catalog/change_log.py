"""The change log in the SQLite catalog: what each transaction did, read and written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import apsw

from agent_world_distfs.catalog.change_format import ChangeLog, check_changes, decode_changes
from agent_world_distfs.catalog.checksums import Checksums
from agent_world_distfs.catalog.commits import (
    BLANK_DEEDS,
    IMPORT,
    KEPT_COMMITS,
    KEPT_PARTS,
    NO_DEED,
    SELECT_DEEDS,
    SELECT_IMPORTS,
    Commit,
    Deed,
    transaction_id,
)
from agent_world_distfs.catalog.read_transaction import ReadTransaction
from agent_world_distfs.clock import now_ms
from agent_world_distfs.errors import CatalogError
from agent_world_distfs.protocols import LoggedTransaction, LogState, PathChange

_ADD_PART = "INSERT INTO changes VALUES (?, ?, ?, ?)"
_COUNT_PARTS = "SELECT count(*) FROM changes"


def setting_damage(name: str) -> str:
    """The sentence for a setting whose row is damaged."""
    return f"the setting {name!r} contradicts its checksum, or is not found"


class LogReader(ReadTransaction):
    """The part of a ``CatalogReader`` that reads the change log."""

    def log_state(self) -> LogState:
        commit = self.last_commit()
        return LogState(commit.sequence, commit.log_floor, commit.history_from)

    def iter_transactions(self, after: int, up_to: int) -> Iterator[LoggedTransaction]:
        for row in self._deeds(after, up_to):
            deed, sequence, nonce = self._checked_deed(row), row[0], row[1]
            yield LoggedTransaction(
                sequence=sequence,
                transaction_id=transaction_id(sequence, nonce),
                at_ms=deed.at_ms,
                actor=deed.actor,
                message=deed.message,
                session=deed.session,
                imported=deed.imported,
                replaced=deed.replaced,
                changes=self._iter_changes(sequence, deed.changes),
            )

    def _deeds(self, after: int, up_to: int) -> Iterator[tuple[Any, ...]]:
        """Ascending, or who goes on behind one that is out of order would miss others."""
        for row in self._execute(SELECT_DEEDS, (after, up_to)):
            if row[0] <= after:
                raise CatalogError("the transactions in the log are out of order")
            after = row[0]
            yield row

    def _checked_deed(self, row: tuple[Any, ...]) -> Deed:
        deed = Deed(*row[2:-2])
        if deed.checksum(self._checksums, row[0], row[-1]) != row[-2]:
            raise CatalogError(f"what transaction {row[0]} did contradicts its checksum")
        return deed

    def _iter_changes(self, sequence: int, first: bytes) -> Iterator[PathChange]:
        for part in self._iter_parts(sequence, first):
            yield from decode_changes(part)

    def _iter_parts(self, sequence: int, first: bytes) -> Iterator[bytes]:
        yield first
        sql = "SELECT part, changes, checksum FROM changes WHERE sequence = ? ORDER BY part"
        for part, changes, checksum in self._execute(sql, (sequence,)):
            if self._checksums.part(sequence, part, changes) != checksum:
                raise CatalogError(f"what transaction {sequence} changed contradicts its checksum")
            yield changes

    def kept_manifests(self) -> list[str]:
        state = self.log_state()
        if state.history_from is None:
            return []
        rows = self._execute(SELECT_IMPORTS, (state.kept_after, state.last))
        deeds = map(self._checked_deed, rows)
        return list(dict.fromkeys(ref for deed in deeds for ref in (deed.imported, deed.replaced) if ref))

    def setting(self, name: str) -> str | None:
        row = self._row("SELECT value, checksum FROM settings WHERE name = ?", name)
        if row is None:
            return None
        value, checksum = row
        if self._checksums.setting(name, value) != checksum:
            raise CatalogError(setting_damage(name))
        return str(value)

    def damaged_settings(self) -> list[str]:
        rows = self._all_settings()
        return [name for name, _, _, is_right in rows if not (is_right and self._is_setting_found(name))]

    def _is_setting_found(self, name: str) -> bool:
        """Where rows are out of order, a right one may not be."""
        row = self._row("SELECT name FROM settings WHERE name = ?", name)
        return row is not None and row[0] == name

    def _all_settings(self) -> list[tuple[str, str, bytes, bool]]:
        """The rows, and whether each is right; a damaged one may hold what is no text."""
        sql, found = "SELECT CAST(name AS BLOB), CAST(value AS BLOB), checksum FROM settings", []
        for row in self._execute(sql):
            name, value = ((raw or b"").decode(errors="backslashreplace") for raw in row[:2])
            found.append((name, value, row[2], self._checksums.setting(name, value) == row[2]))
        return found

    def _find_setting_damage(self) -> Iterator[str]:
        yield from map(setting_damage, self.damaged_settings())

    def _find_log_damage(self) -> Iterator[str]:
        state = self.log_state()
        count = self._scalar("SELECT count(*) FROM commits WHERE sequence > ?", state.floor)
        if count != state.last - state.floor:
            yield f"of {state.last - state.floor} transactions in the log {count} are there"
        try:
            for row in self._deeds(state.floor, state.last):
                for part in self._iter_parts(row[0], self._checked_deed(row).changes):
                    check_changes(part)
        except CatalogError as error:
            yield error.reason

    def has_committed(self, transaction_id: str) -> bool | None:
        number, _, nonce = transaction_id.partition("-")
        sequence = int(number)
        found = self._row("SELECT nonce FROM commits WHERE sequence = ?", sequence)
        if found is not None:
            return bool(found[0].hex() == nonce)
        return None if sequence <= self.last_commit().sequence else False


class LogWriter(LogReader):
    """The part of a ``CatalogWriter`` that writes it: one entry, for the transaction that is under way."""

    _state: Commit

    def __init__(self, connection: apsw.Connection, checksums: Checksums) -> None:
        super().__init__(connection, checksums)
        self.has_changed = False
        self._log = ChangeLog()
        self._description = ("", "", "")
        self._imported: str | None = None
        self._nonce = b""

    @property
    def sequence(self) -> int:
        """The number of this transaction, once it has committed."""
        return self._state.sequence + 1

    @property
    def transaction_id(self) -> str:
        self._nonce = self._nonce or os.urandom(8)
        return transaction_id(self.sequence, self._nonce)

    def describe(self, *, actor: str = "", message: str = "", session: str = "") -> None:
        self._description = (actor, message, session)

    def keep_history(self, *, is_kept: bool) -> None:
        if is_kept is (self._state.history_from is None):
            self._state.history_from = self.sequence if is_kept else None
            self.has_changed = True

    def set_setting(self, name: str, value: str | None) -> None:
        self._cursor.execute("DELETE FROM settings WHERE name = ?", (name,))
        if value is not None:
            checksum = self._checksums.setting(name, value)
            self._cursor.execute("INSERT INTO settings VALUES (?, ?, ?)", (name, value, checksum))
        self.has_changed = True

    def drop_damaged_settings(self) -> list[str]:
        rows = self._all_settings()
        self._cursor.execute("DELETE FROM settings")  # all: a damaged name is not found where it stands
        for name, value, checksum, is_right in rows:
            if is_right:
                self._cursor.execute("INSERT INTO settings VALUES (?, ?, ?)", (name, value, checksum))
        self.has_changed = True
        return [name for name, _, _, is_right in rows if not is_right]

    def _log_import(self, imported: str | None) -> None:
        self._imported = imported or IMPORT

    def _log_replaced(self, sequence: int, replaced: str) -> None:
        if sequence <= self._state.log_floor:
            return
        for row in self._execute(SELECT_DEEDS, (sequence - 1, sequence)):
            deed = self._checked_deed(row)
            deed.replaced = replaced
            sql = "UPDATE commits SET replaced = ?, deed_checksum = ? WHERE sequence = ?"
            checksum = deed.checksum(self._checksums, sequence, row[-1])
            self._cursor.execute(sql, (replaced, checksum, sequence))
            self.has_changed = True

    def _deed(self) -> tuple[apsw.SQLiteValue, ...]:
        if self._log.is_empty and self._imported is None:
            return NO_DEED
        sequence, (first, *rest) = self._state.sequence, map(bytes, self._log.parts)
        for part, changes in enumerate(rest, 1):
            checksum = self._checksums.part(sequence, part, changes)
            self._cursor.execute(_ADD_PART, (sequence, part, changes, checksum))
        deed = Deed(now_ms(), *self._description, self._imported, None, first)
        return deed.row(self._checksums, sequence, len(rest))

    def _trim_log(self) -> None:
        """Without a history: changes are known for a while, for watchers."""
        state, last = self._state, self._state.sequence - KEPT_COMMITS
        if state.sequence % KEPT_COMMITS == 0:
            self._cursor.execute("DELETE FROM commits WHERE sequence <= ?", (last,))
            self.forget_changes(last)
        if len(self._log.parts) > 1 and self._scalar(_COUNT_PARTS) + len(self._log.parts) > KEPT_PARTS:
            self.forget_changes(state.sequence - 1)

    def forget_changes(self, last: int) -> None:
        if last > self._state.log_floor:
            self._cursor.execute("DELETE FROM changes WHERE sequence <= ?", (last,))
            self._state.log_floor = last
            self.has_changed = True

    def expire_log(self, last: int) -> None:
        floor, oldest = self._state.log_floor, self._state.sequence - KEPT_COMMITS
        self.forget_changes(last)
        self._cursor.execute("DELETE FROM commits WHERE sequence <= ?", (min(last, oldest),))
        self._cursor.execute(BLANK_DEEDS, (floor, last))
