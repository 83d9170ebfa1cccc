"""A directory that is moved, removed or replaced while the store is open: nothing goes on behind its back."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent_world_distfs import IncompatibleStoreError, LocalCasStore, StorageIOError
from behind import tree_of
from calls import LARGE, SMALL, WRITES, fill
from children import Start


@pytest.fixture
def filled(location: Path) -> Path:
    with LocalCasStore(location) as store:
        fill(store)
    return location


def aside(location: Path) -> Path:
    return location.with_name("aside")


def move(location: Path) -> None:
    location.rename(aside(location))


def move_and_copy(location: Path) -> None:
    location.rename(aside(location))
    shutil.copytree(aside(location), location)


def move_and_make_another(location: Path) -> None:
    location.rename(aside(location))
    with LocalCasStore(location) as store:
        fill(store)


def restore_into_the_same_directory(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.backup(aside(location))
    for entry in location.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    shutil.copytree(aside(location), location, dirs_exist_ok=True)


def remove(location: Path) -> None:
    shutil.rmtree(location)


ACCIDENTS: list[Callable[[Path], None]] = [
    move,
    move_and_copy,
    move_and_make_another,
    restore_into_the_same_directory,
    remove,
]
accidents = pytest.mark.parametrize("accident", ACCIDENTS, ids=lambda accident: accident.__name__)


def all_that_is_there(location: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for place in (location, aside(location)):
        found |= {f"{place.name}/{name}": data for name, data in tree_of(place).items()}
    return found


@accidents
def test_no_write_is_acknowledged_and_no_byte_goes_anywhere(
    filled: Path, accident: Callable[[Path], None]
) -> None:
    with LocalCasStore(filled) as store:
        store.write_file("begun", LARGE + b"a session has begun")
        accident(filled)
        before = all_that_is_there(filled)
        acknowledged = []
        for name, call in WRITES.items():
            try:
                call(store)
            except IncompatibleStoreError:
                continue
            acknowledged.append(name)
        assert acknowledged == []
        assert all_that_is_there(filled) == before


@accidents
def test_the_first_large_write_goes_nowhere_either(filled: Path, accident: Callable[[Path], None]) -> None:
    with LocalCasStore(filled) as store:
        accident(filled)
        before = all_that_is_there(filled)
        with pytest.raises(IncompatibleStoreError, match="open the one that is meant") as raised:
            store.put_bytes(LARGE + b"new")
        assert raised.value.location == str(filled)
        assert all_that_is_there(filled) == before


@accidents
def test_what_happens_while_bytes_come_in_is_noticed_before_they_get_a_name(
    filled: Path, accident: Callable[[Path], None]
) -> None:
    class Reader(io.BytesIO):
        is_new = True

        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 20_000 and self.is_new:
                self.is_new = False
                accident(filled)
            return super().read(size)

    data = os.urandom(3 << 20)
    with LocalCasStore(filled) as store:
        with pytest.raises(IncompatibleStoreError):
            store.write_file_stream("new", Reader(data))
        assert list(filled.rglob(store.hash_bytes(data))) == []


@accidents
def test_what_is_read_is_right_or_refused(filled: Path, accident: Callable[[Path], None]) -> None:
    with LocalCasStore(filled) as store:
        accident(filled)
        for path, data in (("small", SMALL), ("large", LARGE)):
            try:
                assert store.read_file(path) == data
            except IncompatibleStoreError:
                continue


@accidents
def test_connections_that_are_opened_anew_answer_for_no_other_store(
    filled: Path, accident: Callable[[Path], None]
) -> None:
    with LocalCasStore(filled) as store:
        store.write_file("acknowledged", SMALL)
        accident(filled)
        if not (child := os.fork()):
            os._exit(0)  # all connections are closed for a fork
        os.waitpid(child, 0)
        calls: list[Callable[[], object]] = [
            store.list_files,
            store.list_pins,
            lambda: store.has(store.hash_bytes(SMALL)),
            lambda: store.get(store.hash_bytes(SMALL)),
            lambda: store.write_file("small", SMALL),
            lambda: store.delete_file("small"),
        ]
        for call in calls:
            with pytest.raises(IncompatibleStoreError):
                call()


@pytest.mark.parametrize("call", range(4))
def test_a_store_that_has_come_to_the_very_same_file_after_a_fork_is_not_taken_for_damage(
    filled: Path, call: int
) -> None:
    """File systems give a new file the number of one that was removed."""
    with LocalCasStore(aside(filled)):
        pass  # of which nothing but its emptiness could be seen
    with LocalCasStore(filled) as store:
        if not (child := os.fork()):
            os._exit(0)
        os.waitpid(child, 0)
        for name in ("catalog.db-wal", "catalog.db-shm"):
            (filled / name).unlink(missing_ok=True)
        (filled / "catalog.db").write_bytes((aside(filled) / "catalog.db").read_bytes())
        calls: list[Callable[[], object]] = [
            store.list_files,
            lambda: store.stat_file("small"),
            lambda: store.write_file("small", SMALL),
            lambda: store.delete_file("small"),
        ]
        for again in (calls[call], *calls):
            with pytest.raises(IncompatibleStoreError, match="replaced"):
                again()
    with LocalCasStore(filled) as store:
        assert store.list_files() == []
        assert store.audit_file_index().index_damage == ()


def test_a_child_that_was_forked_before_goes_on_as_little(filled: Path, start: Start) -> None:
    child = start(
        """
        store = LocalCasStore(location)
        store.write_file("before", b"x")
        if os.fork():
            os.wait()
            os._exit(0)
        say("forked")
        hear()
        try:
            store.write_file("after", b"x")
            say("acknowledged")
        except IncompatibleStoreError:
            say("refused")
        os._exit(0)
        """,
        filled,
    )
    assert child.hear() == "forked"
    move_and_copy(filled)
    child.tell("go on")
    assert child.hear() == "refused"


def test_moved_back_it_goes_on(filled: Path) -> None:
    with LocalCasStore(filled) as store:
        move(filled)
        with pytest.raises(IncompatibleStoreError):
            store.write_file("a", LARGE)
        aside(filled).rename(filled)
        store.write_file("a", LARGE)
        assert store.read_file("a") == LARGE
        assert store.audit_file_index(verify=True).is_sound()


def test_a_directory_with_another_name_for_the_old_one_is_the_same_store(filled: Path) -> None:
    with LocalCasStore(filled) as store:
        move(filled)
        filled.symlink_to(aside(filled))
        store.write_file("a", LARGE)
    with LocalCasStore(aside(filled)) as store:
        assert store.read_file("a") == LARGE


@accidents
def test_closing_does_no_harm_to_what_is_there(filled: Path, accident: Callable[[Path], None]) -> None:
    store = LocalCasStore(filled)
    store.write_file("a", b"x")
    accident(filled)
    if not filled.exists():
        store.close()
        return
    with LocalCasStore(filled) as other:
        other.write_file("b", LARGE)
        store.close()
        copy = shutil.copytree(filled, filled.with_name("killed"))
    with LocalCasStore(copy) as killed:
        assert killed.read_file("b") == LARGE


@accidents
def test_a_watch_does_not_wait_for_what_comes_no_more(filled: Path, accident: Callable[[Path], None]) -> None:
    with LocalCasStore(filled) as store:
        watch = store.watch(timeout_s=60)
        accident(filled)
        with pytest.raises(IncompatibleStoreError):
            next(watch)


def test_that_it_cannot_be_told_is_an_error_of_ours(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with LocalCasStore(filled) as store:
        monkeypatch.setattr("agent_world_distfs.presence.os.lstat", fail)
        with pytest.raises(StorageIOError):
            store.write_file("a", b"x")
        with pytest.raises(StorageIOError):
            store.put_bytes(LARGE + b"new")
        with pytest.raises(StorageIOError):
            store.audit_file_index()


def test_threads_that_share_a_commit_are_all_refused(filled: Path) -> None:
    def write(store: LocalCasStore, number: int) -> str:
        try:
            store.write_file(f"new/{number}", b"x")
        except IncompatibleStoreError:
            return "refused"
        return "acknowledged"

    with LocalCasStore(filled) as store, ThreadPoolExecutor(8) as threads:
        store.write_file("before", b"x")
        move_and_copy(filled)
        answers = list(threads.map(write, [store] * 40, range(40)))
    assert answers == ["refused"] * 40
