"""Restoring a snapshot: the whole index, or what is below a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobMissingError,
    FileIndexManifestRef,
    IndexConflictError,
    LocalCasStore,
    NotFoundError,
    PathNotFoundError,
    SnapshotNotFoundError,
)
from behind import blob_file
from calls import LARGE
from changed_since import FILES, contents, fill


@pytest.fixture
def filled(either_store: LocalCasStore) -> LocalCasStore:
    fill(either_store)
    return either_store


def test_a_snapshot_is_restored_to_the_byte_and_the_time(filled: LocalCasStore) -> None:
    then = filled.list_files_at("kept")
    report = filled.restore_snapshot("kept")
    assert (report.total_files, report.added, report.changed, report.removed) == (len(FILES), 2, 2, 1)
    assert filled.list_files() == then
    assert contents(filled) == FILES
    assert filled.audit_file_index(verify=True).is_sound()
    *_, change = filled.changes()
    assert change.is_import
    assert change.imported == filled.find_snapshot("kept").manifest


def test_a_restore_demands_the_index_that_it_replaces(filled: LocalCasStore) -> None:
    now = filled.snapshot("now")
    filled.write_file("somebody", b"else")
    before = filled.list_files()
    for prefix in ("", "docs"):
        with pytest.raises(IndexConflictError) as raised:
            filled.restore_snapshot("kept", expected_current=now.manifest, prefix=prefix)
        assert raised.value.expected == now.manifest
        assert filled.list_files() == before
    filled.delete_file("somebody")
    filled.restore_snapshot("kept", expected_current=now.manifest, prefix="docs")
    filled.restore_snapshot("now")
    filled.restore_snapshot("kept", expected_current=now.manifest)
    assert contents(filled) == FILES


def test_an_expected_manifest_that_is_not_stored_is_not_taken_for_a_loss(filled: LocalCasStore) -> None:
    unknown = FileIndexManifestRef("0" * 64, 3)
    for prefix in ("", "docs"):
        with pytest.raises(NotFoundError) as raised:
            filled.restore_snapshot("kept", expected_current=unknown, prefix=prefix)
        assert not isinstance(raised.value, SnapshotNotFoundError)


@pytest.mark.parametrize("prefix", ["docs", "./docs/", "docs//"])
def test_a_part_is_restored_and_nothing_beside_it(filled: LocalCasStore, prefix: str) -> None:
    filled.write_file("docs", b"changed, and beside")
    then = {**contents(filled), "docs/a": b"a", "docs/large": LARGE}
    del then["docs/new"]
    report = filled.restore_snapshot("kept", prefix=prefix)
    assert (report.total_files, report.added, report.changed, report.removed) == (2, 1, 1, 1)
    assert contents(filled) == then


def test_restoring_a_part_is_ordinary_changes_that_can_be_seen_and_undone(filled: LocalCasStore) -> None:
    filled.set_setting("keep_history", True)
    before, since = contents(filled), filled.last_seq()
    filled.restore_snapshot("kept", prefix="docs")
    changes = list(filled.changes(since=since))
    assert [each.path for each in changes] == ["docs/a", "docs/large", "docs/new"]
    assert len({each.transaction_id for each in changes}) == 1
    with filled.watch(since=since, timeout_s=0) as seen:
        assert list(seen) == changes
    filled.undo_transaction(changes[0].transaction_id)
    assert contents(filled) == before


def test_a_part_that_is_as_it_was_keeps_its_times(filled: LocalCasStore) -> None:
    filled.restore_snapshot("kept", prefix="docs")
    before, since = filled.list_files(), filled.last_seq()
    report = filled.restore_snapshot("kept", prefix="docs")
    assert (report.added, report.changed, report.removed) == (0, 0, 0)
    assert filled.list_files() == before
    assert list(filled.changes(since=since)) == []


def test_a_part_of_which_there_is_nothing_anywhere_is_not_found(filled: LocalCasStore) -> None:
    for prefix in ("doc", "nowhere", "docs/a"):
        with pytest.raises(PathNotFoundError):
            filled.restore_snapshot("kept", prefix=prefix)


def test_a_part_that_the_snapshot_did_not_have_is_removed(filled: LocalCasStore) -> None:
    filled.write_file("later/x", b"x")
    assert filled.restore_snapshot("kept", prefix="later").removed == 1
    assert filled.stat_file("later/x") is None


@pytest.mark.parametrize("prefix", ["", "docs"])
def test_a_restore_of_lost_or_rotten_bytes_changes_nothing(filled: LocalCasStore, prefix: str) -> None:
    file = blob_file(Path(filled.location), filled.hash_bytes(LARGE))
    before = filled.list_files()
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(data)
    with pytest.raises(BlobHashMismatchError):
        filled.restore_snapshot("kept", prefix=prefix)
    file.unlink()
    with pytest.raises(BlobMissingError):
        filled.restore_snapshot("kept", prefix=prefix)
    with pytest.raises(BlobMissingError):
        filled.read_file_at("docs/large", "kept")
    assert filled.list_files() == before
    filled.put_bytes(LARGE)
    filled.restore_snapshot("kept", prefix=prefix)
    assert filled.read_file("docs/large") == LARGE
