"""A catalog that cannot be read whole: what is right in it becomes a new one, the rest is named."""

from __future__ import annotations

import contextlib
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
    BlobNotFoundError,
    Data,
    HashAlgorithm,
    IncompatibleStoreError,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    RepairReport,
    StorageError,
    StorageFullError,
    UnavailableError,
    repair_store,
)
from agent_world_distfs.catalog.pages import PageFile
from behind import blob_file, look
from children import MakeDisk

PAGE = 4096
FILES = {f"dir/{number:03}": b"%d" % number * (number + 1) for number in range(200)}
FILES |= {f"large/{number}": bytes([number]) * (9_000 + number) for number in range(5)}


@pytest.fixture
def filled(location: Path) -> Path:
    with LocalCasStore(location) as store:
        for path, data in FILES.items():
            store.write_file(path, b"before " + data)
            store.write_file(path, data)
        store.delete_file("dir/007")
        store.pin(store.put_bytes(b"pinned"))
        store.prune_orphan_blobs()
    return location


@pytest.fixture
def peer(filled: Path, other_store: LocalCasStore) -> LocalCasStore:
    with LocalCasStore(filled, read_only=True) as store:
        other_store.pull_index(store)
        other_store.put_bytes(b"pinned")
    return other_store


def expected() -> dict[str, bytes]:
    return {path: data for path, data in FILES.items() if path != "dir/007"}


def contents(location: Path) -> dict[str, bytes]:
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).is_sound()
        return {file.path: store.read_file(file.path) for file in store.iter_files()}


def assert_restored(location: Path, report: RepairReport) -> None:
    assert report.is_whole()
    assert contents(location) == expected()
    with LocalCasStore(location) as store:
        assert store.list_pins() == [store.hash_bytes(b"pinned")]
        store.write_file("next", b"next")
        assert report.salvaged_from is not None
        assert (location / report.salvaged_from).exists()


def blank(location: Path, first: int, last: int) -> None:
    with (location / "catalog.db").open("r+b") as file:
        file.seek(first * PAGE)
        file.write(bytes((last - first) * PAGE))


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


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_catalog_that_was_built_anew_is_for_those_who_could_use_the_damaged_one(
    filled: Path, mode: int
) -> None:
    catalog = filled / "catalog.db"
    catalog.chmod(mode)
    owner = (12_345, 23_456) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(catalog, *owner)
    blank(filled, 0, 1)
    report = repair_store(filled)
    assert report.salvaged_from is not None
    status = catalog.stat()
    assert (oct(status.st_mode & 0o777), status.st_uid, status.st_gid) == (oct(mode), *owner)
    assert contents(filled) == expected()


def test_a_source_with_another_algorithm_is_refused_before_anything_is_built_anew(
    filled: Path, tmp_path: Path
) -> None:
    LocalCasStore(tmp_path / "other", hash_algorithm=HashAlgorithm.SHA256).close()
    blank(filled, 6, 12)
    for source in (tmp_path / "other", LocalCasStore(tmp_path / "other")):
        with pytest.raises(InvalidInputError, match="by sha256, this store by blake3"):
            repair_store(filled, [source])
    assert not list(filled.glob("catalog.db.*"))
    assert os.listdir(filled / "tmp") == []
    assert repair_store(filled).salvaged_from is not None


class StoreOfOthers:
    """A source that is not ours; looks around when it is asked."""

    def __init__(self, named: str, look_around: Callable[[], None] = lambda: None) -> None:
        self._named, self._look_around = named, look_around

    @property
    def hash_algorithm(self) -> str:
        self._look_around()
        return self._named

    def put(self, content_hash: str, data: Data) -> None:
        raise NotImplementedError

    def get(self, content_hash: str) -> bytes:
        raise BlobNotFoundError(content_hash)

    def has(self, content_hash: str) -> bool:
        return False

    def put_bytes(self, data: Data) -> str:
        raise NotImplementedError


def test_no_number_comes_again_where_all_commits_are_lost_twice(filled: Path) -> None:
    numbers = []
    for _ in range(2):
        with contextlib.closing(apsw.Connection(str(filled / "catalog.db"))) as connection:
            connection.execute("DELETE FROM commits")
            connection.execute("VACUUM")
        repair_store(filled)
        with LocalCasStore(filled) as store:
            numbers.append(store.last_seq())
            store.write_file("since", b"since")
    assert numbers[1] > numbers[0] + 1


def test_a_source_may_name_its_algorithm_in_text(filled: Path) -> None:
    blank(filled, 0, 1)
    with pytest.raises(InvalidInputError, match="by sha256, this store by blake3"):
        repair_store(filled, [StoreOfOthers("sha256")])
    assert_restored(filled, repair_store(filled, [StoreOfOthers("blake3")]))


def test_what_a_repair_builds_is_for_nobody_else_meanwhile(filled: Path) -> None:
    blank(filled, 0, 1)
    modes: set[int] = set()

    def look_around() -> None:
        modes.update(each.stat().st_mode & 0o777 for each in (filled / "tmp").glob("repair-*"))

    repair_store(filled, [StoreOfOthers("blake3", look_around)])
    assert modes == {0o700}


def test_snapshots_that_are_lost_are_counted_and_the_index_is_proven_all_the_same(filled: Path) -> None:
    with LocalCasStore(filled) as store:
        for name in ("monday", "tuesday"):
            store.snapshot(name)
    ((page,),) = look(filled, "SELECT rootpage FROM sqlite_schema WHERE name = 'snapshots'")
    assert isinstance(page, int)
    shutil.copytree(filled, filled.with_name("backup"))
    blank(filled, page - 1, page)
    tried = repair_store(filled, dry_run=True)
    report = repair_store(filled)
    for each in (tried, report):
        assert (each.is_index_proven, each.is_proven, each.is_whole()) == (True, False, False)
        assert (each.missing_snapshots, each.missing_pins, each.lost_files) == (2, 0, 0)
    assert contents(filled) == expected()
    assert report.salvaged_from is not None
    os.rename(filled / report.salvaged_from, filled / "catalog.db")
    assert repair_store(filled, [filled.with_name("backup")]).missing_snapshots == 0
