"""The row that every commit appends: the state of the store after it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_world_distfs.catalog.checksums import Checksums

if TYPE_CHECKING:
    from apsw import SQLiteValue

KEPT_COMMITS = 4096
"""How many of the last commits can still be asked for by transaction id; twice as many at times."""

SELECT_LAST_COMMIT = "SELECT * FROM commits ORDER BY sequence DESC LIMIT 1"
INSERT_COMMIT = "INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_pack = struct.Struct("<6q").pack


@dataclass(slots=True)
class Commit:
    """One row of the table ``commits``, without its checksum, in the order of its columns.

    ``moved_to``: where the store has moved; None while it is open. ``digest`` and ``pin_digest``: of the
    set of entries of the index, and of the set of pins.
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

    @property
    def transaction_id(self) -> str:
        """The transaction that made this row, as text: sequence number and nonce in hexadecimal."""
        return f"{self.sequence}-{self.nonce.hex()}"

    def checksum(self, checksums: Checksums) -> bytes:
        """Of all columns."""
        numbers = _pack(
            self.sequence, self.epoch, self.next_blob_id, self.generation, self.total_files, self.total_pins
        )
        moved_to = b"" if self.moved_to is None else b">" + self.moved_to.encode()
        return checksums.commit(numbers + self.nonce + self.digest + self.pin_digest + moved_to)

    def row(self, checksums: Checksums) -> tuple[SQLiteValue, ...]:
        """The values of the row, the checksum last."""
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
            self.checksum(checksums),
        )
