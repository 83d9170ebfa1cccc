"""Snapshots whose row, manifest or bytes are damaged: named, and nothing is taken that they may keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import BlobHashMismatchError, BlobMissingError, CatalogError, LocalCasStore
from agent_world_distfs.hashing import CHUNK_BYTES
from behind import blob_file, edit
from calls import LARGE
from changed_since import fill


@pytest.fixture
def filled(either_store: LocalCasStore) -> LocalCasStore:
    fill(either_store)
    return either_store


def test_the_audit_names_the_snapshots_whose_bytes_are_gone(filled: LocalCasStore) -> None:
    filled.snapshot("sound")
    lost = filled.hash_bytes(LARGE)
    blob_file(Path(filled.location), lost).unlink()
    report = filled.audit_file_index()
    assert report.missing_snapshot_blob_hashes == (lost,)
    assert report.missing_file_blob_hashes == ()
    assert report.damaged_snapshots == ("kept",)
    assert not report.is_sound()
    filled.drop_snapshot("kept")
    assert filled.audit_file_index().is_sound()


def many(store: LocalCasStore) -> Path:
    """So many files that their manifest is a file; returns that of the snapshot ``kept``."""
    store.write_files((f"many/{number}", b"%d" % number) for number in range(100))
    made = store.snapshot("kept")
    store.snapshot("same")
    store.write_file("many/1", b"changed")
    store.snapshot("other")
    return blob_file(Path(store.location), made.manifest.content_hash)


@pytest.mark.parametrize("accident", ["gone", "rotten"])
def test_a_snapshot_whose_manifest_is_damaged_is_named_and_stops_the_collection(
    store: LocalCasStore, accident: str
) -> None:
    file = many(store)
    orphan = store.put_bytes(b"orphan")
    name = file.name
    if accident == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    report = store.audit_file_index()
    assert report.damaged_snapshots == ("kept", "same")
    found = report.missing_snapshot_blob_hashes if accident == "gone" else report.corrupt_blob_hashes
    assert found == (name,)
    with pytest.raises((BlobMissingError, BlobHashMismatchError)):
        store.prune_orphan_blobs()
    assert store.has(orphan)
    for snapshot in ("kept", "same"):
        store.drop_snapshot(snapshot)
    assert orphan in store.prune_orphan_blobs().pruned_blob_hashes
    assert store.read_file_at("many/1", "other") == b"changed"


def test_damage_within_a_large_manifest_is_reported_like_any_other(
    store: LocalCasStore, tmp_path: Path
) -> None:
    """What is read first is no manifest any more, before all of it is known to be corrupt."""
    store.write_files((f"{number}/" + "x" * 3_000, b"%d" % number) for number in range(500))
    name = store.snapshot("kept").manifest.content_hash
    file = blob_file(Path(store.location), name)
    assert file.stat().st_size > CHUNK_BYTES + 100_000
    store.backup(tmp_path / "backup")
    file.write_bytes(file.read_bytes().replace(b"size_bytes", b"size_bites", 1))
    for is_verifying in (True, False):
        report = store.audit_file_index(verify=is_verifying)
        assert (report.corrupt_blob_hashes, report.damaged_snapshots) == ((name,), ("kept",))
    with pytest.raises(BlobHashMismatchError):
        store.list_files_at("kept")
    tried = store.repair(dry_run=True)
    assert (tried.lost_blob_hashes, tried.lost_snapshots) == ((name,), ("kept",))
    assert store.repair([tmp_path / "backup"]).repaired_blob_hashes == (name,)
    assert store.audit_file_index(verify=True).is_sound()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM snapshots",
        "UPDATE snapshots SET name = 'other'",
        "UPDATE snapshots SET created_at_ms = created_at_ms + 1",
        "UPDATE snapshots SET manifest_hash = zeroblob(32)",
        "UPDATE snapshots SET message = ''",
    ],
)
def test_a_changed_row_of_a_snapshot_is_index_damage_and_nothing_is_taken(
    store: LocalCasStore, sql: str
) -> None:
    fill(store)
    store.close()
    edit(Path(store.location), sql)
    with LocalCasStore(store.location) as again:
        assert again.audit_file_index().index_damage
        with pytest.raises(CatalogError):
            again.prune_orphan_blobs()


def test_a_snapshot_of_a_damaged_index_is_named_and_neither_audit_nor_repair_ends_at_it(
    store: LocalCasStore,
) -> None:
    """One flipped bit makes no path of a path; what was kept is whole, and no manifest."""
    store.snapshot("before")
    store.write_file("a/.b", b"kept")
    content_hash = store.write_file("c", b"kept").content_hash
    store.close()
    edit(Path(store.location), "UPDATE files SET path = 'a//b' WHERE path = 'a/.b'")
    with LocalCasStore(store.location) as damaged:
        damaged.snapshot("of damage")
        damaged.snapshot("same")
        assert damaged.audit_file_index().index_damage == ("the entry of 'a//b' contradicts its checksum",)
        assert damaged.repair(dry_run=True).index_damage
    edit(Path(store.location), "UPDATE files SET path = 'a/.b' WHERE path = 'a//b'")
    with LocalCasStore(store.location) as again:
        again.delete_files(["a/.b", "c"])
        again.snapshot("after")
        report = again.audit_file_index(verify=True)
        assert report.damaged_snapshots == ("of damage", "same")
        assert not report.is_sound()
        assert again.repair().lost_snapshots == ()
        assert content_hash not in again.prune_orphan_blobs().pruned_blob_hashes
        again.drop_snapshots(report.damaged_snapshots)
        assert again.audit_file_index().is_sound()
