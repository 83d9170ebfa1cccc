"""Stores that are only read, and places that cannot be written: all there is, and nothing is changed."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs import (
    FileIndexManifestRef,
    LocalCasStore,
    StorageError,
    StorageReadOnlyError,
    UnavailableError,
    filesystem_kind,
)
from behind import descriptors, tree_of
from calls import EXCHANGES, LARGE, READS, SMALL, WRITES, Call, fill
from children import MakeDisk, Start, cannot_run


@pytest.mark.parametrize("call", READS.values(), ids=READS.keys())
def test_a_store_that_is_only_read_gives_all_there_is(location: Path, call: Call) -> None:
    with LocalCasStore(location) as store:
        fill(store)
        expected = call(store)
    before = tree_of(location)
    with LocalCasStore(location, read_only=True) as store:
        assert call(store) == expected
    assert tree_of(location) == before


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES.keys())
def test_a_store_that_is_only_read_is_not_changed(location: Path, call: Call) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    # A dead session, which a writer would tidy.
    (location / "tmp" / "0011223344556677").mkdir()
    (location / "tmp" / "0011223344556677" / "0").write_bytes(b"left")
    (location / "tmp" / "0011223344556677.lock").touch()
    before = tree_of(location)
    with LocalCasStore(location, read_only=True) as store, pytest.raises(StorageReadOnlyError):
        call(store)
    assert tree_of(location) == before


@pytest.mark.parametrize("call", EXCHANGES.values(), ids=EXCHANGES.keys())
def test_a_store_that_is_only_read_takes_nothing_over(
    location: Path, call: Callable[[LocalCasStore, FileIndexManifestRef], object]
) -> None:
    with LocalCasStore(location) as store:
        ref = fill(store)
        for number in range(100):
            store.write_file(f"{number}" + "x" * 100, b"more than fits a row")
    before = tree_of(location)
    with LocalCasStore(location, read_only=True) as store, pytest.raises(StorageReadOnlyError):
        call(store, ref)
    assert tree_of(location) == before


def test_nothing_to_collect_is_no_leave_to_collect(location: Path) -> None:
    with LocalCasStore(location, read_only=True) as store, pytest.raises(StorageReadOnlyError):
        store.prune_orphan_blobs()


def test_a_reader_sees_what_a_writer_writes_meanwhile(location: Path) -> None:
    with LocalCasStore(location) as writer, LocalCasStore(location, read_only=True) as reader:
        for number in range(5):
            writer.write_file("a", bytes([number]))
            assert reader.read_file("a") == bytes([number])


def read_only_disk(make_disk: MakeDisk, prepare: Callable[[Path], None]) -> Path:
    """A disk that cannot be written any more, after it was prepared."""
    disk = make_disk(8 << 20)
    prepare(disk)
    done = subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True, check=False)
    if done.returncode:
        cannot_run("the small file system cannot be made read-only")
    return disk / "store"


def closed_store(disk: Path) -> None:
    with LocalCasStore(disk / "store") as store:
        fill(store)


def test_a_place_that_cannot_be_written_is_read_if_the_log_is_empty(make_disk: MakeDisk) -> None:
    place = read_only_disk(make_disk, closed_store)
    for _ in range(2):
        with LocalCasStore(place, read_only=True) as store:
            assert store.read_file("large") == LARGE
            assert store.audit_file_index(verify=True).is_sound()
            with pytest.raises(StorageReadOnlyError):
                store.write_file("a", b"x")


def test_a_place_that_cannot_be_written_is_read_whatever_its_file_system_is(
    make_disk: MakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Such as squashfs or iso9660: nothing can be tried there, and nobody writes there.
    place = read_only_disk(make_disk, closed_store)
    monkeypatch.setattr(filesystem_kind, "filesystem_type", lambda _: "squashfs")
    with LocalCasStore(place, read_only=True) as store:
        assert store.read_file("large") == LARGE


def test_a_place_that_cannot_be_written_is_not_read_past_a_log(make_disk: MakeDisk, start: Start) -> None:
    def killed_writer(disk: Path) -> None:
        writer = start(
            "store = LocalCasStore(location)\nstore.write_file('a', b'x')\nsay('written')\nhear()",
            disk / "store",
        )
        writer.hear()
        writer.kill()

    place = read_only_disk(make_disk, killed_writer)
    with pytest.raises(UnavailableError, match="writable"):
        LocalCasStore(place, read_only=True)


def test_a_place_that_cannot_be_written_is_refused_to_writers(make_disk: MakeDisk) -> None:
    place = read_only_disk(make_disk, closed_store)
    before = descriptors()
    try:
        with LocalCasStore(place) as store:
            with pytest.raises(StorageReadOnlyError):
                store.write_file("a", LARGE)
            assert store.read_file("small") == SMALL
    except StorageError:
        pass
    gc.collect()
    assert descriptors() == before
    with pytest.raises(StorageReadOnlyError):
        LocalCasStore(place.parent / "new")


def test_a_store_on_a_full_disk_is_opened_to_read(make_disk: MakeDisk) -> None:
    # What SQLite shares memory in has no room there, when nobody else has the store open.
    disk = make_disk(8 << 20)
    closed_store(disk)
    with pytest.raises(OSError, match="No space"):
        (disk / "filler").write_bytes(bytes(16 << 20))
    for _ in range(2):
        with LocalCasStore(disk / "store", read_only=True) as store:
            assert store.read_file("large") == LARGE
            assert store.audit_file_index(verify=True).is_sound()


def test_whoever_reads_on_a_full_disk_does_not_give_away_what_emptying_it_needs(make_disk: MakeDisk) -> None:
    disk = make_disk(8 << 20)
    closed_store(disk)

    def fill_up(name: str) -> None:
        with pytest.raises(OSError, match="No space"):
            (disk / name).write_bytes(bytes(16 << 20))

    fill_up("filler")
    with LocalCasStore(disk / "store", read_only=True) as store:
        paths = [file.path for file in store.list_files()]
    fill_up("another")
    with LocalCasStore(disk / "store") as store:
        assert store.delete_files(paths) == len(paths)
        assert store.prune_orphan_blobs().pruned_blobs > 0
