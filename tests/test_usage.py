"""How much is stored, and what names it."""

from __future__ import annotations

import pytest

from agent_world_distfs import LocalCasStore, UsageReport


def test_an_empty_store_uses_nothing(store: LocalCasStore) -> None:
    assert store.usage() == UsageReport("", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def filled(store: LocalCasStore) -> LocalCasStore:
    store.write_file("a/1", b"1" * 10)
    store.write_file("a/2", b"2" * 10_000)
    store.write_file("a/3", b"1" * 10)  # the same content
    store.write_file("b/1", b"2" * 10_000)  # named outside, too
    store.write_file("b/2", b"3" * 100)
    store.pin(store.hash_bytes(b"3" * 100))
    store.pin(store.put_bytes(b"4" * 1_000))
    store.put_bytes(b"5" * 20_000)
    return store


def test_contents_count_once_and_by_what_names_them(filled: LocalCasStore) -> None:
    assert filled.usage() == UsageReport(
        prefix="",
        total_files=5,
        total_blobs=3,
        logical_bytes=20_120,
        unique_bytes=10_110,
        exclusive_bytes=10_010,  # what is pinned as well stays
        pinned_bytes=1_000,
        history_bytes=0,
        snapshot_bytes=0,
        orphan_bytes=20_000,
        stored_bytes=31_110,
    )


def test_of_a_prefix_what_others_name_is_not_its_own(filled: LocalCasStore) -> None:
    report = filled.usage("a/")
    assert (report.total_files, report.total_blobs) == (3, 2)
    assert (report.logical_bytes, report.unique_bytes) == (10_020, 10_010)
    assert report.exclusive_bytes == 10
    assert (report.pinned_bytes, report.orphan_bytes, report.stored_bytes) == (1_000, 20_000, 31_110)
    assert filled.usage("nothing").total_files == 0


def test_deleting_frees_what_was_said(filled: LocalCasStore) -> None:
    filled.prune_orphan_blobs()
    promised = filled.usage("a/").exclusive_bytes
    filled.delete_files([file.path for file in filled.list_files(prefix="a/")])
    assert filled.prune_orphan_blobs().freed_bytes == promised


def test_reading_is_enough(filled: LocalCasStore) -> None:
    with LocalCasStore(filled.location, read_only=True) as reader:
        assert reader.usage() == filled.usage()
