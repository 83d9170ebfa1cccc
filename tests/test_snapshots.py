"""Snapshots: states of the index that are kept by name, until they are dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobMissingError,
    CatalogError,
    FileIndexManifestRef,
    IndexConflictError,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    PathNotFoundError,
    Snapshot,
    SnapshotExistsError,
    SnapshotNotFoundError,
    SnapshotPruneReport,
    StorageReadOnlyError,
)
from behind import blob_file, edit
from test_exchange import LARGE

FILES = {"docs/a": b"a", "docs/large": LARGE, "docs2/b": b"b", "docs": b"no directory", "top": b"t" * 9_000}

NO_NAMES = {
    "empty": "",
    "dot": ".",
    "parent": "..",
    "two segments": "a/b",
    "absolute": "/a",
    "a slash at the end": "a/",
    "NUL": "a\0b",
    "lone surrogate": "a\udc80",
    "256 bytes": "x" * 256,
    "258 bytes in 86 characters": "\u6587" * 86,
}


def contents(store: LocalCasStore) -> dict[str, bytes]:
    return {file.path: store.read_file(file.path) for file in store.list_files()}


def fill(store: LocalCasStore) -> Snapshot:
    """Files, a snapshot of them, and changes of each kind since; what has become an orphan is pruned."""
    for path, data in FILES.items():
        store.write_file(path, data)
    kept = store.snapshot("kept", "before the changes")
    store.write_file("docs/a", b"changed")
    store.write_file("docs/new", b"new")
    store.delete_files(["docs/large", "top"])
    store.write_file("docs2/b", b"changed, too")
    store.prune_orphan_blobs()
    return kept


@pytest.fixture
def filled(either_store: LocalCasStore) -> LocalCasStore:
    fill(either_store)
    return either_store


# --- creating -----------------------------------------------------------------------------------


def test_a_snapshot_is_of_the_manifest_that_an_export_gives(either_store: LocalCasStore) -> None:
    store = either_store
    for path, data in FILES.items():
        store.write_file(path, data)
    exported = store.export_file_index_manifest()
    made = store.snapshot("one", "why")
    assert (made.name, made.manifest, made.total_files, made.message) == ("one", exported, len(FILES), "why")
    assert store.read_file_index_manifest(made.manifest).files == tuple(store.list_files())
    assert store.list_snapshots() == [made]
    assert store.find_snapshot("one") == made


def test_snapshots_of_the_same_index_share_their_manifest(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    first = store.snapshot("one")
    stored = store.usage().stored_bytes
    second = store.snapshot("two")
    assert second.manifest == first.manifest
    assert store.usage().stored_bytes == stored
    assert [each.name for each in store.list_snapshots()] == ["one", "two"]


def test_a_snapshot_of_an_empty_index_brings_an_empty_index_back(store: LocalCasStore) -> None:
    store.snapshot("nothing")
    store.write_file("a", b"1")
    assert store.restore_snapshot("nothing").removed == 1
    assert store.list_files() == []


def test_a_snapshot_is_there_when_the_store_is_opened_again(store: LocalCasStore) -> None:
    made = fill(store)
    store.close()
    with LocalCasStore(store.location, read_only=True) as again:
        assert again.list_snapshots() == [made]
        assert again.read_file_at("docs/large", "kept") == LARGE


@pytest.mark.parametrize("name", ["a", "...", "a b", "-x", "\u6587\u4ef6", "x" * 255, "120"])
def test_any_plain_segment_is_a_name(store: LocalCasStore, name: str) -> None:
    assert store.snapshot(name).name == name
    assert store.find_snapshot(name).name == name


@pytest.mark.parametrize("name", NO_NAMES.values(), ids=NO_NAMES.keys())
def test_what_is_no_plain_segment_is_no_name(store: LocalCasStore, tmp_path: Path, name: str) -> None:
    for call in calls_with_a_name(store, tmp_path):
        with pytest.raises(InvalidInputError):
            call(name)
    with pytest.raises(InvalidInputError):
        store.snapshot(name)
    assert store.list_snapshots() == []


def test_a_name_or_message_of_another_type_is_a_type_error(store: LocalCasStore) -> None:
    for call in (
        lambda: store.snapshot(b"a"),  # type: ignore[arg-type]
        lambda: store.snapshot("a", None),  # type: ignore[arg-type]
        lambda: store.drop_snapshot(None),  # type: ignore[arg-type]
        lambda: store.restore_snapshot(1),  # type: ignore[arg-type]
        lambda: store.restore_snapshot("a", expected_current="a:1"),  # type: ignore[arg-type]
    ):
        with pytest.raises((TypeError, NotFoundError)):
            call()


def calls_with_a_name(store: LocalCasStore, place: Path) -> list[Callable[[str], object]]:
    return [
        store.find_snapshot,
        store.drop_snapshot,
        store.restore_snapshot,
        lambda name: store.restore_snapshot(name, prefix="docs"),
        store.list_files_at,
        lambda name: store.stat_file_at("a", name),
        lambda name: store.read_file_at("a", name),
        store.diff,
        lambda name: store.diff(0, name),
        lambda name: store.fork(place / "fork", name),
    ]


def test_an_unknown_snapshot_is_not_found_and_nothing_is_done(filled: LocalCasStore, tmp_path: Path) -> None:
    before = filled.list_files()
    for call in calls_with_a_name(filled, tmp_path):
        with pytest.raises(SnapshotNotFoundError) as raised:
            call("unknown")
        assert raised.value.name == "unknown"
        assert isinstance(raised.value, NotFoundError)
    assert filled.list_files() == before
    assert not (tmp_path / "fork").exists()


def test_a_name_is_given_once(filled: LocalCasStore) -> None:
    kept = filled.find_snapshot("kept")
    with pytest.raises(SnapshotExistsError) as raised:
        filled.snapshot("kept")
    assert (raised.value.name, raised.value.actual) == ("kept", kept)
    assert filled.list_snapshots() == [kept]
    filled.drop_snapshot("kept")
    assert filled.snapshot("kept") != kept


def test_a_read_only_store_lists_and_changes_nothing(filled: LocalCasStore) -> None:
    with LocalCasStore(filled.location, read_only=True) as reader:
        assert [each.name for each in reader.list_snapshots()] == ["kept"]
        assert reader.prune_snapshots(keep_last=1, dry_run=True).kept == ("kept",)
        for call in (
            lambda: reader.snapshot("other"),
            lambda: reader.drop_snapshot("kept"),
            lambda: reader.restore_snapshot("kept"),
            lambda: reader.restore_snapshot("kept", prefix="docs"),
            lambda: reader.prune_snapshots(keep_last=1),
        ):
            with pytest.raises(StorageReadOnlyError):
                call()


# --- what it keeps ------------------------------------------------------------------------------


def test_a_prune_spares_all_that_a_snapshot_names_until_it_is_dropped(filled: LocalCasStore) -> None:
    old = [filled.stat_file_at(path, "kept") for path in ("docs/a", "docs/large", "docs2/b", "top")]
    assert filled.prune_orphan_blobs().pruned_blobs == 0
    assert {path: filled.read_file_at(path, "kept") for path in FILES} == FILES
    report = filled.audit_file_index(verify=True)
    assert report.is_clean()
    kept = filled.find_snapshot("kept").manifest.content_hash
    expected = {kept, *(file.content_hash for file in old if file is not None)}
    assert set(report.snapshot_blob_hashes) == expected
    filled.drop_snapshot("kept")
    assert set(filled.audit_file_index().orphan_blob_hashes) == expected
    assert set(filled.prune_orphan_blobs().pruned_blob_hashes) == expected
    assert filled.audit_file_index(verify=True).is_clean()


def test_what_two_snapshots_name_stays_as_long_as_one_of_them(store: LocalCasStore) -> None:
    store.write_file("a", LARGE)
    store.snapshot("one")
    store.write_file("b", b"b")
    store.snapshot("two")
    store.delete_files(["a", "b"])
    store.drop_snapshot("one")
    store.prune_orphan_blobs()
    assert store.read_file_at("a", "two") == LARGE
    store.drop_snapshot("two")
    store.prune_orphan_blobs()
    assert store.usage().stored_bytes == 0


def test_paths_pins_history_and_snapshots_are_told_apart(store: LocalCasStore) -> None:
    for path in ("path", "pin", "snapshot", "both"):
        store.write_file(path, path.encode() * 100)
    manifest = store.snapshot("kept").manifest
    store.pin(store.hash_bytes(b"pin" * 100))
    store.delete_files(["snapshot", "pin"])
    store.set_setting("keep_history", True)
    store.delete_file("both")
    orphan = store.put_bytes(b"orphan")
    report = store.audit_file_index()
    assert report.orphan_blob_hashes == (orphan,)
    assert report.history_blob_hashes == (store.hash_bytes(b"both" * 100),)
    only = {store.hash_bytes(b"snapshot" * 100), manifest.content_hash}
    assert set(report.snapshot_blob_hashes) == only
    usage = store.usage()
    assert (usage.unique_bytes, usage.exclusive_bytes, usage.pinned_bytes) == (400, 0, 300)
    assert (usage.history_bytes, usage.snapshot_bytes, usage.orphan_bytes) == (
        400,
        800 + manifest.size_bytes,
        6,
    )


def test_dropping_is_of_that_snapshot_alone_and_once(filled: LocalCasStore) -> None:
    other = filled.snapshot("other")
    filled.drop_snapshot("kept")
    assert filled.list_snapshots() == [other]
    with pytest.raises(SnapshotNotFoundError):
        filled.drop_snapshot("kept")


# --- reading ------------------------------------------------------------------------------------


def test_files_of_a_snapshot_are_listed_and_read_by_its_name(filled: LocalCasStore) -> None:
    assert [file.path for file in filled.list_files_at("kept")] == sorted(FILES)
    assert [file.path for file in filled.list_files_at("kept", prefix="docs/")] == ["docs/a", "docs/large"]
    assert filled.stat_file_at("docs/new", "kept") is None
    assert filled.read_file_at("./docs//a", "kept") == b"a"
    with pytest.raises(PathNotFoundError):
        filled.read_file_at("docs/new", "kept")


def deeds(differences: Iterator[object]) -> list[tuple[str, str]]:
    found = []
    for each in differences:
        path, before, after = (getattr(each, name) for name in ("path", "before", "after"))
        found.append((path, "added" if before is None else "removed" if after is None else "changed"))
    return found


SINCE = [
    ("docs/a", "changed"),
    ("docs/large", "removed"),
    ("docs/new", "added"),
    ("docs2/b", "changed"),
    ("top", "removed"),
]


def test_snapshots_are_compared_with_each_other_with_now_and_with_numbers(filled: LocalCasStore) -> None:
    filled.snapshot("now")
    assert deeds(filled.diff("kept", "now")) == SINCE
    assert deeds(filled.diff("kept")) == SINCE
    assert deeds(filled.diff("kept", filled.last_seq())) == SINCE
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    assert deeds(filled.diff("now", "kept")) == [(path, turned[deed]) for path, deed in SINCE]
    assert deeds(filled.diff("kept", "now", prefix="docs/")) == SINCE[:3]
    assert deeds(filled.diff("kept", "kept")) == []
    assert deeds(filled.diff(filled.last_seq(), "now")) == []


def test_a_path_that_only_was_written_again_does_not_differ(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    store.snapshot("one")
    store.write_file("a", b"1")
    assert list(store.diff("one")) == []


def test_a_difference_is_streamed_and_leaves_nothing_open(filled: LocalCasStore) -> None:
    differences = filled.diff("kept")
    assert next(differences).path == "docs/a"
    del differences
    filled.diff("kept")  # never begun
    filled.drop_snapshot("kept")
    filled.prune_orphan_blobs()


def test_a_difference_that_begins_after_the_drop_says_so(filled: LocalCasStore) -> None:
    differences = filled.diff("kept")
    filled.drop_snapshot("kept")
    with pytest.raises(SnapshotNotFoundError):
        next(differences)


# --- restoring ----------------------------------------------------------------------------------


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


# --- damage -------------------------------------------------------------------------------------


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


# --- the rule -----------------------------------------------------------------------------------


def test_pruning_drops_what_no_rule_keeps(filled: LocalCasStore) -> None:
    for name in ("a", "b", "c"):
        filled.snapshot(name)
    planned = filled.prune_snapshots(keep_last=2, dry_run=True)
    assert planned == SnapshotPruneReport(("b", "c"), ("kept", "a"))
    assert len(filled.list_snapshots()) == 4
    assert filled.prune_snapshots(keep_last=2) == planned
    assert [each.name for each in filled.list_snapshots()] == ["b", "c"]
    assert filled.prune_snapshots(keep_daily=3).dropped == ()


def test_a_rule_that_keeps_nothing_or_less_is_no_rule(filled: LocalCasStore) -> None:
    calls: list[Callable[[], object]] = [
        filled.prune_snapshots,
        lambda: filled.prune_snapshots(keep_last=0, dry_run=True),
        lambda: filled.prune_snapshots(keep_daily=-1),
        lambda: filled.prune_snapshots(keep_last=1, keep_monthly=-1),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError):
            call()
    with pytest.raises(TypeError):
        filled.prune_snapshots(keep_last=True)
    assert len(filled.list_snapshots()) == 1
