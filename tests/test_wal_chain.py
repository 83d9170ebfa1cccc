"""A WAL of which the system has lost pages is copied nowhere: what is whole of it is recovered."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agent_world_distfs import CatalogError, LocalCasStore

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


def lose(location: Path, first: int, end: int) -> None:
    """As the disk reads where nothing was ever written."""
    with wal_of(location).open("r+b") as wal:
        wal.seek(32 + first * FRAME_BYTES)
        wal.write(bytes((end - first) * FRAME_BYTES))


@pytest.mark.parametrize("is_end", [True, False], ids=["at the end", "in the middle"])
def test_what_is_left_of_a_log_of_which_pages_are_lost_is_recovered_once_all_have_closed(
    location: Path, is_end: bool
) -> None:
    with LocalCasStore(location) as full, LocalCasStore(location, durability="relaxed") as relaxed:
        flushed = fill(full, "flushed")
        first = frames_after_last_commit(full)
        unflushed = fill(relaxed, "unflushed")
        end = frames_after_last_commit(relaxed)
        assert end - first > 60
        lose(location, *((end - 15, end) if is_end else (first + 20, first + 40)))
        gate_of(location).write_bytes(b"\1")
        before = read_database(location)
        for store in (full, relaxed, full):
            with pytest.raises(CatalogError, match="close the store in every process"):
                store.write_file("refused", b"x")
        relaxed._catalog._shorten_wal()
    assert gate_of(location).read_bytes() == b"\1"
    assert read_database(location) == before

    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).is_sound()
        store.write_file("z", b"after")
        assert gate_of(location).read_bytes() == b"\0"
        assert wal_of(location).stat().st_size < 20 * FRAME_BYTES  # begun anew: settled
        *kept, last = [file.path for file in store.list_files()]
        assert kept == flushed + unflushed[: len(kept) - len(flushed)]
        assert 0 < len(kept) - len(flushed) < len(unflushed)
        assert last == "z"
        assert [store.read_file(path) for path in kept] == [path.encode() * 100 for path in kept]
        assert store.audit_file_index(verify=True).is_sound()
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).is_sound()
        assert store.read_file("z") == b"after"


def test_a_loss_that_is_found_where_nothing_was_in_doubt_puts_the_log_in_doubt(location: Path) -> None:
    with LocalCasStore(location) as store:
        fill(store, "a")
        lose(location, 20, 30)  # what nobody reads any more, since later frames have the same pages
        with pytest.raises(CatalogError, match="close the store"):
            store.was_committed("1000000-0000000000000000")
        assert gate_of(location).read_bytes() == b"\1"
