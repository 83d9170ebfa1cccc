"""The history of the index: what changed, what was, how much of it is remembered, and what that keeps."""

from __future__ import annotations

import os
import time
from pathlib import Path

import apsw
import pytest

from agent_world_distfs import (
    BlobMissingError,
    CatalogError,
    FileIndexManifestRef,
    FileMetadata,
    HistoryExpiredError,
    HistoryNotKeptError,
    InvalidInputError,
    LocalCasStore,
    PathNotFoundError,
    StoreSettings,
    WorldError,
)
from behind import blob_file, edit
from calls import LARGE
from children import Start

Index = dict[str, str]


def index_of(files: list[FileMetadata]) -> Index:
    return {file.path: file.content_hash for file in files}


@pytest.fixture
def kept(store: LocalCasStore) -> LocalCasStore:
    """A store that keeps its history."""
    store.set_setting("keep_history", True)
    return store


def states_of(store: LocalCasStore) -> list[tuple[int, list[FileMetadata]]]:
    """Makes changes of each kind; returns what the index was after each, by its seq."""
    states = []

    def note() -> None:
        states.append((store.last_seq(), store.list_files()))

    note()
    for number in range(3):
        store.write_file(f"small/{number}", b"%d" % number)
        note()
    store.write_file("large", LARGE)
    note()
    store.write_file("small/0", b"again")
    note()
    store.rename_file("large", "moved")
    note()
    store.delete_files(["small/1", "moved"])
    note()
    store.pin(store.put_bytes(b"pinned"))
    note()
    return states


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
        kept.list_files_at("1")  # type: ignore[arg-type]


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
            found = kept.diff(seq_a, seq_b)
            assert [each.path for each in found] == expected
            for each in found:
                assert each.before == next((f for f in files_a if f.path == each.path), None)
                assert each.after == next((f for f in files_b if f.path == each.path), None)
            only = [each for each in found if each.path.startswith("small")]
            assert kept.diff(seq_a, seq_b, prefix="small") == only


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


# --- settings and expiry ------------------------------------------------------------------------


def test_settings_are_of_the_store_and_not_of_the_process(location: Path) -> None:
    with LocalCasStore(location) as one, LocalCasStore(location) as other:
        assert one.settings() == StoreSettings()
        one.set_setting("keep_history", True)
        one.set_setting("history_max_age_ms", 10)
        one.set_setting("history_max_bytes", 1 << 40)
        told = one.set_setting("history_max_transactions", 3)
        assert told == StoreSettings(True, 10, 3, 1 << 40)
        assert other.settings() == told
        other.set_setting("history_max_age_ms", None)
        assert one.settings() == StoreSettings(True, None, 3, 1 << 40)


def test_a_setting_that_cannot_be_is_refused(store: LocalCasStore) -> None:
    for name, value, error in (
        ("keep", True, InvalidInputError),
        ("keep_history", 1, InvalidInputError),
        ("history_max_bytes", -1, InvalidInputError),
        ("history_max_bytes", "1", TypeError),
    ):
        with pytest.raises(error):
            store.set_setting(name, value)  # type: ignore[arg-type]
    assert store.settings() == StoreSettings()


def test_nothing_expires_before_it_is_told_to(kept: LocalCasStore) -> None:
    kept.set_setting("history_max_transactions", 1)
    states = states_of(kept)
    kept.prune_orphan_blobs()
    assert kept.list_files_at(states[0][0]) == states[0][1]


def test_expiry_keeps_the_last_transactions_that_changed_the_index(kept: LocalCasStore) -> None:
    kept.set_setting("history_max_transactions", 2)
    states = states_of(kept)
    report = kept.expire_history()
    assert report.expired_transactions == 5
    assert len({each.seq for each in kept.changes()}) == 2
    assert kept.log_range().first_seq == report.first_seq
    for seq, files in states:
        if seq < report.first_seq:
            with pytest.raises(HistoryExpiredError):
                kept.list_files_at(seq)
        else:
            assert kept.list_files_at(seq) == files
    assert kept.expire_history().expired_transactions == 0
    assert kept.audit_file_index(verify=True).is_sound()


