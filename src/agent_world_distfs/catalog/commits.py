"""The row that every commit appends: the state of the store after it, and what it did to the index."""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from agent_world_distfs.catalog.checksums import Checksums
from agent_world_distfs.errors import CatalogError

if TYPE_CHECKING:
    from apsw import SQLiteValue

KEPT_COMMITS = 4096
"""How many of the last commits can still be asked for by transaction id; twice as many at times."""

KEPT_PARTS = 64
"""How many further parts of the change log are kept where no history is: 8 MiB, or one transaction's."""

_pack_numbers = struct.Struct("<9q").pack
_pack_deed = struct.Struct("<8q").pack


@dataclass(slots=True)
class Commit:
    """The state of the store, without its checksum, in the order of its columns in ``commits``.

    ``moved_to``: where the store has moved; None while it is open. ``digest``, ``pin_digest`` and
    ``snapshot_digest``: of the set of entries of the index, of pins, and of snapshots. ``history_from``:
    the transaction since which overwritten contents are kept; None where they are not. ``log_floor``:
    what the transactions up to this one changed is not known any more.
    """

    sequence: int
    nonce: bytes
    moved_to: str | None
    epoch: int
    next_blob_id: int
    generation: int
    total_files: int
    digest: bytes
    total_pins: int
    pin_digest: bytes
    total_snapshots: int
    snapshot_digest: bytes
    history_from: int | None
    log_floor: int

    @property
    def transaction_id(self) -> str:
        """The transaction that made this row, as text: sequence number and nonce in hexadecimal."""
        return transaction_id(self.sequence, self.nonce)

    def checksum(self, checksums: Checksums) -> bytes:
        """Of all columns."""
        numbers = _pack_numbers(
            self.sequence,
            self.epoch,
            self.next_blob_id,
            self.generation,
            self.total_files,
            self.total_pins,
            self.total_snapshots,
            -1 if self.history_from is None else self.history_from,
            self.log_floor,
        )
        moved_to = b"" if self.moved_to is None else b">" + self.moved_to.encode()
        return checksums.commit(
            numbers + self.nonce + self.digest + self.pin_digest + self.snapshot_digest + moved_to
        )

    def row(self, checksums: Checksums) -> tuple[SQLiteValue, ...]:
        """The values of the state's columns, the checksum last."""
        return (
            self.sequence,
            self.nonce,
            self.moved_to,
            self.epoch,
            self.next_blob_id,
            self.generation,
            self.total_files,
            self.digest,
            self.total_pins,
            self.pin_digest,
            self.total_snapshots,
            self.snapshot_digest,
            self.history_from,
            self.log_floor,
            self.checksum(checksums),
        )


@dataclass(slots=True)
class Deed:
    """What a transaction did, in the order of the further columns of ``commits``.

    ``imported``, ``replaced``: references of the manifests that an import made the index, and of what
    it was before, as far as they are known. ``changes``: the first part of its changes; see ``change_log``.
    """

    at_ms: int
    actor: str
    message: str
    session: str
    imported: str | None
    replaced: str | None
    changes: bytes

    def checksum(self, checksums: Checksums, sequence: int, further_parts: int) -> bytes:
        """Of all columns, and of how many rows of ``changes`` belong to it: a lost one would hide names."""
        actor, message, session = self.actor.encode(), self.message.encode(), self.session.encode()
        imported, replaced = (self.imported or "").encode(), (self.replaced or "").encode()
        lengths = (
            len(actor),
            len(message),
            len(session),
            -1 if self.imported is None else len(imported),
            -1 if self.replaced is None else len(replaced),
        )
        head = _pack_deed(sequence, self.at_ms, further_parts, *lengths)
        return checksums.deed(head + actor + message + session + imported + replaced + self.changes)

    def row(self, checksums: Checksums, sequence: int, further_parts: int) -> tuple[SQLiteValue, ...]:
        """The values of its columns, the checksum last."""
        values = (self.at_ms, self.actor, self.message, self.session, self.imported, self.replaced)
        return (*values, self.changes, self.checksum(checksums, sequence, further_parts))


IMPORT = ""
"""As ``imported``: an import of an index whose manifest was not searched for."""

NO_DEED = (None,) * (len(fields(Deed)) + 1)
"""The columns of a transaction that did nothing to the index."""

STATE_COLUMNS = (*(field.name for field in fields(Commit)), "checksum")
_STATE = ", ".join(STATE_COLUMNS)
DEED_COLUMNS = ", ".join(field.name for field in fields(Deed)) + ", deed_checksum"

SELECT_LAST_COMMIT = f"SELECT {_STATE} FROM commits ORDER BY sequence DESC LIMIT 1"  # noqa: S608
_DEEDS = f"""SELECT sequence, nonce, {DEED_COLUMNS},
    (SELECT count(*) FROM changes WHERE changes.sequence = commits.sequence)
    FROM commits WHERE sequence > ? AND sequence <= ?"""  # noqa: S608
# Either column, so that a flipped bit in one does not hide what was done.
SELECT_DEEDS = f"{_DEEDS} AND (at_ms IS NOT NULL OR deed_checksum IS NOT NULL) ORDER BY sequence"
SELECT_IMPORTS = f"{_DEEDS} AND (imported IS NOT NULL OR replaced IS NOT NULL) ORDER BY sequence"
BLANK_DEEDS = f"""UPDATE commits SET {", ".join(f"{field.name} = NULL" for field in fields(Deed))},
    deed_checksum = NULL WHERE sequence > ? AND sequence <= ?"""  # noqa: S608
INSERT_COMMIT = f"""INSERT INTO commits ({_STATE}, {DEED_COLUMNS})
    VALUES ({", ".join("?" * (len(fields(Commit)) + len(fields(Deed)) + 2))})"""  # noqa: S608


def check_commit(checksums: Checksums, values: tuple[Any, ...]) -> Commit:
    """The state in the columns ``STATE_COLUMNS``.

    Raises:
        CatalogError: it contradicts its checksum.
    """
    commit = Commit(*values[:-1])
    if commit.checksum(checksums) != values[-1]:
        raise CatalogError("the state of the store contradicts its checksum")
    return commit


def transaction_id(sequence: int, nonce: bytes) -> str:
    """A transaction's id as text: sequence number and nonce in hexadecimal."""
    return f"{sequence}-{nonce.hex()}"
