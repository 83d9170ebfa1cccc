"""A blob whose file the disk cannot read is corrupt: reported, repaired, left out; and it stops nobody."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore, StorageIOError
from behind import blob_file
from unreadable import BadDisk
from unreadable import disk as disk_that_reads

__all__ = ["disk_that_reads"]


@pytest.fixture(params=["pread", "open", "stat"])
def disk(disk_that_reads: BadDisk, request: pytest.FixtureRequest) -> BadDisk:
    """One that fails when a file is read, when it is opened, or when it is looked at."""
    disk_that_reads.fails_at = request.param
    return disk_that_reads


FILES = {str(number): b"%d" % number * 20_000 for number in range(4)}


def fill(store: LocalCasStore) -> None:
    for path, data in FILES.items():
        store.write_file(path, data)


@pytest.fixture
def filled(store: LocalCasStore) -> LocalCasStore:
    fill(store)
    return store


@pytest.fixture
def peer(other_store: LocalCasStore) -> LocalCasStore:
    fill(other_store)
    return other_store


def lose(store: LocalCasStore, disk: BadDisk, path: str) -> str:
    """Make the disk unable to read a file; returns its hash."""
    name = store.hash_bytes(FILES[path])
    disk.lose(blob_file(store.location, name))
    return name


def rot(store: LocalCasStore, path: str) -> str:
    name = store.hash_bytes(FILES[path])
    blob_file(store.location, name).write_bytes(FILES[path][:-1] + b"!")
    return name


def contents(store: LocalCasStore) -> dict[str, bytes]:
    return {file.path: store.read_file(file.path) for file in store.iter_files()}


@pytest.mark.parametrize("code", ["EIO", "EBADMSG"])
def test_the_audit_lists_it_as_corrupt_and_reads_on(filled: LocalCasStore, disk: BadDisk, code: str) -> None:
    disk.code = getattr(errno, code)
    found = {lose(filled, disk, "0"), rot(filled, "2")}
    report = filled.audit_file_index(verify=True)
    assert set(report.corrupt_blob_hashes) == found
    assert report.is_verified
    with pytest.raises(StorageIOError):
        filled.read_file("0")


def test_portions_get_past_it(filled: LocalCasStore, disk: BadDisk) -> None:
    lost, rotten = lose(filled, disk, "1"), rot(filled, "2")
    seen = [filled.audit_file_index(verify=True, max_bytes=20_000).corrupt_blob_hashes for _ in FILES]
    assert seen == [(), (lost,), (rotten,), ()]


def test_a_repair_fetches_it_from_a_source(filled: LocalCasStore, peer: LocalCasStore, disk: BadDisk) -> None:
    found = {lose(filled, disk, "0"), rot(filled, "2")}
    kept = blob_file(filled.location, filled.hash_bytes(FILES["0"])).stat().st_ino
    report = filled.repair([peer])
    assert set(report.repaired_blob_hashes) == found
    assert kept in {Path(filled.location, name).stat().st_ino for name in report.quarantined}
    assert contents(filled) == FILES
    assert filled.audit_file_index(verify=True).is_sound()


def test_what_nobody_has_is_set_aside_and_heals_when_it_is_stored(
    filled: LocalCasStore, disk: BadDisk
) -> None:
    name = lose(filled, disk, "0")
    report = filled.repair()
    assert (report.lost_blob_hashes, report.lost_paths) == ((name,), ("0",))
    assert [Path(filled.location, each).stat().st_ino for each in report.quarantined] == list(disk.inodes)
    assert filled.audit_file_index(verify=True).missing_file_blob_hashes == (name,)
    filled.put_bytes(FILES["0"])
    assert contents(filled) == FILES


def test_where_the_disk_has_lost_the_very_entry_the_repair_goes_on_to_the_next(
    filled: LocalCasStore, peer: LocalCasStore, disk_that_reads: BadDisk
) -> None:
    disk_that_reads.fails_at = "rename"
    lost, rotten = lose(filled, disk_that_reads, "0"), rot(filled, "2")
    report = filled.repair([peer])
    assert (report.repaired_blob_hashes, report.lost_blob_hashes) == ((rotten,), (lost,))
    [refused] = report.refused_blobs
    assert refused.startswith(f"this store: {lost} (")


def test_a_backup_leaves_it_out_and_names_it(filled: LocalCasStore, tmp_path: Path, disk: BadDisk) -> None:
    name = lose(filled, disk, "0")
    report = filled.backup(tmp_path / "backup")
    assert (report.corrupt_blob_hashes, report.missing_blob_hashes) == ((name,), ())
    assert report.copied_blobs == len(FILES) - 1


def test_what_a_backup_cannot_read_of_itself_is_copied_again(
    filled: LocalCasStore, tmp_path: Path, disk: BadDisk
) -> None:
    filled.backup(tmp_path / "backup")
    disk.lose(blob_file(tmp_path / "backup", filled.hash_bytes(FILES["0"])))
    assert filled.backup(tmp_path / "backup", verify=True).copied_blobs == 1
    with LocalCasStore(tmp_path / "backup", create=False) as copy:
        assert contents(copy) == FILES


def test_a_manifest_that_cannot_be_read_is_reported_with_its_snapshots(
    store: LocalCasStore, tmp_path: Path, disk: BadDisk
) -> None:
    store.write_files((f"many/{number}", b"%d" % number) for number in range(100))
    manifest = store.snapshot("kept").manifest.content_hash
    store.backup(tmp_path / "backup")
    file = blob_file(store.location, manifest)
    assert file.exists()
    disk.lose(file)
    report = store.audit_file_index()
    assert (report.corrupt_blob_hashes, report.damaged_snapshots) == ((manifest,), ("kept",))
    assert store.repair(dry_run=True).lost_snapshots == ("kept",)
    assert store.repair([tmp_path / "backup"]).repaired_blob_hashes == (manifest,)
    assert store.audit_file_index(verify=True).is_sound()


def test_storing_the_same_content_replaces_it(filled: LocalCasStore, tmp_path: Path, disk: BadDisk) -> None:
    for path in FILES:
        lose(filled, disk, path)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "3").write_bytes(FILES["3"])
    filled.put_bytes(FILES["0"])
    filled.put_stream(io.BytesIO(FILES["1"]))
    filled.write_files([("2", FILES["2"])])
    filled.import_tree(tmp_path / "tree")
    assert contents(filled) == FILES
