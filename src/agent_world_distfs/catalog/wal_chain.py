"""Whether the file of the WAL still holds what was written to it.

The system forgets a page whose writing has failed: it takes it for clean, may evict it, and reads from the
disk what was there before. SQLite would not notice, since it checks the frames only in a recovery.

Each frame has the salts of the WAL, and a checksum over all that comes before it. So the chain, computed
again, breaks at the first byte that is not what was written. If all of it is lost, a whole earlier WAL may
stand there. That one ends with another checksum than SQLite remembers, in its shared memory. This is read by
way of a descriptor that SQLite has, since closing one of ours would drop its locks; where a system does not
list them, it is left out.

Source: https://www.sqlite.org/fileformat2.html, section 4; https://www.sqlite.org/walformat.html, section 2.
"""

from __future__ import annotations

import contextlib
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
_LAST_SUMS_AT = 24  # in the shared memory
_DESCRIPTORS = "/dev/fd"

Sums = tuple[int, int]


def require_whole(catalog: str, frames: int) -> None:
    """Raise unless the first ``frames`` frames, which SQLite believes to be in the WAL, are whole.

    Under the write lock, with a connection that has the WAL open.

    Raises:
        CatalogError: they are not.
        FileNotFoundError: there is no WAL.
    """
    if frames <= 0:
        return
    with opened_wal(catalog, os.O_RDONLY) as wal:
        last = sums_after(wal, frames)
    if last is None or last != (_remembered_sums(catalog) or last):
        raise CatalogError(LOSS)


def sums_after(wal: int, frames: int) -> Sums | None:
    """The checksum over the first ``frames`` frames; None if they are not whole."""
    header = os.pread(wal, HEADER_BYTES, 0)
    if len(header) < HEADER_BYTES:
        return None
    magic, _, page_bytes, _, _, _, *told = struct.unpack(">8I", header)
    order = _ORDERS.get(magic)
    if order is None:
        return None
    sums = _add((0, 0), header[:24], order)
    if sums != tuple(told):
        return None
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    for index in range(frames):
        frame = os.pread(wal, frame_bytes, HEADER_BYTES + index * frame_bytes)
        if len(frame) < frame_bytes or frame[8:16] != header[_SALTS]:
            return None
        sums = _add(sums, frame[:8] + frame[FRAME_HEADER_BYTES:], order)
        if sums != struct.unpack_from(">II", frame, 16):
            return None
    return sums


def _add(sums: Sums, data: bytes, order: str) -> Sums:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & _WORD
        second = (second + other + first) & _WORD
    return first, second


def _remembered_sums(catalog: str) -> Sums | None:
    with contextlib.suppress(OSError):
        shared_memory = os.stat(catalog + "-shm")
        for name in os.listdir(_DESCRIPTORS):
            with contextlib.suppress(OSError):  # closed meanwhile
                if os.path.samestat(os.fstat(int(name)), shared_memory):
                    first, second = struct.unpack("=II", os.pread(int(name), 8, _LAST_SUMS_AT))
                    return first, second
    return None
