"""How much of the history is remembered: settings, expiry by number, age and bytes, and what goes then."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from agent_world_distfs import (
    CatalogError,
    HistoryExpiredError,
    InvalidInputError,
    LocalCasStore,
    StoreSettings,
)
from agent_world_distfs.catalog import change_log
from agent_world_distfs.catalog.change_format import decode_changes
from agent_world_distfs.protocols import PathChange
from behind import edit
from calls import LARGE
from pasts import states_of


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
        ("history_max_bytes", 1 << 63, InvalidInputError),
        ("history_max_bytes", "1", TypeError),
    ):
        with pytest.raises(error):
            store.set_setting(name, value)  # type: ignore[arg-type]
    assert store.settings() == StoreSettings()


def test_a_setting_that_is_damaged_lets_nothing_expire_until_it_is_set_again(kept: LocalCasStore) -> None:
    kept.set_setting("history_max_transactions", 90)
    states = states_of(kept)
    edit(kept.location, "UPDATE settings SET value = '1'")
    for call in (kept.settings, kept.expire_history):
        with pytest.raises(CatalogError, match="history_max_transactions"):
            call()
    assert kept.audit_file_index().index_damage == (
        "the setting 'history_max_transactions' contradicts its checksum, or is not found",
    )
    assert kept.set_setting("history_max_transactions", 90).history_max_transactions == 90
    assert kept.audit_file_index().index_damage == ()
    assert kept.list_files_at(states[0][0]) == states[0][1]


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


def test_expiries_beside_each_other_all_end_well(kept: LocalCasStore) -> None:
    for number in range(3_000):  # more than one step and one window
        kept.write_file("a", b"%d" % number)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: kept.expire_history(max_transactions=10), range(4)))
    assert {report.first_seq for report in reports} == {kept.log_range().first_seq}
    assert len(list(kept.changes())) == 10


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


def test_what_is_to_expire_is_decoded_only_to_count_its_bytes(
    kept: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        kept.write_files((f"{path}", b"%d" % number) for path in range(10))
    decoded = []

    def count(part: bytes) -> Iterator[PathChange]:
        decoded.append(part)
        return decode_changes(part)

    monkeypatch.setattr(change_log, "decode_changes", count)
    kept.expire_history(before_seq=kept.log_range().first_seq + 1)
    kept.expire_history(max_transactions=15, max_age_ms=3_600_000)
    assert decoded == []
    kept.expire_history(max_bytes=100)
    assert len(list(kept.changes())) == 50  # each overwrote two bytes


def test_what_is_to_expire_is_read_in_short_snapshots(
    kept: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_world_distfs.operations.retention.STEP", 3)
    for number in range(20):
        kept.write_file("a", b"%d" % (number % 10))
    assert kept.expire_history(max_bytes=7).expired_transactions == 13
    monkeypatch.setattr("agent_world_distfs.operations.retention.WINDOW", 2)
    assert kept.expire_history(max_bytes=4).expired_transactions == 3
    assert kept.expire_history(max_transactions=1).expired_transactions == 3


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
