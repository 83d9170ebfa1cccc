"""The change log: what each commit did to the index, as bytes in its row.

The changes of a commit stand in the order in which they were made, one behind the other:

    length of the path in UTF-8   2 bytes
    sides                         1 byte: 1, there was an entry before; 2, there is one after; 3, both
    path
    for each side, before first   content hash (32), size in bytes (8), updated_at_ms (8)

Integers are little-endian, the last two signed. The row of the commit holds the first part of them,
at most PART_BYTES long and of whole changes; what is more stands in rows of ``changes``, in order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from agent_world_distfs.protocols import PathChange
from agent_world_distfs.records import FileMetadata

PART_BYTES = 1 << 17

_head = struct.Struct("<HB")
_side = struct.Struct("<32sqq")


Side = tuple[bytes, int, int]
"""An entry before or after a change: content hash, size in bytes, updated_at_ms."""


def encode_change(path: str, before: Side | None, after: Side | None) -> bytes:
    """One change as bytes."""
    raw = path.encode()
    sides = (before is not None) + 2 * (after is not None)
    encoded = _head.pack(len(raw), sides) + raw
    if before is not None:
        encoded += _side.pack(*before)
    if after is not None:
        encoded += _side.pack(*after)
    return encoded


def decode_changes(part: bytes) -> Iterator[PathChange]:
    """The changes of one part.

    Raises:
        struct.error, ValueError: it is none.
    """
    at = 0
    while at < len(part):
        length, sides = _head.unpack_from(part, at)
        at += _head.size
        path = part[at : at + length].decode()
        at += length
        files: list[FileMetadata | None] = [None, None]
        for side in (0, 1):
            if sides & (1 << side):
                raw, size_bytes, updated_at_ms = _side.unpack_from(part, at)
                files[side] = FileMetadata(path, raw.hex(), size_bytes, updated_at_ms)
                at += _side.size
        yield PathChange(path, files[0], files[1])


def check_changes(part: bytes) -> None:
    """Go through the changes of one part, and make nothing of them: for a sixth of the time.

    Raises:
        struct.error, ValueError: it is none.
    """
    at = 0
    while at < len(part):
        length, sides = _head.unpack_from(part, at)
        at += _head.size
        part[at : at + length].decode()
        at += length + _side.size * ((sides & 1) + (sides >> 1 & 1))
    if at != len(part):
        raise ValueError("it ends within a change")


class ChangeLog:
    """The changes of the transaction that is under way."""

    def __init__(self) -> None:
        self.parts: list[bytearray] = [bytearray()]

    def add(self, path: str, before: Side | None, after: Side | None) -> None:
        """Note what became of one path."""
        encoded = encode_change(path, before, after)
        if len(self.parts[-1]) + len(encoded) > PART_BYTES:
            self.parts.append(bytearray())
        self.parts[-1] += encoded

    @property
    def is_empty(self) -> bool:
        """Whether nothing was noted."""
        return not self.parts[0]
