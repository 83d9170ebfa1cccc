"""A catalog that cannot be read whole: what is right in it becomes a new one, the rest is named."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from agent_world_distfs import (
    IncompatibleStoreError,
    LocalCasStore,
    NotFoundError,
    RepairReport,
    StorageError,
    StorageFullError,
    UnavailableError,
    repair_store,
)
from agent_world_distfs.catalog.pages import PageFile
from behind import blob_file
from children import MakeDisk
from lost_catalogs import PAGE, assert_restored, blank, contents, expected, fill


@pytest.fixture
def filled(location: Path) -> Path:
    fill(location)
    return location


@pytest.fixture
def peer(filled: Path, other_store: LocalCasStore) -> LocalCasStore:
    with LocalCasStore(filled, read_only=True) as store:
        other_store.pull_index(store)
        other_store.put_bytes(b"pinned")
    return other_store


def test_a_whole_catalog_stays(filled: Path) -> None:
    before = (filled / "catalog.db").stat().st_ino
    report = repair_store(filled)
    assert report.is_whole()
    assert (report.salvaged_files, report.salvaged_from) == (None, None)
    assert (filled / "catalog.db").stat().st_ino == before


@pytest.mark.parametrize("lost", ["locks", "locks/handles", "locks/gate", "locks/turnstile", "tmp"])
def test_lock_files_and_directories_that_were_cleared_away_come_back(filled: Path, lost: str) -> None:
    place = filled / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    report = repair_store(filled)
    assert report.is_whole()
    assert report.salvaged_from is None
    assert contents(filled) == expected()
    with LocalCasStore(filled) as store:
        store.write_file("next", b"next" * 5_000)


def test_lock_files_come_back_where_the_reserve_is_gone_too(filled: Path) -> None:
    shutil.rmtree(filled / "locks")
    (filled / "reserve").unlink()
    assert repair_store(filled).is_whole()
    assert contents(filled) == expected()


def test_a_directory_of_blobs_that_is_gone_comes_back_with_all_that_a_source_has(
    filled: Path, tmp_path: Path
) -> None:
    with LocalCasStore(filled) as store:
        store.backup(tmp_path / "backup")
    shutil.rmtree(filled / "blobs")
    with LocalCasStore(filled) as store, pytest.raises(StorageError, match="run `distfs repair`") as raised:
        store.write_file("next", b"next" * 5_000)
    assert raised.value.path == str(filled / "blobs")
    assert not repair_store(filled, dry_run=True).is_whole()
    assert not (filled / "blobs").exists()
    report = repair_store(filled, [tmp_path / "backup"])
    assert report.is_whole()
    assert contents(filled) == expected()
    with LocalCasStore(filled) as store:
        store.write_file("next", b"next" * 5_000)


def test_a_directory_of_sessions_that_goes_while_the_store_is_open_is_named(filled: Path) -> None:
    with LocalCasStore(filled) as store:
        shutil.rmtree(filled / "tmp")
        with pytest.raises(StorageError, match="run `distfs repair`") as raised:
            store.put_bytes(b"next" * 5_000)
        assert raised.value.path == str(filled / "tmp")
        with pytest.raises(StorageError, match="run `distfs repair`") as raised, store.lease() as lease:
            lease.put_bytes(b"x")
        assert raised.value.path == str(filled / "tmp")


@pytest.mark.parametrize("algorithm_bytes", [b"blake3", b"SQLite format 3\0"])
def test_a_header_or_a_name_that_is_wrong_costs_nothing(filled: Path, algorithm_bytes: bytes) -> None:
    data = (filled / "catalog.db").read_bytes()
    (filled / "catalog.db").write_bytes(data.replace(algorithm_bytes, algorithm_bytes[::-1], 1))
    assert_restored(filled, repair_store(filled))


def test_the_first_page_is_not_needed(filled: Path) -> None:
    blank(filled, 0, 1)
    # Neither the format nor the name of anything is known any more.
    assert_restored(filled, repair_store(filled))


def test_a_bit_that_flipped_in_the_key_is_found(filled: Path) -> None:
    data = bytearray((filled / "catalog.db").read_bytes())
    at = data.index(b"blake3") + 6 + 11
    data[at] ^= 4
    (filled / "catalog.db").write_bytes(data)
    assert_restored(filled, repair_store(filled))


def test_each_page_in_turn_may_be_lost_if_another_store_helps(
    filled: Path, peer: LocalCasStore, tmp_path: Path
) -> None:
    pages = (filled / "catalog.db").stat().st_size // PAGE
    backup = shutil.copytree(filled, tmp_path / "backup")
    wrong = []
    for page in random.Random(1).sample(range(1, pages), 8):
        place = shutil.copytree(filled, tmp_path / str(page))
        blank(place, page, page + 1)
        repair_store(place, [peer, backup])
        if contents(place) != expected():
            wrong.append(page)
    assert wrong == []


def test_what_is_lost_is_counted_and_nothing_old_comes_back(filled: Path) -> None:
    pages = (filled / "catalog.db").stat().st_size // PAGE
    blank(filled, pages // 3, pages)
    report = repair_store(filled)
    assert not report.is_whole()
    found = contents_that_are_there(filled, report)
    assert found.items() <= expected().items()


def contents_that_are_there(location: Path, report: RepairReport) -> dict[str, bytes]:
    with LocalCasStore(location) as store:
        lost = set(report.lost_paths)
        return {f.path: store.read_file(f.path) for f in store.iter_files() if f.path not in lost}


def test_a_catalog_that_is_gone_leaves_its_blobs(filled: Path, peer: LocalCasStore) -> None:
    (filled / "catalog.db").unlink()
    report = repair_store(filled)
    assert not report.is_whole()
    assert (report.salvaged_files, report.lost_files, report.salvaged_from) == (0, None, None)
    assert len(report.adopted_blob_hashes) == 5
    with LocalCasStore(filled) as store:
        assert store.audit_file_index(verify=True).is_sound()
        store.pull_index(peer)
    assert contents(filled) == expected()


def test_a_catalog_under_the_name_of_a_blob_is_found(filled: Path) -> None:
    blob = next(filled.glob("blobs/*/*"))
    spare = filled / "spare"
    blob.rename(spare)
    (filled / "catalog.db").rename(blob)
    spare.rename(filled / "catalog.db")
    report = repair_store(filled)
    assert report.is_proven
    assert len(report.lost_paths) == 1  # whose file had the name of the catalog


def database_of_an_application(place: Path) -> bytes:
    connection = apsw.Connection(str(place / "app.sqlite"))
    connection.execute("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(40000))")
    connection.close()
    return (place / "app.sqlite").read_bytes()


def catalog_of_another_store(place: Path) -> bytes:
    with LocalCasStore(place / "another") as store:
        store.write_file("of/another", b"of another store" * 1_000)
    return (place / "another" / "catalog.db").read_bytes()


@pytest.mark.parametrize("make", [database_of_an_application, catalog_of_another_store])
def test_a_database_that_is_stored_is_never_taken_for_the_catalog(
    filled: Path, tmp_path: Path, make: Callable[[Path], bytes]
) -> None:
    with LocalCasStore(filled) as store:
        content_hash = store.write_file("db", make(tmp_path)).content_hash
        names = {file.path for file in store.iter_files()}
    with (filled / "catalog.db").open("r+b") as file:
        file.write(b"\xff" * 16)
    report = repair_store(filled)
    assert (report.is_proven, report.salvaged_files) == (True, len(names))
    size = os.stat(filled / "catalog.db").st_size
    for is_rotten in (False, True):  # nor if nothing is left of the catalog
        (filled / "catalog.db").write_bytes(random.Random(7).randbytes(size))
        if is_rotten:
            os.truncate(blob_file(filled, content_hash), blob_file(filled, content_hash).stat().st_size - 1)
        report = repair_store(filled)
        assert (report.is_proven, report.salvaged_files) == (False, 0)
        with LocalCasStore(filled) as store:
            assert store.list_files() == []


def test_what_stands_in_the_log_counts(filled: Path, tmp_path: Path) -> None:
    store = LocalCasStore(filled)
    store.write_file("in/the/log", b"l" * 100)
    place = shutil.copytree(filled, tmp_path / "killed")
    store.close()
    assert (place / "catalog.db-wal").stat().st_size
    data = bytearray((place / "catalog.db").read_bytes())
    data[data.index(b"blake3")] ^= 1
    (place / "catalog.db").write_bytes(data)
    blank(place, 9, 10)
    report = repair_store(place)
    with LocalCasStore(place) as mended:
        assert mended.read_file("in/the/log") == b"l" * 100
    assert report.salvaged_from is not None
    assert (place / f"{report.salvaged_from}-wal").exists()


def test_where_temporary_files_have_no_room_their_place_is_named(
    filled: Path, tmp_path: Path, make_disk: MakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalCasStore(filled) as store:
        store.write_file("in/the/log", b"l" * 100)
        place = shutil.copytree(filled, tmp_path / "killed")
    blank(place, 0, 1)
    disk = make_disk(16 << 10)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    with pytest.raises(StorageFullError) as raised:
        repair_store(place, dry_run=True)
    assert raised.value.path.startswith(f"{disk}/distfs-repair-")
    assert os.listdir(disk) == []
    repair_store(place)  # it makes all that it needs in the store
    with LocalCasStore(place) as mended:
        assert mended.read_file("in/the/log") == b"l" * 100


def test_a_store_that_somebody_has_open_is_not_built_anew(filled: Path) -> None:
    held = LocalCasStore(filled)
    blank(filled, 0, 1)
    before = (filled / "catalog.db").read_bytes()
    with pytest.raises(UnavailableError):
        repair_store(filled)
    assert (filled / "catalog.db").read_bytes() == before
    assert held._catalog.handle is not None
    held._catalog.handle.close()  # its catalog is past closing


def test_a_dry_run_says_what_would_be_and_changes_nothing(filled: Path, peer: LocalCasStore) -> None:
    blank(filled, 3, 5)
    next(filled.glob("blobs/*/*")).unlink()
    before = {path: path.read_bytes() for path in filled.rglob("*") if path.is_file()}
    plan = repair_store(filled, [peer], dry_run=True)
    after = {path: path.read_bytes() for path in filled.rglob("*") if path.is_file()}
    assert {name: data for name, data in after.items() if "tmp" not in name.parts} == {
        name: data for name, data in before.items() if "tmp" not in name.parts
    }
    done = repair_store(filled, [peer])
    assert plan.repaired_blob_hashes == done.repaired_blob_hashes
    assert (plan.salvaged_files, plan.is_proven) == (done.salvaged_files, done.is_proven)


@pytest.mark.parametrize(
    "make", [lambda place: None, lambda place: place.mkdir(), lambda place: place.write_bytes(b"")]
)
def test_where_nothing_is_left_there_is_nothing_to_mend(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "place")
    with pytest.raises(NotFoundError):
        repair_store(tmp_path / "place")


def test_a_store_of_another_format_is_refused(filled: Path) -> None:
    connection = apsw.Connection(str(filled / "catalog.db"))
    connection.execute("PRAGMA user_version = 2; CREATE TABLE newer (x)")
    connection.close()
    with pytest.raises(IncompatibleStoreError):
        repair_store(filled)


def test_noise_for_a_catalog_is_no_error_of_ours(filled: Path) -> None:
    size = os.stat(filled / "catalog.db").st_size
    (filled / "catalog.db").write_bytes(random.Random(7).randbytes(size))
    assert repair_store(filled).salvaged_files == 0
    pages = PageFile(str(filled / "catalog.db"))
    assert list(pages.records())
    pages.close()


@pytest.mark.parametrize("is_left", [True, False])
def test_a_stray_file_that_the_disk_cannot_read_keeps_no_catalog_from_being_built(
    filled: Path, monkeypatch: pytest.MonkeyPatch, is_left: bool
) -> None:
    with LocalCasStore(filled) as store:
        stray = blob_file(filled, store.hash_bytes(b"stray" * 5_000))
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"stray" * 5_000)
    if is_left:
        blank(filled, 0, 1)
    else:
        (filled / "catalog.db").write_bytes(b"")
    unreadable, pread = stray.stat().st_ino, os.pread

    def fail(descriptor: int, size: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == unreadable:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", fail)
    report = repair_store(filled)
    assert report.salvaged_files == (len(expected()) if is_left else 0)
    assert stray.name not in report.adopted_blob_hashes
    assert stray.exists()
    with LocalCasStore(filled) as store:
        assert not store.has(stray.name)
