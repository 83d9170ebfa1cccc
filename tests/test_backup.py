"""Backups of an open store: one snapshot, repeated at the price of what is new, restored and verified."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from agent_world_distfs import (
    BackupReport,
    CatalogError,
    IncompatibleStoreError,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    StorageError,
    StorageFullError,
    UnavailableError,
    repair_store,
    restore_backup,
)
from children import MakeDisk
from trees import plant

FILES = {"small": b"small", "large": b"large" * 5_000, "other": b"other" * 6_000, "empty": b""}


@pytest.fixture
def filled(store: LocalCasStore) -> LocalCasStore:
    for path, data in FILES.items():
        store.write_file(path, b"before " + data)
        store.write_file(path, data)
    store.pin(store.put_bytes(b"pinned" * 3_000))
    return store


def contents(location: Path | str) -> dict[str, bytes]:
    with LocalCasStore(location, create=False) as store:
        assert store.audit_file_index(verify=True).is_sound()
        return {file.path: store.read_file(file.path) for file in store.iter_files()}


def test_a_backup_opens_as_a_store_with_everything_in_it(filled: LocalCasStore, tmp_path: Path) -> None:
    report = filled.backup(tmp_path / "backup")
    assert report.is_whole()
    assert report.total_files == len(FILES)
    assert report.copied_blobs == report.total_blobs > 0
    assert contents(tmp_path / "backup") == FILES
    with LocalCasStore(tmp_path / "backup") as copy:
        assert copy.list_files() == filled.list_files()
        assert copy.list_pins() == filled.list_pins()
        assert copy.hash_algorithm is filled.hash_algorithm
        assert copy.export_file_index_manifest() == filled.export_file_index_manifest()


def test_repeated_only_what_is_new_is_copied(filled: LocalCasStore, tmp_path: Path) -> None:
    filled.backup(tmp_path / "backup")
    again = filled.backup(tmp_path / "backup")
    assert (again.copied_blobs, again.removed_blobs) == (0, 0)
    filled.write_file("large", b"changed" * 4_000)
    filled.prune_orphan_blobs()
    third = filled.backup(tmp_path / "backup")
    assert third.copied_blobs == 1
    assert third.removed_blobs > 0
    assert contents(tmp_path / "backup") == FILES | {"large": b"changed" * 4_000}
    assert not list((tmp_path / "backup" / "tmp").iterdir())


def blob_file(root: Path | str, store: LocalCasStore, data: bytes) -> Path:
    name = store.hash_bytes(data)
    return Path(root, "blobs", name[:2], name)


@pytest.mark.parametrize("size_kib", [64, 256, 512, 768, 1_024, 1_280, 2_560])
def test_a_full_target_is_named_and_the_store_is_not_blamed(
    filled: LocalCasStore, make_disk: MakeDisk, size_kib: int
) -> None:
    disk = make_disk(size_kib << 10)
    for number in range(60):
        filled.write_file(f"small/{number}", os.urandom(8_000))
    for number in range(10):
        filled.write_file(f"large/{number}", os.urandom(80_000))

    def restore() -> BackupReport:
        return restore_backup(filled.location, disk / "copy")

    for copy in (partial(filled.backup, disk / "copy"), restore):
        with pytest.raises(StorageError) as raised:
            copy()
        assert raised.value.path.startswith(str(disk))
        assert "not an error" not in raised.value.reason
        shutil.rmtree(disk / "copy")


def test_what_rots_in_the_backup_is_found_when_it_is_verified(filled: LocalCasStore, tmp_path: Path) -> None:
    filled.backup(tmp_path / "backup")
    file = blob_file(tmp_path / "backup", filled, FILES["large"])
    file.write_bytes(b"x" * len(FILES["large"]))
    assert filled.backup(tmp_path / "backup").copied_blobs == 0
    assert filled.backup(tmp_path / "backup", verify=True).copied_blobs == 1
    assert contents(tmp_path / "backup") == FILES


def test_what_rots_in_the_store_does_not_reach_the_backup(filled: LocalCasStore, tmp_path: Path) -> None:
    filled.backup(tmp_path / "backup")
    blob_file(filled.location, filled, FILES["large"]).write_bytes(b"x" * len(FILES["large"]))
    blob_file(filled.location, filled, FILES["other"]).unlink()
    assert filled.backup(tmp_path / "backup").is_whole()
    assert contents(tmp_path / "backup") == FILES
    fresh = filled.backup(tmp_path / "fresh")
    assert fresh.corrupt_blob_hashes == (filled.hash_bytes(FILES["large"]),)
    assert fresh.missing_blob_hashes == (filled.hash_bytes(FILES["other"]),)
    assert filled.repair([tmp_path / "backup"]).is_whole()


def test_a_damaged_catalog_does_not_reach_the_backup(filled: LocalCasStore, tmp_path: Path) -> None:
    filled.backup(tmp_path / "backup")
    location = filled.location
    filled.close()
    catalog = Path(location, "catalog.db")
    data = catalog.read_bytes()
    catalog.write_bytes(data.replace(b"other", b"otter"))
    with LocalCasStore(location) as store, pytest.raises(CatalogError):
        store.backup(tmp_path / "backup")
    assert contents(tmp_path / "backup") == FILES


def test_a_restored_backup_is_the_store(filled: LocalCasStore, tmp_path: Path) -> None:
    filled.backup(tmp_path / "backup")
    report = restore_backup(tmp_path / "backup", tmp_path / "restored")
    assert report.is_whole()
    assert contents(tmp_path / "restored") == FILES
    with LocalCasStore(tmp_path / "restored") as store:
        assert store.list_files() == filled.list_files()
        assert store.list_pins() == filled.list_pins()
        store.write_file("next", b"next" * 9_000)
        store.prune_orphan_blobs()
    names = {path.name for path in (tmp_path / "restored").iterdir()}
    assert names == {"catalog.db", "blobs", "tmp", "locks", "reserve"}
    with pytest.raises(IncompatibleStoreError):
        restore_backup(tmp_path / "backup", tmp_path / "restored")


def test_a_restore_names_what_the_backup_has_lost(filled: LocalCasStore, tmp_path: Path) -> None:
    filled.backup(tmp_path / "backup")
    blob_file(tmp_path / "backup", filled, FILES["large"]).write_bytes(b"x" * len(FILES["large"]))
    report = restore_backup(tmp_path / "backup", tmp_path / "restored")
    assert report.corrupt_blob_hashes == (filled.hash_bytes(FILES["large"]),)
    with LocalCasStore(tmp_path / "restored") as store:
        assert store.repair([filled]).is_whole()
    assert contents(tmp_path / "restored") == FILES


def test_leases_of_the_source_do_not_travel(filled: LocalCasStore, tmp_path: Path) -> None:
    from agent_world_distfs.engine.leases import Lease

    orphan = filled.put_bytes(b"orphan" * 3_000)
    with Lease(filled._catalog, filled._blobs) as lease:
        assert lease.keep([orphan]) == []
        filled.backup(tmp_path / "backup")
        assert filled.prune_orphan_blobs(dry_run=True).pruned_blob_hashes.count(orphan) == 0
    before = (tmp_path / "backup" / "catalog.db").read_bytes()
    with LocalCasStore(tmp_path / "backup") as copy:
        assert orphan in copy.prune_orphan_blobs(dry_run=True).pruned_blob_hashes
    assert (tmp_path / "backup" / "catalog.db").read_bytes() == before  # opening it leaves it as it is
    assert filled.backup(tmp_path / "backup").copied_blobs == 0


# --- targets ------------------------------------------------------------------------------------


def test_what_is_no_backup_of_this_store_is_left_alone(
    filled: LocalCasStore, other_store: LocalCasStore, tmp_path: Path
) -> None:
    other_store.write_file("other", b"other")  # which began as a copy of the same store
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_bytes(b"mine")
    other_store.backup(tmp_path / "backup of a copy")
    with LocalCasStore(tmp_path / "new") as new:
        new.backup(tmp_path / "backup of another")
    places = ["mine", "new", "backup of a copy", "backup of another"]
    for name in [Path(other_store.location), *(tmp_path / place for place in places)]:
        with pytest.raises(IncompatibleStoreError):
            filled.backup(name)
        with pytest.raises(IncompatibleStoreError):
            restore_backup(filled.location, name)
    assert not list((tmp_path / "mine").glob("*.json"))
    assert (tmp_path / "mine" / "file").read_bytes() == b"mine"
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(IncompatibleStoreError):
        filled.backup(tmp_path / "a file")
    for name in (Path(filled.location), Path(filled.location, "blobs"), tmp_path):
        with pytest.raises(InvalidInputError):
            filled.backup(name)
    with pytest.raises(NotFoundError):
        restore_backup(tmp_path / "nothing", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_backup_that_somebody_has_changed_is_left_alone(filled: LocalCasStore, tmp_path: Path) -> None:
    filled.backup(tmp_path / "backup")
    with LocalCasStore(tmp_path / "backup") as copy:
        copy.write_file("work", b"work")
    with pytest.raises(IncompatibleStoreError):
        filled.backup(tmp_path / "backup")
    with LocalCasStore(tmp_path / "backup") as copy:
        assert copy.read_file("work") == b"work"


def test_a_backup_that_somebody_has_open_is_left_alone(filled: LocalCasStore, tmp_path: Path) -> None:
    filled.backup(tmp_path / "backup")
    with LocalCasStore(tmp_path / "backup", read_only=True) as copy:
        with pytest.raises(UnavailableError):
            filled.backup(tmp_path / "backup")
        assert copy.read_file("large") == FILES["large"]
    filled.backup(tmp_path / "backup")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"store": 1, "states": 2}', "\udcff"])
def test_a_mark_that_nobody_can_read_is_refused(filled: LocalCasStore, tmp_path: Path, text: str) -> None:
    filled.backup(tmp_path / "backup")
    (tmp_path / "backup" / "backup.json").write_bytes(os.fsencode(text))
    with pytest.raises(IncompatibleStoreError):
        filled.backup(tmp_path / "backup")


@pytest.mark.parametrize("name", ["backup.json", "restore.json"])
def test_where_somebody_else_has_a_file_called_like_the_mark_nothing_is_made(
    filled: LocalCasStore, tmp_path: Path, name: str
) -> None:
    filled.backup(tmp_path / "backup")
    place = tmp_path / "place"
    plant(place, {name: b'{"of": "another program"}', "mine": b"mine"})
    with pytest.raises(IncompatibleStoreError):
        filled.backup(place)
    with pytest.raises(IncompatibleStoreError):
        restore_backup(tmp_path / "backup", place)
    assert sorted(os.listdir(place)) == sorted([name, "mine"])


def test_where_the_disk_is_full_the_backup_goes_on_later(filled: LocalCasStore, make_disk: MakeDisk) -> None:
    disk = make_disk(6 << 20)
    filler = disk / "filler"
    filler.write_bytes(bytes(3 << 20))
    filled.write_file("huge", os.urandom(2 << 20))
    filled.write_file("more", os.urandom(1 << 19))
    with pytest.raises(StorageFullError):
        filled.backup(disk / "backup")
    assert not (disk / "backup" / "catalog.db").exists()
    filler.unlink()
    filled.backup(disk / "backup")
    with LocalCasStore(disk / "backup", create=False) as copy:
        assert copy.audit_file_index(verify=True).is_sound()
        assert copy.list_files() == filled.list_files()


def test_progress_is_told_in_bytes(filled: LocalCasStore, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    filled.backup(tmp_path / "backup", progress=lambda done, total: told.append((done, total)))
    assert told
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_backup_from_before_a_repair_that_lost_files_keeps_them(
    filled: LocalCasStore, tmp_path: Path
) -> None:
    for number in range(300):
        filled.write_file(f"many/{number}", b"%d" % number)
    wanted = filled.list_files()
    filled.backup(tmp_path / "backup")
    filled.write_file("later", b"later")
    filled.close()
    catalog = tmp_path / "damaged" / "catalog.db"
    shutil.copytree(filled.location, catalog.parent)
    for first, last in ((20, 30), (4, 200)):  # the last commits are known, or nothing is
        place = shutil.copytree(catalog.parent, tmp_path / f"{first}")
        with (place / "catalog.db").open("r+b") as file:
            file.seek(first * 4096)
            file.write(bytes((last - first) * 4096))
        report = repair_store(place)
        assert (report.is_proven, report.lost_files is None) == (False, first == 4)
        with LocalCasStore(place) as store:
            for number in range(400):  # so that what was lost could be taken for long ago
                store.delete_file("a") if number % 2 else store.write_file("a", b"a")
            with pytest.raises(IncompatibleStoreError, match="lost part of the index|of another store"):
                store.backup(tmp_path / "backup")
            made = store.backup(tmp_path / f"new {first}")
            assert store.backup(tmp_path / f"new {first}").total_files == made.total_files
    with LocalCasStore(tmp_path / "backup") as backup:
        assert backup.list_files() == wanted


@pytest.mark.parametrize(
    ("directory", "file"), [(0o700, 0o644), (0o755, 0o600), (0o750, 0o640), (0o755, 0o644)]
)
def test_whoever_may_not_read_a_store_may_not_read_its_copies(
    filled: LocalCasStore, tmp_path: Path, directory: int, file: int
) -> None:
    filled.snapshot("monday")
    os.chmod(filled.location, directory)
    os.chmod(Path(filled.location, "catalog.db"), file)
    filled.backup(tmp_path / "backup")
    filled.fork(tmp_path / "fork", "monday")
    restore_backup(tmp_path / "backup", tmp_path / "restored")
    expected = {0o600: 0o700, 0o640: 0o750}.get(file, directory)
    for name in ("backup", "fork", "restored"):
        assert oct((tmp_path / name).stat().st_mode & 0o777) == oct(expected), name
    (tmp_path / "chosen").mkdir(0o711)
    filled.backup(tmp_path / "chosen")
    assert (tmp_path / "chosen").stat().st_mode & 0o777 == 0o711
