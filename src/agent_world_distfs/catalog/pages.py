"""The pages of an SQLite file, read one by one: what is on a page, whether or not a tree leads to it.

Only as much as finding rows requires: cells of leaf pages of tables, and of all pages of indexes and of
tables WITHOUT ROWID, with their overflow pages. Whatever does not fit the format is skipped; whether a row is
right is for its checksum to prove.

Source: https://www.sqlite.org/fileformat2.html, sections 1.5 to 1.8 and 2.1.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

Value = int | float | str | bytes | None

_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER = 0x0D, 0x0A, 0x02
_FREE = 2
_LOCK_BYTE = 1 << 30
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)


@dataclass(frozen=True, slots=True)
class Record:
    """One row or index entry. ``rowid``: None outside of tables. ``is_free``: its page is not in use."""

    rowid: int | None
    values: tuple[Value, ...]
    is_free: bool
    place: tuple[int, int]


class PageFile:
    """An SQLite file without its WAL. Nobody may have it open through SQLite in this process."""

    def __init__(self, path: str, page_bytes: int = 4096) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._page_bytes = page_bytes
        self.total_pages = -(-os.fstat(self._fd).st_size // page_bytes)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)

    def records(self) -> Iterator[Record]:
        """All that can be read, page by page."""
        for number in range(1, self.total_pages + 1):
            page = self._page(number)
            is_free = self._is_free(number)
            for cell in range(_count_cells(page, number)):
                record = self._record(number, page, cell, is_free=is_free)
                if record is not None:
                    yield record

    def record_at(self, place: tuple[int, int]) -> Record | None:
        """The one that was found at a place."""
        return self._record(place[0], self._page(place[0]), place[1], is_free=False)

    def _page(self, number: int) -> bytes:
        data = os.pread(self._fd, self._page_bytes, (number - 1) * self._page_bytes)
        return data.ljust(self._page_bytes, b"\0")

    def _is_free(self, number: int) -> bool:
        """What the map of pages, which files with ``auto_vacuum`` have, says of a page."""
        per_map = self._page_bytes // 5 + 1
        if number < 3:
            return False
        page = (number - 2) // per_map * per_map + 2
        if page == _LOCK_BYTE // self._page_bytes + 1:
            page += 1
        offset = 5 * (number - page - 1)
        return offset >= 0 and self._page(page)[offset] == _FREE

    def _record(self, number: int, page: bytes, cell: int, *, is_free: bool) -> Record | None:
        try:
            kind, at = page[_head(number)], _cell_offset(page, number, cell)
            at += 4 if kind == _INDEX_INNER else 0
            size, at = _varint(page, at)
            rowid: int | None = None
            if kind == _TABLE_LEAF:
                rowid, at = _varint(page, at)
                rowid -= (1 << 64) if rowid >= (1 << 63) else 0
            payload = self._payload(page, at, size, is_table=kind == _TABLE_LEAF)
            return Record(rowid, _decode(payload), is_free, (number, cell))
        except (IndexError, ValueError, struct.error):
            return None

    def _payload(self, page: bytes, at: int, size: int, *, is_table: bool) -> bytes:
        usable = self._page_bytes
        if size > usable * self.total_pages:
            raise ValueError
        most = usable - 35 if is_table else (usable - 12) * 64 // 255 - 23
        if size <= most:
            return page[at : at + size]
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
        parts, missing = [page[at : at + local]], size - local
        (following,) = struct.unpack_from(">I", page, at + local)
        while missing > 0:
            if not 0 < following <= self.total_pages:
                raise ValueError
            overflow = self._page(following)
            parts.append(overflow[4 : 4 + missing])
            missing -= len(parts[-1])
            (following,) = struct.unpack_from(">I", overflow)
        return b"".join(parts)


def _head(number: int) -> int:
    return 100 if number == 1 else 0


def _count_cells(page: bytes, number: int) -> int:
    head = _head(number)
    if page[head] not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER):
        return 0
    (count,) = struct.unpack_from(">H", page, head + 3)
    return int(min(count, len(page) // 4))


def _cell_offset(page: bytes, number: int, cell: int) -> int:
    head = _head(number)
    first = head + (12 if page[head] == _INDEX_INNER else 8)
    (offset,) = struct.unpack_from(">H", page, first + 2 * cell)
    return int(offset)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for position in range(at, at + 8):
        value = value << 7 | data[position] & 0x7F
        if data[position] < 0x80:
            return value, position + 1
    return value << 8 | data[at + 8], at + 9


def _decode(payload: bytes) -> tuple[Value, ...]:
    end, at = _varint(payload, 0)
    values: list[Value] = []
    body = end
    while at < end:
        kind, at = _varint(payload, at)
        value, body = _value(payload, body, kind)
        values.append(value)
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    size = _INTEGER_BYTES[kind] if kind < 7 else 8 if kind == 7 else (kind - 12) // 2
    part = payload[at : at + size]
    if len(part) < size or kind in (10, 11):
        raise ValueError
    if kind < 7:
        return int.from_bytes(part, "big", signed=True), at + size
    if kind == 7:
        return struct.unpack(">d", part)[0], at + size
    return (part.decode() if kind % 2 else part), at + size
