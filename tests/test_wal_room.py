"""Room in the log: commits overwrite zeros, and zeros say nothing, wherever a crash leaves them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore
from agent_world_distfs.catalog.wal_room import MAX_PAGES, WalRoom
from children import Start

STEPS = [0, 1, 31, 32, 33, 4_119, 4_120, 4_152, 100_000, 5_000_000]


def log_of(store: LocalCasStore) -> Path:
    return Path(store.location) / "catalog.db-wal"


def crash(store: LocalCasStore, place: Path) -> Path:
    """What a crash of all its processes would leave of a store."""
    ignore = shutil.ignore_patterns("*-shm")
    return Path(shutil.copytree(store.location, place, ignore=ignore))


def expect_files(location: Path, files: dict[str, bytes]) -> None:
    """These are there, nothing else is, and the next writes work."""
    with LocalCasStore(location) as store:
        assert {file.path: store.read_file(file.path) for file in store.iter_files()} == files
        store.write_file("next", b"n")
        store.write_file("next", b"m")
        assert store.audit_file_index(verify=True).is_sound()
    with LocalCasStore(location) as store:
        assert store.read_file("next") == b"m"


def test_most_commits_find_the_log_long_enough(store: LocalCasStore) -> None:
    sizes = []
    for number in range(150):
        store.write_file(f"{number}", b"%d" % number)
        sizes.append(log_of(store).stat().st_size)
    assert len(set(sizes)) < 20
    assert sizes[-1] < 2 * 150 * 8 * 4_120


def test_the_room_ends_where_the_log_begins_anew(store: LocalCasStore) -> None:
    for number in range(600):
        store.write_file(f"{number % 20}", b"%d" % number)
    size_bytes = log_of(store).stat().st_size
    assert size_bytes < (MAX_PAGES + 100) * 4_120


def test_who_commits_once_makes_no_room_for_others(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"1")
        assert (log_of(store).stat().st_size - 32) % 4_120 == 0
        store.write_file("a", b"2")
        assert (log_of(store).stat().st_size - 32) % 4_120 != 0


def test_what_is_not_flushed_needs_no_room(location: Path) -> None:
    with LocalCasStore(location, durability="relaxed") as store:
        for number in range(30):
            store.write_file("a", b"%d" % number)
            assert (log_of(store).stat().st_size - 32) % 4_120 == 0


@pytest.mark.parametrize("pages", [1, 3, 50, 999])
def test_room_is_never_made_where_something_is(store: LocalCasStore, pages: int) -> None:
    """However wrong it is about how long the log is."""
    store.write_file("a", bytes(range(256)) * 30)
    before = log_of(store).read_bytes()
    WalRoom(f"{store.location}/catalog.db").before_commit(pages)
    after = log_of(store).read_bytes()
    assert after[: len(before)] == before
    assert not any(after[len(before) :])


@pytest.mark.parametrize("step", STEPS)
def test_zeros_behind_the_last_commit_say_nothing(store: LocalCasStore, tmp_path: Path, step: int) -> None:
    files = {f"{number}": b"%d" % number for number in range(4)}
    for path, data in files.items():
        store.write_file(path, data)
    left = crash(store, tmp_path / "crashed")
    with open(left / "catalog.db-wal", "ab") as log:
        log.write(bytes(step))
    expect_files(left, files)


@pytest.mark.parametrize("step", STEPS)
def test_a_log_of_zeros_is_an_empty_log(location: Path, step: int) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"1")
    log = location / "catalog.db-wal"
    log.write_bytes(bytes(step))
    with LocalCasStore(location, read_only=True) as store:
        assert store.read_file("a") == b"1"
    log.write_bytes(bytes(step))
    expect_files(location, {"a": b"1"})


def test_a_log_that_was_cut_behind_the_back_gets_no_room_before_it_has_a_commit(location: Path) -> None:
    with LocalCasStore(location) as store, LocalCasStore(location) as other:
        for number in range(5):
            store.write_file("a", b"%d" % number)
        other._catalog.truncate_wal()
        assert log_of(store).stat().st_size == 0
        WalRoom(f"{store.location}/catalog.db").before_commit(30)
        assert log_of(store).stat().st_size == 0
        store.write_file("a", b"6")
        assert other.read_file("a") == b"6"


def test_where_no_room_can_be_made_commits_go_on(location: Path, start: Start) -> None:
    child = start(
        """
        import resource
        store = LocalCasStore(location)
        store.write_file("a", b"1")
        log = os.path.join(location, "catalog.db-wal")
        size = os.stat(log).st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30_000, resource.RLIM_INFINITY))
        store.write_file("a", b"2")  # less than the file may grow by, unlike the room
        say(os.stat(log).st_size - size)
        """,
        location,
    )
    assert 0 < int(child.hear()) <= 30_000
    child.finish()
    with LocalCasStore(location) as store:
        assert store.read_file("a") == b"2"


def test_a_log_without_permission_to_append_is_left_as_it_is(location: Path) -> None:
    room = WalRoom(os.fspath(location / "catalog.db"))
    room.before_commit(5)  # there is no log
    (location / "catalog.db-wal").mkdir()
    room.before_commit(5)
    (location / "catalog.db-wal").rmdir()
