"""Many files in one call: whole chunks, in order; large ones durable before they are named."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_world_distfs import (
    LocalCasStore,
    PathInvalidError,
    StorageFullError,
    StorageIOError,
    StoreClosedError,
)
from agent_world_distfs.blobs import batches, directory
from agent_world_distfs.filesystem_kind import is_flushed_as_one
from children import MakeDisk

CHUNK = 1_000
"""How many files are one commit, as the documentation says."""

LARGE = b"large" * 5_000


def large(number: int) -> bytes:
    return b"%d." % number + LARGE


def contents_of(store: LocalCasStore) -> dict[str, bytes]:
    return {file.path: store.read_file(file.path) for file in store.list_files()}


# --- what it writes ---------------------------------------------------------------------------


def test_bytes_and_readers_small_and_large_are_written(either_store: LocalCasStore) -> None:
    written = either_store.write_files(
        [
            ("a", b"a"),
            ("./b//c", bytearray(b"bc")),
            ("d", memoryview(large(1))),
            ("e", io.BytesIO(b"e")),
            ("f", io.BytesIO(large(2))),
            ("empty", b""),
        ]
    )
    assert written == 6
    expected = {"a": b"a", "b/c": b"bc", "d": large(1), "e": b"e", "f": large(2), "empty": b""}
    assert contents_of(either_store) == expected
    assert either_store.audit_file_index(verify=True).is_clean()


def test_nothing_to_write_writes_nothing(store: LocalCasStore) -> None:
    assert store.write_files([]) == 0
    assert store.write_files(iter(())) == 0
    assert list(store.changes()) == []


def test_of_a_path_that_comes_twice_the_last_content_stays(store: LocalCasStore) -> None:
    assert store.write_files([("a", b"1"), ("b", b"b"), ("a", large(1)), ("a", b"2")]) == 4
    assert contents_of(store) == {"a": b"2", "b": b"b"}


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_any_number_can_be_written(store: LocalCasStore, size: int) -> None:
    assert store.write_files((f"{number}", b"%d" % number) for number in range(size)) == size
    assert {file.path for file in store.list_files()} == {f"{number}" for number in range(size)}


def test_readers_are_not_closed(store: LocalCasStore) -> None:
    readers = [io.BytesIO(b"small"), io.BytesIO(LARGE)]
    store.write_files((str(number), reader) for number, reader in enumerate(readers))
    assert not any(reader.closed for reader in readers)


@pytest.mark.parametrize("sized", [True, False])
def test_progress_is_told_after_each_commit(store: LocalCasStore, sized: bool) -> None:
    told: list[tuple[int, int | None, int]] = []

    def progress(done: int, total: int | None) -> None:
        told.append((done, total, len(store.list_files())))

    items = [(f"{number}", b"x") for number in range(2 * CHUNK + 1)]
    store.write_files(items if sized else iter(items), progress=progress)
    total = len(items) if sized else None
    assert told == [(done, total, done) for done in (CHUNK, 2 * CHUNK, 2 * CHUNK + 1)]


def test_whoever_gives_the_items_may_use_the_store_meanwhile(store: LocalCasStore) -> None:
    def items() -> Iterator[tuple[str, bytes]]:
        for number in range(3):
            store.write_file(f"log/{number}", b"came here")
            yield f"{number}", large(number)

    store.write_files(items())
    assert len(store.list_files()) == 6


# --- all or nothing ---------------------------------------------------------------------------


@pytest.mark.parametrize(("fails_at", "stands"), [(CHUNK - 1, 0), (CHUNK, CHUNK), (2 * CHUNK + 5, 2 * CHUNK)])
def test_what_stands_after_an_error_is_whole_chunks_in_order(
    store: LocalCasStore, fails_at: int, stands: int
) -> None:
    def items() -> Iterator[tuple[str, bytes]]:
        for number in range(fails_at):
            yield f"{number:05}", b"%d" % number
        raise LookupError("no more")

    with pytest.raises(LookupError):
        store.write_files(items())
    assert [file.path for file in store.list_files()] == [f"{number:05}" for number in range(stands)]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (("../b", b"b"), PathInvalidError),
        ((Path("b"), b"b"), TypeError),
        (("b", "text"), TypeError),
        (("b", None), TypeError),
        (("b", io.StringIO("text")), TypeError),
        (("b",), TypeError),
        ("ab", TypeError),
        (("b", b"b", b"b"), TypeError),
    ],
)
def test_an_item_that_is_wrong_writes_nothing(
    store: LocalCasStore, location: Path, item: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.write_files([("a", b"a"), ("large", LARGE), item])  # type: ignore[list-item]
    assert store.list_files() == []
    assert list(location.glob("tmp/*/*")) == []


def test_a_chunk_is_one_transaction(store: LocalCasStore) -> None:
    store.write_files([("a", b"a"), ("b", LARGE), ("c", b"c")])
    assert len({change.transaction_id for change in store.changes()}) == 1


def test_a_closed_store_says_so(store: LocalCasStore) -> None:
    store.close()
    with pytest.raises(StoreClosedError):
        store.write_files([("a", b"a")])


def test_a_full_disk_writes_nothing(make_disk: MakeDisk) -> None:
    with LocalCasStore(make_disk(8 << 20) / "store") as store:
        with pytest.raises(StorageFullError):
            store.write_files((f"{number}", os.urandom(100_000)) for number in range(200))
        assert store.list_files() == []
        store.write_files((f"{number}", os.urandom(100_000)) for number in range(20))
        assert store.audit_file_index(verify=True).is_clean()


# --- content that is there already ------------------------------------------------------------


def test_the_same_content_twice_is_stored_once(store: LocalCasStore, location: Path) -> None:
    store.write_files((f"{number}", large(number % 10)) for number in range(40))
    assert len(list(location.glob("blobs/*/*"))) == 10
    assert len(contents_of(store)) == 40
    assert list(location.glob("tmp/*/*")) == []


def test_content_that_is_stored_is_not_written_again(store: LocalCasStore, location: Path) -> None:
    store.write_file("a", LARGE)
    (blob,) = location.glob("blobs/*/*")
    before = blob.stat().st_ino
    store.write_files([("b", LARGE), ("c", LARGE)])
    assert blob.stat().st_ino == before
    assert contents_of(store) == dict.fromkeys("abc", LARGE)


def test_content_that_is_stored_and_rotten_is_written_again(store: LocalCasStore, location: Path) -> None:
    store.write_file("a", LARGE)
    (blob,) = location.glob("blobs/*/*")
    blob.write_bytes(LARGE[::-1])
    store.write_files([("b", LARGE)])
    assert contents_of(store) == dict.fromkeys("ab", LARGE)


def test_a_collection_meanwhile_takes_nothing_that_is_about_to_be_named(store: LocalCasStore) -> None:
    stored = store.put_bytes(LARGE)

    def items() -> Iterator[tuple[str, bytes]]:
        yield "a", LARGE
        for number in range(20):
            yield f"{number}", large(number)
        store.prune_orphan_blobs()
        assert store.has(stored)
        yield "b", b"b"

    store.write_files(items())
    assert len(contents_of(store)) == 22
    assert store.audit_file_index(verify=True).is_clean()


# --- flushes ----------------------------------------------------------------------------------


def test_many_large_contents_share_their_flushes(
    store: LocalCasStore, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = 0
    genuine = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal flushes
        flushes += 1
        genuine(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store.write_files((f"{number}", large(number)) for number in range(50))
    if is_flushed_as_one(str(location)):
        assert flushes == 0
    else:
        assert flushes >= 50
    assert len(contents_of(store)) == 50


@pytest.mark.parametrize("is_as_one", [True, False])
def test_bytes_are_flushed_before_they_are_named_and_names_before_the_commit(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch, is_as_one: bool
) -> None:
    events: list[str] = []

    def watch(where: object, name: str, event: Callable[[], str]) -> None:
        genuine = getattr(where, name)

        def watched(*values: object) -> object:
            events.append(event())
            return genuine(*values)

        monkeypatch.setattr(where, name, watched)

    monkeypatch.setattr(directory, "is_flushed_as_one", lambda _: is_as_one)
    monkeypatch.setattr(batches, "flush_file_system", lambda _: events.append("flush"))
    watch(batches, "flush_directory", lambda: "flush names")
    watch(os, "fsync", lambda: "flush one")
    watch(os, "link", lambda: "name")
    store.write_files((f"{number}", large(number)) for number in range(20))
    names = [number for number, event in enumerate(events) if event == "name"]
    assert names == list(range(names[0], names[0] + 20))
    before, after = events[: names[0]], events[names[-1] + 1 :]
    if is_as_one:
        assert (before, after) == (["flush"], ["flush"])
    else:
        assert before.count("flush one") >= 20
        assert after.count("flush names") == len(after) / 2 > 0  # each is also a flush of one


@pytest.mark.parametrize("failing", [0, 1])
def test_a_flush_that_fails_is_the_failure_of_the_whole_chunk(
    store: LocalCasStore, location: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls: list[int] = []

    def flush(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) - 1 == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(directory, "is_flushed_as_one", lambda _: True)
    monkeypatch.setattr(batches, "flush_file_system", flush)
    with pytest.raises(StorageIOError):
        store.write_files([("a", b"a"), *((f"{number}", large(number)) for number in range(20))])
    assert len(calls) == failing + 1, "it was tried again"
    assert store.list_files() == []
    assert list(location.glob("tmp/*/*")) == []
    store.prune_orphan_blobs()
    assert list(location.glob("blobs/*/*")) == []
    store.write_files([("a", b"a"), *((f"{number}", large(number)) for number in range(20))])
    assert len(contents_of(store)) == 21


def test_few_descriptors_are_open_at_a_time(store: LocalCasStore) -> None:
    most = 0

    def items() -> Iterator[tuple[str, bytes]]:
        nonlocal most
        before = len(os.listdir("/dev/fd"))
        for number in range(100):
            most = max(most, len(os.listdir("/dev/fd")) - before)
            yield f"{number}", large(number)

    store.write_files(items())
    assert most <= 12