def test_expiry_by_age_bytes_and_number(kept: LocalCasStore) -> None:
    seqs = []
    for number in range(5):
        kept.write_file("a", b"%d" % number * 100)
        seqs.append(kept.last_seq())
    assert kept.expire_history(max_age_ms=3_600_000).expired_transactions == 0
    assert kept.expire_history(before_seq=seqs[0]).expired_transactions == 1
    assert kept.read_file_at("a", seqs[0]) == b"0" * 100
    kept.expire_history(max_bytes=250)
    assert [each.seq for each in kept.changes()] == seqs[3:]
    kept.expire_history(max_transactions=0)
    assert list(kept.changes()) == []
    assert kept.read_file_at("a", kept.log_range().first_seq) == b"4" * 100


def test_what_expired_is_an_orphan_and_what_did_not_is_none(kept: LocalCasStore) -> None:
    old = [kept.write_file("a", data) for data in (b"1", LARGE, b"3" * 9_000)]
    kept.write_file("a", b"now")
    hashes = tuple(sorted(file.content_hash for file in old))
    report = kept.audit_file_index()
    assert (report.orphan_blob_hashes, report.history_blob_hashes) == ((), hashes)
    assert report.is_clean()
    assert kept.prune_orphan_blobs().pruned_blobs == 0
    kept.expire_history(max_transactions=1)
    report = kept.audit_file_index()
    assert report.history_blob_hashes == (old[2].content_hash,)
    assert report.orphan_blob_hashes == tuple(sorted(file.content_hash for file in old[:2]))
    kept.prune_orphan_blobs()
    kept.set_setting("keep_history", False)
    assert kept.prune_orphan_blobs().pruned_blob_hashes == (old[2].content_hash,)
    assert kept.audit_file_index().is_clean()


def test_manifests_of_imports_and_what_they_name_are_kept(
    kept: LocalCasStore, other_store: LocalCasStore
) -> None:
    kept.write_file("mine", LARGE)
    other_store.write_file("theirs", b"theirs")
    kept.pull_index(other_store)
    kept.delete_file("theirs")
    assert kept.prune_orphan_blobs().pruned_blobs == 0
    kept.expire_history(max_transactions=0)
    assert kept.prune_orphan_blobs().pruned_blobs == 4  # two contents, two manifests


def test_expired_changes_are_a_gap_and_not_silence(kept: LocalCasStore) -> None:
    kept.write_file("a", b"1")
    since = kept.last_seq() - 1
    kept.write_file("a", b"2")
    changes = kept.changes(since=since)
    kept.expire_history(max_transactions=1)
    with pytest.raises(HistoryExpiredError) as raised:
        list(changes)
    assert [each.after for each in kept.changes(since=raised.value.first_seq)] == kept.list_files()


def test_expired_rows_are_gone_from_the_catalog(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        store.write_file("a secret name", b"1")
        store.delete_file("a secret name")
        store.expire_history(max_transactions=0)
        store.prune_orphan_blobs()
    connection = apsw.Connection(str(location / "catalog.db"))
    rows = connection.execute("SELECT count(changes) FROM commits UNION ALL SELECT count(*) FROM changes")
    assert list(rows) == [(0,), (0,)]
    connection.close()


# --- what is broken -----------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"small", LARGE])
def test_a_kept_content_that_is_lost_is_told_of(location: Path, data: bytes) -> None:
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        lost = store.write_file("a", data)
        seq = store.last_seq()
        store.write_file("a", b"now")
    if data == LARGE:
        blob_file(location, lost.content_hash).unlink()
    else:
        edit(location, "DELETE FROM blobs WHERE content_hash = ?", bytes.fromhex(lost.content_hash))
    with LocalCasStore(location) as store:
        report = store.audit_file_index()
        assert report.missing_history_blob_hashes == (lost.content_hash,)
        assert not report.is_sound()
        with pytest.raises(BlobMissingError):
            store.read_file_at("a", seq)
        store.put_bytes(data)
        assert store.audit_file_index().is_sound()
        assert store.read_file_at("a", seq) == data


def test_a_collection_that_cannot_read_a_kept_manifest_takes_nothing(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        for number in range(100):
            store.write_file(f"{number:03}", b"%d" % number)
        store.import_file_index_manifest(FileIndexManifestRef(*_empty(store)))
        (replaced,) = (each.replaced for each in store.changes() if each.is_import)
        assert replaced is not None
        orphan = store.put_bytes(b"orphan")
        blob_file(location, replaced.content_hash).unlink()
        with pytest.raises(BlobMissingError):
            store.prune_orphan_blobs()
        assert store.has(orphan)
        report = store.audit_file_index()
        assert report.missing_history_blob_hashes == (replaced.content_hash,)
        store.expire_history(max_transactions=0)
        assert orphan in store.prune_orphan_blobs().pruned_blob_hashes


def _empty(store: LocalCasStore) -> tuple[str, int]:
    data = b"\xd9\xd9\xf7\xa2\x65files\x80\x67version\x01"
    return store.put_bytes(data), len(data)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE commits SET changes = x'' WHERE changes IS NOT NULL",
        "UPDATE commits SET at_ms = NULL WHERE changes IS NOT NULL",
        "UPDATE commits SET imported = 'x' WHERE changes IS NOT NULL",
        "DELETE FROM commits WHERE sequence = 2",
        "DELETE FROM changes WHERE part = 1",
    ],
)
def test_a_log_that_lost_something_stops_a_collection(location: Path, tmp_path: Path, sql: str) -> None:
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        store.write_file("a", b"1")
        (tmp_path / "tree").mkdir()
        for number in range(1_500):
            (tmp_path / "tree" / (f"{number:04}" + "x" * 100)).write_bytes(b"x")
        store.import_tree(tmp_path / "tree")
        store.write_file("a", b"2")
        orphan = store.put_bytes(b"orphan")
    edit(location, sql)
    with LocalCasStore(location) as store:
        with pytest.raises(CatalogError):
            store.prune_orphan_blobs()
        assert store.has(orphan)
        assert not store.audit_file_index().is_sound()


