"""Forks: a second store that begins as a snapshot, shares bytes on the disk, and nothing else."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobMissingError,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    SnapshotNotFoundError,
    StorageFullError,
    store_forks,
)
from agent_world_distfs.engine.cloning import is_cloned
from behind import blob_file
from calls import LARGE
from changed_since import FILES, contents, fill
from children import MakeDisk, Start, faulty
from test_named_meanwhile import run_once_after


@pytest.fixture
def filled(either_store: LocalCasStore) -> LocalCasStore:
    fill(either_store)
    return either_store


def test_a_fork_is_a_store_with_the_index_of_the_snapshot(filled: LocalCasStore, tmp_path: Path) -> None:
    report = filled.fork(tmp_path / "fork", "kept")
    assert (report.total_files, report.total_blobs) == (len(FILES), 2)
    with LocalCasStore(tmp_path / "fork", create=False) as fork:
        assert fork.hash_algorithm is filled.hash_algorithm
        assert fork.list_files() == filled.list_files_at("kept")
        assert contents(fork) == FILES
        assert fork.list_snapshots() == filled.list_snapshots()
        assert fork.export_file_index_manifest() == filled.find_snapshot("kept").manifest
        assert fork.audit_file_index(verify=True).is_clean()
        assert list(fork.diff("kept")) == []
        (change,) = fork.changes()
        assert change.is_import
    assert {entry.name for entry in tmp_path.iterdir()} == {Path(filled.location).name, "fork"}
    assert not list((tmp_path / "fork" / "tmp").iterdir())


def test_neither_store_sees_what_is_done_in_the_other(filled: LocalCasStore, tmp_path: Path) -> None:
    filled.restore_snapshot("kept")
    filled.fork(tmp_path / "fork", "kept")
    with LocalCasStore(tmp_path / "fork") as fork:
        fork.write_file("docs/large", b"other" * 5_000)
        fork.delete_file("top")
        fork.drop_snapshot("kept")
        assert fork.hash_bytes(LARGE) in fork.prune_orphan_blobs().pruned_blob_hashes
        assert fork.audit_file_index(verify=True).is_clean()
        assert contents(filled) == FILES
        filled.delete_files(FILES)
        filled.drop_snapshot("kept")
        filled.prune_orphan_blobs()
        expected = {**FILES, "docs/large": b"other" * 5_000}
        del expected["top"]
        assert contents(fork) == expected
        assert fork.audit_file_index(verify=True).is_clean()
    shutil.rmtree(filled.location)
    with LocalCasStore(tmp_path / "fork") as fork:
        assert fork.read_file("docs/a") == b"a"


def test_large_contents_are_shared_and_not_copied(filled: LocalCasStore, tmp_path: Path) -> None:
    report = filled.fork(tmp_path / "fork", "kept")
    assert (report.shared_blobs, report.copied_bytes) == (2, 0)
    name = filled.hash_bytes(LARGE)
    here, there = (blob_file(place, name) for place in (Path(filled.location), tmp_path / "fork"))
    assert there.read_bytes() == LARGE
    if not _can_clone(tmp_path):
        assert os.path.samefile(here, there)


def _can_clone(place: Path) -> bool:
    with (place / "one").open("w+b") as one, (place / "two").open("w+b") as two:
        one.write(b"x" * 4096)
        one.flush()
        return is_cloned(one, two.fileno())


def test_what_cannot_be_shared_is_copied(filled: LocalCasStore, make_disk: MakeDisk) -> None:
    disk = make_disk(8 << 20)
    report = filled.fork(disk / "fork", "kept")
    assert (report.shared_blobs, report.copied_bytes) == (0, len(LARGE) + 9_000)
    with LocalCasStore(disk / "fork", create=False) as fork:
        assert contents(fork) == FILES
        assert fork.audit_file_index(verify=True).is_clean()


def test_a_fork_of_a_fork_and_of_an_empty_snapshot(store: LocalCasStore, tmp_path: Path) -> None:
    store.snapshot("nothing")
    store.fork(tmp_path / "first", "nothing")
    with LocalCasStore(tmp_path / "first") as first:
        assert first.list_files() == []
        first.write_file("a", LARGE)
        first.snapshot("a")
        first.fork(tmp_path / "second", "a")
    with LocalCasStore(tmp_path / "second") as second:
        assert contents(second) == {"a": LARGE}


def test_many_files_of_the_same_contents_are_forked(store: LocalCasStore, tmp_path: Path) -> None:
    store.write_files((f"many/{number:04}", b"%d" % (number % 7) * 5_000) for number in range(1_000))
    store.snapshot("kept")
    seen: list[tuple[int, int | None]] = []
    report = store.fork(tmp_path / "fork", "kept", progress=lambda done, total: seen.append((done, total)))
    assert (report.total_files, report.total_blobs) == (1_000, 1)  # the manifest
    assert seen[-1] == (1_000, 1_000)
    with LocalCasStore(tmp_path / "fork") as fork:
        assert fork.list_files() == store.list_files()


def test_a_manifest_that_is_a_file_of_the_index_too_is_there_once(
    store: LocalCasStore, tmp_path: Path
) -> None:
    store.write_files((f"many/{number}", b"x") for number in range(200))
    first = store.snapshot("first")
    store.link_file("manifest", first.manifest.content_hash)
    second = store.snapshot("second")
    store.restore_snapshot("first")
    store.fork(tmp_path / "fork", "second")
    with LocalCasStore(tmp_path / "fork") as fork:
        assert fork.hash_bytes(fork.read_file("manifest")) == first.manifest.content_hash
        assert fork.list_snapshots() == [second]
        assert fork.audit_file_index(verify=True).is_clean()


def test_a_store_that_is_open_read_only_can_be_forked(filled: LocalCasStore, tmp_path: Path) -> None:
    with LocalCasStore(filled.location, read_only=True) as reader:
        reader.fork(tmp_path / "fork", "kept")
    with LocalCasStore(tmp_path / "fork") as fork:
        assert contents(fork) == FILES


# --- refused ------------------------------------------------------------------------------------


def test_a_fork_goes_where_nothing_is(filled: LocalCasStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    filled.fork(tmp_path / "empty", "kept")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_bytes(b"x")
    location = Path(filled.location)
    taken = [tmp_path / name for name in ("empty", "file", "other")]
    for target in (*taken, location, location / "x", tmp_path):
        with pytest.raises(InvalidInputError):
            filled.fork(target, "kept")
    with pytest.raises(NotFoundError):
        filled.fork(tmp_path / "missing" / "fork", "kept")
    assert [entry.name for entry in (tmp_path / "other").iterdir()] == ["x"]


@pytest.mark.parametrize("accident", ["gone", "rotten"])
def test_a_fork_of_lost_or_rotten_bytes_makes_nothing(
    filled: LocalCasStore, tmp_path: Path, accident: str
) -> None:
    file = blob_file(Path(filled.location), filled.hash_bytes(LARGE))
    data = file.read_bytes()
    file.unlink()
    if accident == "rotten":
        file.write_bytes(data[:-1] + b"x")
    before = set(tmp_path.iterdir())
    with pytest.raises(BlobMissingError if accident == "gone" else BlobHashMismatchError):
        filled.fork(tmp_path / "fork", "kept")
    assert set(tmp_path.iterdir()) == before


def test_a_fork_of_a_snapshot_that_is_dropped_meanwhile_makes_nothing(
    filled: LocalCasStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop() -> None:
        filled.drop_snapshot("kept")
        filled.prune_orphan_blobs()

    run_once_after(store_forks, "create_catalog", drop, monkeypatch)
    with pytest.raises(SnapshotNotFoundError):
        filled.fork(tmp_path / "fork", "kept")
    assert not (tmp_path / "fork").exists()


def test_a_full_disk_gets_no_half_fork(filled: LocalCasStore, make_disk: MakeDisk) -> None:
    filled.write_files((f"more/{number}", os.urandom(100_000)) for number in range(40))
    filled.snapshot("large")
    disk = make_disk(3 << 20)
    with pytest.raises(StorageFullError):
        filled.fork(disk / "fork", "large")
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize(("call", "fault"), [("fdatasync", "error=EIO:when=5+"), ("fsync", "error=EIO")])
def test_a_fork_whose_log_cannot_be_flushed_makes_nothing(
    filled: LocalCasStore, tmp_path: Path, start: Start, call: str, fault: str
) -> None:
    """Flushing all that was made tells only of what failed since: that error was told already."""
    wal = tmp_path / "fork.staging-00000000" / "tree" / "catalog.db-wal"
    before = set(tmp_path.iterdir())
    child = start(
        """
        import secrets
        with LocalCasStore(location, read_only=True) as store:
            secrets.token_hex = lambda size: "00" * size
            try:
                store.fork(sys.argv[2], "kept")
            except StorageIOError as error:
                say(error)
        """,
        filled.location,
        tmp_path / "fork",
        under=faulty(call, fault, path=wal),
    )
    assert child.hear_all()
    assert set(tmp_path.iterdir()) == before


def test_a_shared_file_is_not_locked_or_written_by_either(filled: LocalCasStore, tmp_path: Path) -> None:
    filled.fork(tmp_path / "fork", "kept")
    name = filled.hash_bytes(LARGE)
    with LocalCasStore(tmp_path / "fork") as fork:
        there = blob_file(tmp_path / "fork", name)
        there.unlink()
        there.write_bytes(b"rotten")
        assert fork.repair([filled]).is_whole()
        assert filled.get(name) == fork.get(name) == LARGE
        with there.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert filled.audit_file_index(verify=True).is_sound()
