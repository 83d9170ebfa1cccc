"""Threads: any number share one store object, and several objects share one store."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent_world_distfs import ABSENT, BlobNotFoundError, FileConflictError, LocalCasStore, PathNotFoundError


def run_together(*works: Callable[[], object]) -> list[object]:
    """Run each in a thread of its own, all at once; the results, or the first error."""
    begin = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        begin.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [running.result() for running in [pool.submit(run, work) for work in works]]


def increment(store: LocalCasStore, times: int) -> int:
    """Add to a counter by compare-and-set; returns how often somebody else was first."""
    conflicts = 0
    for _ in range(times):
        while True:
            metadata, data = store.read_file_with_metadata("counter")
            try:
                store.write_file_if_match("counter", metadata.content_hash, b"%d" % (int(data) + 1))
                break
            except FileConflictError:
                conflicts += 1
    return conflicts


def test_increments_of_threads_all_count(store: LocalCasStore) -> None:
    store.write_file("counter", b"0")
    run_together(*[lambda: increment(store, 50)] * 8)
    assert store.read_file("counter") == b"400"


def test_increments_through_several_objects_all_count(location: Path) -> None:
    # Each object has locks of its own: those of one process exclude each other all the same.
    stores = [LocalCasStore(location) for _ in range(4)]
    stores[0].write_file("counter", b"0")
    run_together(*[lambda store=store: increment(store, 50) for store in stores for _ in range(2)])
    assert stores[3].read_file("counter") == b"400"
    for store in stores:
        store.close()
    assert os.listdir(location / "tmp") == []


def test_of_many_who_create_a_file_one_does(store: LocalCasStore) -> None:
    def create(name: str) -> str | None:
        try:
            store.write_file_if_match("lock", ABSENT, name.encode())
        except FileConflictError as error:
            return None if error.actual else "a conflict with nothing"
        return name

    for _ in range(20):
        winners = [
            name for name in run_together(*[lambda name=name: create(name) for name in "abcdef"]) if name
        ]
        assert len(winners) == 1
        assert store.read_file("lock") == str(winners[0]).encode()
        store.delete_file("lock")


def test_of_many_who_delete_a_file_one_does(store: LocalCasStore) -> None:
    for number in range(20):
        held = store.write_file("a", b"%d" % number)

        def delete(expected: str = held.content_hash) -> bool:
            try:
                return store.delete_file_if_match("a", expected)
            except FileConflictError as error:
                return error.actual is not None

        assert sorted(map(bool, run_together(*[delete] * 6))) == [False] * 5 + [True]


def test_a_reader_never_sees_half_a_write(store: LocalCasStore) -> None:
    contents = [bytes([number]) * size for number, size in enumerate([1, 5000, 9000, 300_000, 40_000])]
    for path in ("a", "b"):
        store.write_file(path, contents[0])
    done = threading.Event()

    def write() -> None:
        for _ in range(12):
            for content in contents:
                store.write_file("a", content)
                store.copy_file("a", "b")
        done.set()

    def read() -> int:
        count = 0
        while not done.is_set():
            for path in ("a", "b"):
                metadata, data = store.read_file_with_metadata(path)
                assert data in contents
                assert (metadata.size_bytes, metadata.content_hash) == (len(data), store.hash_bytes(data))
                with store.open_file(path) as reader:
                    assert reader.metadata is not None
                    assert store.hash_bytes(reader.read()) == reader.metadata.content_hash
            count += 1
        return count

    assert all(run_together(write, read, read)[1:])


def write_rename_delete(store: LocalCasStore, name: str) -> None:
    for number in range(25):
        content = f"{name}{number % 7}".encode() * (1 if number % 3 else 3000)
        store.write_file(f"{name}/{number}", content)
        store.rename_file(f"{name}/{number}", f"{name}/kept/{number}")
        store.delete_file(f"{name}/kept/{number - 5}")
        assert store.read_file(f"{name}/kept/{number}") == content


def put_pin_unpin(store: LocalCasStore) -> None:
    for number in range(25):
        content = b"p%d" % (number % 5) * (1 + number % 2 * 5000)
        content_hash = store.put_bytes(content)
        with contextlib.suppress(BlobNotFoundError):  # collected between the put and the pin
            store.pin(content_hash)
            assert store.get(content_hash) == content
            store.unpin(content_hash)


def read_all(store: LocalCasStore) -> None:
    for file in store.iter_files():
        with contextlib.suppress(PathNotFoundError):
            store.read_file(file.path)


def audit(store: LocalCasStore) -> None:
    report = store.audit_file_index(verify=True)
    assert report.is_sound(), report


def test_everything_at_once(store: LocalCasStore) -> None:
    done = threading.Event()

    def work() -> None:
        try:
            writers = [lambda name=name: write_rename_delete(store, name) for name in "abc"]
            run_together(*writers, lambda: put_pin_unpin(store))
        finally:
            done.set()

    def meanwhile(task: Callable[[LocalCasStore], object]) -> Callable[[], None]:
        def loop() -> None:
            while not done.is_set():
                task(store)

        return loop

    run_together(work, meanwhile(LocalCasStore.prune_orphan_blobs), meanwhile(audit), meanwhile(read_all))
    assert len(store.list_files()) == 15
    store.prune_orphan_blobs()
    assert store.audit_file_index(verify=True).is_clean()


def test_an_error_in_one_thread_is_no_matter_to_the_others(store: LocalCasStore) -> None:
    def fail() -> None:
        for _ in range(50):
            with pytest.raises(FileConflictError):
                store.write_file_if_match("a", "0" * 64, b"x" * 20_000)

    def write() -> None:
        for number in range(50):
            store.write_file("a", b"%d" % number)

    run_together(fail, write, fail, write)
    assert store.read_file("a") == b"49"
    store.prune_orphan_blobs()
    assert store.audit_file_index().is_clean()


def test_threads_open_and_close_stores_of_one_place_while_others_write(location: Path) -> None:
    def work(name: str) -> None:
        for number in range(12):
            with LocalCasStore(location) as store:
                store.write_file(f"{name}/{number}", name.encode() * 10_000)

    run_together(*[lambda name=name: work(name) for name in "abcdef"])
    with LocalCasStore(location) as store:
        assert len(store.list_files()) == 72
        assert store.audit_file_index(verify=True).is_clean()


def test_many_threads_take_no_descriptors_with_them(store: LocalCasStore) -> None:
    for _ in range(3):
        run_together(*[lambda: (store.write_file("a", b"x" * 9000), store.read_file("a"))] * 20)
    assert len(os.listdir("/proc/self/fd")) < 150
