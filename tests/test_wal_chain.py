"""A WAL of which the system has lost pages is copied nowhere: what is whole of it is recovered."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import apsw
import pytest

from agent_world_distfs import CatalogError, LocalCasStore
from agent_world_distfs.catalog.wal import opened_wal
from agent_world_distfs.catalog.wal_chain import sums_after

FRAME_BYTES = 24 + 4096


def gate_of(location: Path) -> Path:
    return location / "locks" / "gate"


def wal_of(location: Path) -> Path:
    return location / "catalog.db-wal"


def read_database(location: Path) -> bytes:
    """From another process: closing the file here would drop the locks of this one."""
    return subprocess.run(["cat", location / "catalog.db"], stdout=subprocess.PIPE, check=True).stdout


def fill(store: LocalCasStore, name: str) -> list[str]:
    paths = [f"{name}/{number:02}" for number in range(40)]
    for path in paths:
        store.write_file(path, path.encode() * 100)
    return paths


def frames_after_last_commit(store: LocalCasStore) -> int:
    return store._catalog._wal_length.pages


def pages_of(location: Path) -> list[int]:
    """Their numbers, frame by frame."""
    wal = wal_of(location).read_bytes()
    return [int.from_bytes(wal[start : start + 4], "big") for start in range(32, len(wal), FRAME_BYTES)]


def lose(location: Path, first: int, end: int) -> None:
    """As the disk reads where nothing was ever written."""
    with wal_of(location).open("r+b") as wal:
        wal.seek(32 + first * FRAME_BYTES)
        wal.write(bytes((end - first) * FRAME_BYTES))


SHAPES = {
    "in the middle": lambda first, end: (first + 20, first + 40),
    "at the end": lambda first, end: (end - 3, end),
    "at the end, with the first page": lambda first, end: (end - 15, end),
}
"""Which frames are lost: the first, and the one after the last."""


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_left_of_a_log_of_which_pages_are_lost_is_recovered_once_all_have_closed(
    location: Path, shape: str
) -> None:
    with LocalCasStore(location) as full, LocalCasStore(location, durability="relaxed") as relaxed:
        flushed = fill(full, "flushed")
        first = frames_after_last_commit(full)
        unflushed = fill(relaxed, "unflushed")
        end = frames_after_last_commit(relaxed)
        assert end - first > 60
        lost = SHAPES[shape](first, end)
        last_first_page = max(number for number in range(end) if pages_of(location)[number] == 1)
        assert (lost[0] <= last_first_page < lost[1]) is ("first page" in shape)
        lose(location, *lost)
        gate_of(location).write_bytes(b"\1")
        before = read_database(location)
        for store in (full, relaxed, full):
            with pytest.raises(CatalogError, match="close the store in every process"):
                store.write_file("refused", b"x")
        relaxed._catalog._shorten_wal()
    assert gate_of(location).read_bytes() == b"\1"
    assert read_database(location) == before
    assert 0 < require_recovered(location, flushed, unflushed) < len(unflushed)


def require_recovered(location: Path, flushed: list[str], unflushed: list[str]) -> int:
    """How many of the latter are left, after which none is; that all is well, and goes on."""
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).is_sound()
        store.write_file("z", b"after")
        assert gate_of(location).read_bytes() == b"\0"
        assert wal_of(location).stat().st_size < 20 * FRAME_BYTES  # begun anew: settled
        *kept, last = [file.path for file in store.list_files()]
        assert last == "z"
        left = len(kept) - len(flushed)
        assert left >= 0
        assert kept == flushed + unflushed[:left]
        assert [store.read_file(path) for path in kept] == [path.encode() * 100 for path in kept]
        assert store.audit_file_index(verify=True).is_sound()
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).is_sound()
        assert store.read_file("z") == b"after"
    return left


def test_a_log_that_is_lost_as_a_whole_is_not_taken_for_the_one_before_it(location: Path) -> None:
    with LocalCasStore(location) as full, LocalCasStore(location, durability="relaxed") as relaxed:
        flushed = fill(full, "flushed")
        earlier = wal_of(location).read_bytes()
        full._catalog._shorten_wal()
        relaxed.write_file(flushed[0], b"unflushed")  # from the start of the log again
        frames = frames_after_last_commit(relaxed)
        assert 0 < frames < frames_after_last_commit(full)
        assert 1 not in pages_of(location)[:frames]
        with wal_of(location).open("r+b") as wal:
            wal.write(earlier)
        gate_of(location).write_bytes(b"\1")
        before = read_database(location)
        with pytest.raises(CatalogError, match="close the store in every process"):
            full.write_file("refused", b"x")
        assert read_database(location) == before
    with LocalCasStore(location) as store:
        store.write_file("z", b"after")
        assert [file.path for file in store.list_files()] == [*flushed, "z"]
        assert [store.read_file(path) for path in flushed] == [path.encode() * 100 for path in flushed]
        assert store.audit_file_index(verify=True).is_sound()


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
def test_a_log_is_summed_up_as_sqlite_does_on_either_kind_of_machine(tmp_path: Path, order: str) -> None:
    path = str(tmp_path / "database")
    with contextlib.closing(apsw.Connection(path)) as connection:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.pragma("journal_mode", "wal")
        connection.execute("CREATE TABLE rows (value)")
        for number in range(20):
            connection.execute("INSERT INTO rows VALUES (?)", (f"{number}" * 200,))
    wal = summed_up(Path(path + "-wal").read_bytes(), order)
    frames = len(wal) // FRAME_BYTES
    for lost in (None, 0, 7, frames - 1):
        broken = bytearray(wal)
        if lost is not None:
            broken[32 + lost * FRAME_BYTES + 2000] ^= 1
        Path(path + "-wal").write_bytes(broken)
        with contextlib.closing(apsw.Connection(path)) as connection:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.pragma("page_count")
            rows: list[Any] = connection.execute("PRAGMA wal_checkpoint(NOOP)").fetchall()
            [(_, recovered, _)] = rows
        assert recovered == frames if lost is None else recovered <= lost
        with opened_wal(path, os.O_RDONLY) as fd:
            whole = [sums_after(fd, end) is not None for end in range(frames + 2)]
        end = frames if lost is None else lost
        assert whole == [number <= end for number in range(frames + 2)]


def summed_up(wal: bytes, order: str) -> bytes:
    """The same log, as a machine of this order of bytes writes it."""

    def add(data: bytes) -> bytes:
        for place in range(0, len(data), 8):
            one, other = struct.unpack_from(f"{order}2I", data, place)
            sums[0] = (sums[0] + one + sums[1]) % 2**32
            sums[1] = (sums[1] + other + sums[0]) % 2**32
        return struct.pack(">2I", *sums)

    sums = [0, 0]
    header = struct.pack(">I", 0x377F0682 + (order == ">")) + wal[4:24]
    parts = [header, add(header)]
    for start in range(32, len(wal), FRAME_BYTES):
        head, page = wal[start : start + 16], wal[start + 24 : start + FRAME_BYTES]
        parts += [head, add(head[:8] + page), page]
    return b"".join(parts)


def test_a_loss_that_is_found_where_nothing_was_in_doubt_puts_the_log_in_doubt(location: Path) -> None:
    with LocalCasStore(location) as store:
        fill(store, "a")
        lose(location, 20, 30)  # what nobody reads any more, since later frames have the same pages
        with pytest.raises(CatalogError, match="close the store"):
            store.was_committed("1000000-0000000000000000")
        assert gate_of(location).read_bytes() == b"\1"
