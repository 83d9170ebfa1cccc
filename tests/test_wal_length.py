"""The log is begun anew however much is written to it; only beside a reader that stays it grows."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import apsw
import pytest

from agent_world_distfs import LocalCasStore
from agent_world_distfs.catalog import wal_length
from agent_world_distfs.catalog.extending import Extending
from agent_world_distfs.catalog.reader import SqliteReader
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.local import catalog_of
from children import Start

LONG, TOO_LONG, SLACK = 100, 400, 200
"""Pages. The slack is for what each may commit before its next turn."""

PAGE = bytes(3_000)


def longest(location: Path) -> int:
    """How many pages the log has had at most: its file does not get shorter while the store is open."""
    return os.stat(location / "catalog.db-wal").st_size // 4_120


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wal_length, "CHECKPOINT_PAGES", LONG)
    monkeypatch.setattr(wal_length, "BLOCKING_CHECKPOINT_PAGES", TOO_LONG)


@pytest.fixture
def alone(short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody copies the log beside the writers, as where they never pause that is never enough."""
    monkeypatch.setattr(wal_length, "CHECKPOINT_PAGES", 1 << 60)
    monkeypatch.setattr(wal_length.WalLength, "is_due", lambda _: False)


@pytest.fixture
def place(location: Path) -> Iterator[LocalCasStore]:
    with LocalCasStore(location, durability="relaxed") as store:
        yield store


def write(store: LocalCasStore, name: str, count: int) -> None:
    for number in range(count):
        store.write_file(f"{name}/{number % 20}", PAGE + b"%d" % number)


def check(store: LocalCasStore) -> None:
    assert store.audit_file_index(verify=True).is_sound()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("threads", [1, 8])
def test_who_writes_copies_the_log_when_nobody_else_has(
    place: LocalCasStore, location: Path, threads: int
) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for writing in [pool.submit(write, place, f"{n}", 1_600 // threads) for n in range(threads)]:
            writing.result()
    assert place.last_seq() > 1_500
    assert TOO_LONG <= longest(location) < TOO_LONG + SLACK
    check(place)


@pytest.mark.usefixtures("short")
def test_the_log_of_many_who_read_and_write_has_a_bound(place: LocalCasStore, location: Path) -> None:
    write(place, "read", 20)
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            assert place.read_file("read/1").startswith(PAGE)
            assert len(place.list_files(prefix="read/")) == 20

    with ThreadPoolExecutor(10) as pool:
        reading = [pool.submit(read) for _ in range(2)]
        writing = [pool.submit(write, place, f"{n}", 200) for n in range(8)]
        for future in writing:
            future.result()
        is_over.set()
        for future in reading:
            future.result()
    assert longest(location) < 2 * TOO_LONG + SLACK
    check(place)


def test_the_log_of_several_processes_has_a_bound(location: Path, start: Start) -> None:
    program = """
    from agent_world_distfs.catalog import wal_length
    wal_length.BLOCKING_CHECKPOINT_PAGES = int(sys.argv[3])
    wal_length.WalLength.is_due = lambda _: False
    store = LocalCasStore(location, durability="relaxed")
    say("ready")
    hear()
    for number in range(400):
        store.write_file(f"{sys.argv[2]}/{number % 20}", bytes(3_000) + b"%d" % number)
    say("done")
    hear()
    """
    with LocalCasStore(location) as store:
        children = [start(program, location, name, TOO_LONG) for name in "abc"]
        for child in children:
            child.hear()
        for child in children:
            child.tell()
        for child in children:
            assert child.hear() == "done"
        assert store.last_seq() >= 1_200
        assert TOO_LONG <= longest(location) < TOO_LONG + SLACK
        check(store)


@pytest.mark.usefixtures("alone")
def test_the_log_of_stores_that_are_opened_for_one_write_each_has_a_bound(
    place: LocalCasStore, location: Path
) -> None:
    for number in range(700):
        with LocalCasStore(location, durability="relaxed") as store:
            write(store, f"{number % 20}", 1)
    assert place.last_seq() >= 700
    assert TOO_LONG <= longest(location) < TOO_LONG + SLACK
    check(place)


@pytest.mark.usefixtures("alone")
def test_the_log_of_forked_children_that_write_once_each_has_a_bound(
    place: LocalCasStore, location: Path
) -> None:
    write(place, "parent", 1)
    for number in range(300):
        pid = os.fork()
        if pid == 0:
            try:
                place.write_files((f"{number}/{n}", PAGE + b"%d" % n) for n in range(4))
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
    assert place.last_seq() > 200
    assert TOO_LONG <= longest(location) < TOO_LONG + SLACK
    check(place)


@pytest.mark.usefixtures("alone")
def test_a_log_that_was_begun_anew_in_a_long_file_is_left_alone(
    place: LocalCasStore, location: Path, attempts: list[int]
) -> None:
    write(place, "a", TOO_LONG)
    assert longest(location) >= TOO_LONG
    assert catalog_of(place)._wal_length.pages < TOO_LONG
    attempts.clear()
    for _ in range(3):
        with LocalCasStore(location) as store:
            write(store, "b", 1)
    assert not attempts


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long the log was each time that it was to be begun anew."""
    seen: list[int] = []
    honest = SqliteCatalog._begin_wal_anew

    def begin(self: SqliteCatalog, connection: apsw.Connection) -> None:
        seen.append(self._wal_length.pages)
        honest(self, connection)

    monkeypatch.setattr(SqliteCatalog, "_begin_wal_anew", begin)
    return seen


@pytest.mark.usefixtures("short")
def test_beside_a_reader_that_stays_the_log_grows_and_when_it_has_gone_it_begins_anew(
    place: LocalCasStore, location: Path, attempts: list[int]
) -> None:
    catalog = catalog_of(place)

    def stay(tx: SqliteReader) -> None:
        tx.count_files()
        write(place, "a", 500)

    write(place, "a", 5)
    catalog.read(stay)
    grown = longest(location)
    assert grown > 3 * TOO_LONG
    assert attempts
    assert all(4 * (later + 1) > 5 * earlier for earlier, later in pairwise(attempts))  # each waits for it
    assert catalog._wal_length.pages > TOO_LONG
    write(place, "a", 300)
    assert longest(location) < grown * 5 // 4 + SLACK
    assert catalog._wal_length.pages < TOO_LONG
    check(place)


@pytest.mark.usefixtures("short")
def test_beside_a_checkpoint_that_does_not_end_writers_go_on(location: Path, attempts: list[int]) -> None:
    with LocalCasStore(location, durability="relaxed", lock_timeout_s=0.1) as store:
        with Extending(f"{location}/locks", 1).alone():
            write(store, "a", 300)
            assert longest(location) > 2 * TOO_LONG
        assert 1 <= len(attempts) < 10
        write(store, "a", 300)
        assert catalog_of(store)._wal_length.pages < TOO_LONG
        check(store)