# --- the rest -----------------------------------------------------------------------------------


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


def test_a_collection_beside_writers_takes_nothing_that_the_history_remembers(
    location: Path, start: Start
) -> None:
    writers = [start(REMEMBERED_WRITES, location, name) for name in "xyz"]
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        since = store.last_seq()
        for writer in writers:
            writer.tell("go")
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            store.put_bytes(os.urandom(20))  # something to take
            store.prune_orphan_blobs()
        for writer in writers:
            writer.kill()
        changes = list(store.changes(since=since))
        assert len(changes) > 100
        for change in changes[:: len(changes) // 50]:
            if change.after is not None:
                content = store.read_file_at(change.path, change.seq)
                assert store.hash_bytes(content) == change.after.content_hash
        report = store.audit_file_index(verify=True)
        assert report.is_sound(), report
        assert report.history_blob_hashes


REMEMBERED_WRITES = """
import random
name = sys.argv[2]
with LocalCasStore(location, durability="relaxed") as store:
    hear()
    number = 0
    while True:
        number += 1
        size = random.choice([10, 20_000])
        path = f"{random.randrange(3)}"  # of all: contents come back, too
        match random.randrange(5):
            case 0: store.delete_file(path)
            case 1: store.write_file(path, b"the same" * size)
            case 2: store.put_bytes(b"the same" * size)
            case _: store.write_file(path, f"{name} {number} ".encode() * (size // 10))
"""


def test_imports_beside_collections_leave_a_history_that_can_be_read(location: Path, start: Start) -> None:
    importer = start(REMEMBERED_IMPORTS, location, location)
    with LocalCasStore(location) as store:
        assert importer.hear() == "ready"
        since = store.last_seq()
        importer.tell("go")
        for _ in range(10):
            store.put_bytes(os.urandom(20))
            store.prune_orphan_blobs()
        importer.tell("stop")
        assert importer.hear() == "done"
        imports = [change for change in store.changes(since=since) if change.is_import]
        assert imports
        for change in imports:
            before = store.list_files_at(change.seq - 1)
            assert change.replaced is not None
            assert store.read_file_index_manifest(change.replaced).files == tuple(before)
            for file in before[:: max(1, len(before) // 5)]:
                store.read_file_at(file.path, change.seq - 1)
        assert store.audit_file_index(verify=True).is_sound()


REMEMBERED_IMPORTS = """
import random
with LocalCasStore(location, durability="relaxed") as store:
    store.set_setting("keep_history", True)
    say("ready")
    hear()
    stop = threading.Event()
    threading.Thread(target=lambda: (hear(), stop.set())).start()
    number = 0
    while not stop.is_set():
        number += 1
        for each in range(3):
            store.write_file(f"{each}", f"{number} {each}".encode() * random.choice([1, 3_000]))
        ref = store.export_file_index_manifest(pin=True)
        store.write_file("0", f"more {number}".encode())
        store.import_file_index_manifest(ref)
        store.unpin(ref.content_hash)
    say("done")
"""
