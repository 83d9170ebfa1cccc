"""The history of the index: what changed, what was, and what an import changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import (
    BlobMissingError,
    FileMetadata,
    HistoryExpiredError,
    HistoryNotKeptError,
    InvalidInputError,
    LocalCasStore,
    PathNotFoundError,
    WorldError,
)
from agent_world_distfs.engine.retained import manifest_entries
from behind import blob_file
from calls import LARGE
from pasts import states_of

Index = dict[str, str]


def index_of(files: list[FileMetadata]) -> Index:
    return {file.path: file.content_hash for file in files}


# --- what changed -------------------------------------------------------------------------------


def test_changes_come_in_order_with_both_sides_and_who_made_them(either_store: LocalCasStore) -> None:
    store = either_store
    start = store.last_seq()
    first = store.write_file("a", b"1")
    second = store.write_file("b", b"2")
    store.delete_files(["a", "b"])
    changes = list(store.changes(since=start))
    assert [(each.path, each.before, each.after) for each in changes] == [
        ("a", None, first),
        ("b", None, second),
        ("a", first, None),
        ("b", second, None),
    ]
    assert [each.ordinal for each in changes] == [0, 0, 0, 1]
    assert [each.seq for each in changes] == sorted(each.seq for each in changes)
    assert len({each.transaction_id for each in changes}) == 3
    assert changes[-1].seq == store.last_seq()
    assert list(store.changes(since=changes[0].seq)) == changes[1:]
    assert list(store.changes(since=start, prefix="b")) == [changes[1], changes[3]]
    assert list(store.changes()) == changes
    assert list(store.history("./a")) == [changes[0], changes[2]]


def test_changes_end_at_the_time_of_the_call(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    changes = store.changes()
    store.write_file("b", b"2")
    assert [each.path for each in changes] == ["a"]


def test_many_changes_come_whole_and_in_order(store: LocalCasStore, tmp_path: Path) -> None:
    for number in range(2_500):
        (tmp_path / "tree").mkdir(exist_ok=True)
        (tmp_path / "tree" / f"{number:05}").write_bytes(b"x")
    store.import_tree(tmp_path / "tree")
    store.write_file("one more", b"x")
    changes = list(store.changes())
    assert [each.ordinal for each in changes] == [*range(2_500), 0]
    assert [each.path for each in changes] == [*(f"{n:05}" for n in range(2_500)), "one more"]


@pytest.mark.parametrize("seq", [-1, 10**6])
def test_a_seq_that_the_store_has_not_come_to_is_no_question(kept: LocalCasStore, seq: int) -> None:
    for ask in (
        lambda: list(kept.changes(since=seq)),
        lambda: kept.list_files_at(seq),
        lambda: kept.read_file_at("a", seq),
        lambda: kept.diff(0, seq),
    ):
        with pytest.raises(InvalidInputError) as raised:
            ask()
        assert not isinstance(raised.value, HistoryExpiredError)
    with pytest.raises(TypeError):
        kept.list_files_at(1.5)  # type: ignore[arg-type]


# --- what was -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_kept", [True, False])
def test_every_state_of_the_index_can_be_listed(store: LocalCasStore, *, is_kept: bool) -> None:
    store.set_setting("keep_history", is_kept)
    for seq, files in states_of(store):
        assert store.list_files_at(seq) == files
        assert store.list_files_at(seq, prefix="small/") == [f for f in files if f.path.startswith("small/")]
        for path in ("small/0", "small/1", "large", "never"):
            expected = next((file for file in files if file.path == path), None)
            assert store.stat_file_at(path, seq) == expected


def test_every_content_that_was_can_be_read(kept: LocalCasStore) -> None:
    contents = {}
    for number in range(4):
        kept.write_file("a", b"%d" % number * (1 + 4_000 * number))
        contents[kept.last_seq()] = kept.read_file("a")
    kept.delete_file("a")
    gone = kept.last_seq()
    kept.prune_orphan_blobs()
    for seq, data in contents.items():
        assert kept.read_file_at("a", seq) == data
    with pytest.raises(PathNotFoundError):
        kept.read_file_at("a", gone)


def test_without_the_setting_no_old_content_can_be_read(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    with pytest.raises(HistoryNotKeptError, match="keep_history"):
        store.read_file_at("a", store.last_seq())


def test_contents_from_before_the_setting_are_not_known(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    before = store.last_seq()
    store.set_setting("keep_history", True)
    start = store.last_seq()
    assert store.log_range().kept_from_seq == start
    store.write_file("a", b"2")
    assert store.read_file_at("a", start) == b"1"
    with pytest.raises(HistoryExpiredError) as raised:
        store.read_file_at("a", before)
    assert (raised.value.seq, raised.value.first_seq) == (before, start)
    store.set_setting("keep_history", True)
    assert store.log_range().kept_from_seq == start


def test_a_difference_is_what_comparing_two_listings_gives(kept: LocalCasStore) -> None:
    states = states_of(kept)
    for seq_a, files_a in states:
        for seq_b, files_b in states:
            a, b = index_of(files_a), index_of(files_b)
            expected = sorted(path for path in a.keys() | b.keys() if a.get(path) != b.get(path))
            found = list(kept.diff(seq_a, seq_b))
            assert [each.path for each in found] == expected
            for each in found:
                assert each.before == next((f for f in files_a if f.path == each.path), None)
                assert each.after == next((f for f in files_b if f.path == each.path), None)
            only = [each for each in found if each.path.startswith("small")]
            assert list(kept.diff(seq_a, seq_b, prefix="small")) == only


def test_now_is_the_call_beside_a_number_and_the_first_difference_beside_a_snapshot(
    store: LocalCasStore,
) -> None:
    store.write_file("a", b"1")
    since = store.last_seq()
    store.snapshot("then")
    by_number, by_name = store.diff(since), store.diff("then")
    store.write_file("b", b"2")
    assert list(by_number) == []
    assert [each.path for each in by_name] == ["b"]


# --- imports ------------------------------------------------------------------------------------


def test_an_import_is_one_change_with_both_manifests(kept: LocalCasStore) -> None:
    kept.write_file("a", b"1")
    wanted = kept.export_file_index_manifest(pin=True)
    kept.write_file("b", b"2")
    was = kept.export_file_index_manifest()
    kept.import_file_index_manifest(wanted)
    change = list(kept.changes(prefix="whatever"))[-1]
    assert change.is_import
    assert (change.path, change.before, change.after) == ("", None, None)
    assert (change.imported, change.replaced) == (wanted, was)


def test_what_was_before_an_import_can_be_read_after_it(
    kept: LocalCasStore, other_store: LocalCasStore
) -> None:
    other_store.write_file("pulled", b"pulled")
    other_store.write_file("small/0", LARGE * 2)
    states = states_of(kept)
    ref = kept.export_file_index_manifest()
    kept.write_file("small/2", b"after")
    states.append((kept.last_seq(), kept.list_files()))
    kept.import_file_index_manifest(ref)
    states.append((list(kept.changes())[-1].seq, kept.list_files()))
    kept.write_file("small/2", b"later")
    states.append((kept.last_seq(), kept.list_files()))
    kept.pull_index(other_store)
    states.append((list(kept.changes())[-1].seq, kept.list_files()))
    kept.write_file("end", b"end")
    kept.prune_orphan_blobs()
    for seq, files in states:
        assert kept.list_files_at(seq) == files
        for file in files:
            assert kept.hash_bytes(kept.read_file_at(file.path, seq)) == file.content_hash
    for seq_a, files_a in states[-4:]:
        for seq_b, files_b in states[-4:]:
            a, b = index_of(files_a), index_of(files_b)
            expected = sorted(path for path in a.keys() | b.keys() if a.get(path) != b.get(path))
            assert [each.path for each in kept.diff(seq_a, seq_b)] == expected


def test_a_pulled_index_is_named_by_its_manifest(kept: LocalCasStore, other_store: LocalCasStore) -> None:
    other_store.write_file("pulled", b"pulled")
    kept.pull_index(other_store)
    (change,) = kept.changes()
    assert change.imported == other_store.export_file_index_manifest()


def test_without_a_history_an_import_hides_what_was_before_it(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    before = store.last_seq()
    store.import_file_index_manifest(store.export_file_index_manifest())
    (_, change) = store.changes()
    assert (change.is_import, change.replaced) == (True, None)
    assert store.list_files_at(change.seq) == store.list_files()
    with pytest.raises(HistoryExpiredError) as raised:
        store.list_files_at(before)
    assert raised.value.first_seq == change.seq
    report = store.expire_history()
    assert (report.first_seq, report.first_state_seq) == (store.log_range().first_seq, change.seq)


# --- the rest -----------------------------------------------------------------------------------


def _with_an_import(store: LocalCasStore) -> int:
    """Returns the seq of a state before it."""
    store.write_file("a", b"1")
    ref = store.export_file_index_manifest(pin=True)
    store.write_file("a", b"2")
    before = store.last_seq()
    store.import_file_index_manifest(ref)
    return before


@pytest.mark.parametrize("is_on_again", [False, True])
@pytest.mark.parametrize("is_pruned", [False, True])
def test_a_state_before_an_import_is_known_only_while_its_manifest_is_kept(
    kept: LocalCasStore, *, is_on_again: bool, is_pruned: bool
) -> None:
    before = _with_an_import(kept)
    assert kept.list_files_at(before)[0].content_hash == kept.hash_bytes(b"2")
    assert kept.expire_history(before_seq=0).first_state_seq == 0
    kept.set_setting("keep_history", False)
    if is_pruned:
        kept.prune_orphan_blobs()
    if is_on_again:
        kept.set_setting("keep_history", True)
    for look in (
        lambda: kept.list_files_at(before),
        lambda: kept.stat_file_at("a", before),
        lambda: list(kept.diff(before)),
    ):
        with pytest.raises(HistoryExpiredError) as raised:
            look()
        first = raised.value.first_seq
        assert kept.list_files_at(first) == kept.list_files()
        assert kept.expire_history(before_seq=0).first_state_seq == first


def test_a_manifest_that_expires_while_it_is_searched_for_is_no_damage(
    kept: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _with_an_import(kept)

    def expire_first(*args: Any) -> Iterator[FileMetadata]:
        kept.expire_history(before_seq=kept.last_seq())
        kept.prune_orphan_blobs()
        return manifest_entries(*args)

    monkeypatch.setattr("agent_world_distfs.engine.past.manifest_entries", expire_first)
    with pytest.raises(HistoryExpiredError) as raised:
        kept.list_files_at(before)
    assert raised.value.first_seq == kept.log_range().first_seq
    assert kept.list_files_at(raised.value.first_seq) == kept.list_files()


def test_a_manifest_that_is_kept_and_lost_is_damage(kept: LocalCasStore) -> None:
    kept.write_files((f"{number:0>100}", b"") for number in range(200))  # a manifest with a file of its own
    before = _with_an_import(kept)
    (change,) = (each for each in kept.changes() if each.is_import)
    assert change.replaced is not None
    blob_file(kept.location, change.replaced.content_hash).unlink()
    with pytest.raises(BlobMissingError):
        kept.list_files_at(before)


def test_a_manifest_does_not_show_whether_there_is_a_history(
    store: LocalCasStore, other_store: LocalCasStore
) -> None:
    store.set_setting("keep_history", True)
    states_of(store)
    other_store.pull_index(store)
    refs = [each.export_file_index_manifest() for each in (store, other_store)]
    assert refs[0] == refs[1]
    assert store.get(refs[0].content_hash) == other_store.get(refs[1].content_hash)


def test_reading_the_past_needs_no_right_to_write(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        states = states_of(store)
        with LocalCasStore(location, read_only=True) as reader:
            for seq, files in states:
                assert reader.list_files_at(seq) == files
            with pytest.raises(WorldError):
                reader.expire_history(max_transactions=0)
