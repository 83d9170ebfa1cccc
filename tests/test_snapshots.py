"""Snapshots: states of the index that are kept by name, until they are dropped."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_world_distfs import (
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    PathNotFoundError,
    SnapshotExistsError,
    SnapshotNotFoundError,
    SnapshotPruneReport,
    StorageReadOnlyError,
)
from calls import LARGE
from changed_since import FILES, fill

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


def test_several_are_dropped_together_or_not_at_all(filled: LocalCasStore) -> None:
    filled.snapshot("second")
    before = filled.last_seq()
    with pytest.raises(SnapshotNotFoundError) as raised:
        filled.drop_snapshots(iter(["kept", "nope", "second", "none", "nope"]))
    assert (raised.value.name, raised.value.others) == ("nope", ("none",))
    assert pickle.loads(pickle.dumps(raised.value)).others == ("none",)
    assert [each.name for each in filled.list_snapshots()] == ["kept", "second"]
    filled.drop_snapshots(["kept", "second", "kept"])
    assert filled.list_snapshots() == []
    assert filled.last_seq() == before + 1
    with pytest.raises(TypeError):
        filled.drop_snapshots("kept")


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
    with pytest.raises(TypeError):
        filled.diff(None, "kept")  # type: ignore[arg-type]


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
