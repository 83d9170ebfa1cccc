"""Whether the file of the WAL still holds what was written to it.

The system forgets a page whose writing has failed: it takes it for clean, may evict it, and reads from the
disk what was there before. SQLite would not notice, since it checks the frames only in a recovery.

Each frame has the salts of the WAL, and a checksum over all that comes before it. So the chain, computed
again, breaks at the first byte that is not what was written. What it cannot see is that all of it is lost,
and what is there now is a whole earlier WAL: with other salts, and other checksums.

Source: https://www.sqlite.org/fileformat2.html, section 4.
"""

from __future__ import annotations

import os
import struct

from agent_world_distfs.catalog.wal import FRAME_HEADER_BYTES, HEADER_BYTES, opened_wal
from agent_world_distfs.errors import CatalogError

LOSS = (
    "part of its WAL was lost in an I/O error: close the store in every process; the next to open it recovers"
    " what is left"
)
"""What to say then."""

_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}
"""By its magic number: how the words are read that are summed up. All others are big-endian."""

_WORD = 0xFFFF_FFFF
_SALTS = slice(16, 24)

Sums = tuple[int, int]


def require_whole(catalog: str, frames: int) -> None:
    """Raise unless the first ``frames`` frames, which SQLite believes to be in the WAL, are whole.

    Under the write lock.

    Raises:
        CatalogError: they are not.
        FileNotFoundError: there is no WAL.
    """
    if frames <= 0:
        return
    with opened_wal(catalog, os.O_RDONLY) as wal:
        if count_whole(wal, frames) < frames:
            raise CatalogError(LOSS)


def count_whole(wal: int, frames: int) -> int:
    """How many of the first ``frames`` frames are whole, up to the first that is not."""
    header = os.pread(wal, HEADER_BYTES, 0)
    if len(header) < HEADER_BYTES:
        return 0
    magic, _, page_bytes, _, _, _, *told = struct.unpack(">8I", header)
    order = _ORDERS.get(magic)
    if order is None:
        return 0
    sums = _add((0, 0), header[:24], order)
    if sums != tuple(told):
        return 0
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    for index in range(frames):
        frame = os.pread(wal, frame_bytes, HEADER_BYTES + index * frame_bytes)
        if len(frame) < frame_bytes or frame[8:16] != header[_SALTS]:
            return index
        sums = _add(sums, frame[:8] + frame[FRAME_HEADER_BYTES:], order)
        if sums != struct.unpack_from(">II", frame, 16):
            return index
    return frames


def _add(sums: Sums, data: bytes, order: str) -> Sums:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & _WORD
        second = (second + other + first) & _WORD
    return first, second
