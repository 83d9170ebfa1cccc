"""Verifying in portions: each goes on where the last one ended, and a round leaves nothing out."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import InvalidInputError, LocalCasStore, StorageReadOnlyError, restore_backup

SIZE = 10_000


@pytest.fixture
def filled(store: LocalCasStore) -> LocalCasStore:
    for number in range(10):
        store.write_file(str(number), bytes([number]) * SIZE)
    return store


def rot(store: LocalCasStore, number: int) -> str:
    """Make a file's bytes wrong; returns its hash."""
    name = store.hash_bytes(bytes([number]) * SIZE)
    Path(store.location, "blobs", name[:2], name).write_bytes(bytes([number + 1]) * SIZE)
    return name


def found(store: LocalCasStore, max_bytes: int) -> tuple[str, ...]:
    report = store.audit_file_index(verify=True, max_bytes=max_bytes)
    return report.corrupt_blob_hashes


def test_a_portion_goes_on_where_the_last_one_ended(filled: LocalCasStore) -> None:
    rotten = [rot(filled, number) for number in range(10)]
    seen = [found(filled, 3 * SIZE) for _ in range(4)]
    assert [len(each) for each in seen] == [3, 3, 3, 3]
    assert set(seen[0] + seen[1] + seen[2]) == set(rotten[:9])
    assert set(seen[3]) == {rotten[9], *rotten[:2]}  # and around


def test_it_goes_on_in_another_process_and_after_new_writes(filled: LocalCasStore) -> None:
    found(filled, 9 * SIZE)
    last = rot(filled, 9)
    filled.write_file("new", b"n" * SIZE)
    with LocalCasStore(filled.location) as other:
        assert found(other, SIZE) == (last,)
        assert other.audit_file_index(verify=True, max_bytes=SIZE).verified_bytes == SIZE


def test_the_blob_that_exceeds_the_budget_is_the_last(filled: LocalCasStore) -> None:
    report = filled.audit_file_index(verify=True, max_bytes=SIZE + 1)
    assert report.verified_bytes == 2 * SIZE
    assert filled.audit_file_index(verify=True, max_bytes=1).verified_bytes == SIZE
    assert filled.audit_file_index(verify=True, max_seconds=1e-9).verified_bytes == SIZE


def test_a_budget_that_is_enough_verifies_all_and_no_byte_twice(filled: LocalCasStore) -> None:
    found(filled, 4 * SIZE)
    for limits in ({"max_bytes": 1_000 * SIZE}, {"max_seconds": 1_000.0}):
        report = filled.audit_file_index(verify=True, **limits)
        assert (report.is_verified, report.verified_bytes) == (True, 10 * SIZE)


def test_when_all_was_verified_since_is_told(filled: LocalCasStore) -> None:
    told = []
    for _ in range(7):
        report = filled.audit_file_index(verify=True, max_bytes=4 * SIZE)
        assert not report.is_verified
        told.append(report.verified_since_ms)
    assert told[:2] == [None, None]
    assert told[2] is not None
    assert told[3] == told[2]  # within the next round
    assert sorted(filter(None, told)) == told[2:]


def test_an_audit_without_a_budget_neither_needs_nor_moves_the_place(filled: LocalCasStore) -> None:
    found(filled, 5 * SIZE)
    with LocalCasStore(filled.location, read_only=True) as reader:
        report = reader.audit_file_index(verify=True)
        assert (report.is_verified, report.verified_bytes) == (True, 10 * SIZE)
        with pytest.raises(StorageReadOnlyError):
            reader.audit_file_index(verify=True, max_bytes=SIZE)
    sixth = rot(filled, 5)
    assert found(filled, SIZE) == (sixth,)


def test_a_place_beyond_what_is_stored_is_a_round_that_ended(filled: LocalCasStore) -> None:
    filled.delete_files([str(number) for number in range(10)])
    filled.prune_orphan_blobs()
    report = filled.audit_file_index(verify=True, max_bytes=1)
    assert report.is_verified
    assert report.verified_bytes == 0


@pytest.mark.parametrize("text", ["", "null", "[1]", '["a", 2, 3]', "[1, 2, {}]", "nonsense"])
def test_a_place_that_nobody_can_read_is_none(filled: LocalCasStore, text: str) -> None:
    found(filled, 5 * SIZE)
    filled._catalog.write(lambda tx: tx.set_setting("scrub", text))
    first = rot(filled, 0)
    assert found(filled, SIZE) == (first,)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"max_bytes": 5}, InvalidInputError),
        ({"verify": True, "max_bytes": 0}, InvalidInputError),
        ({"verify": True, "max_seconds": -1}, InvalidInputError),
        ({"verify": True, "max_seconds": math.nan}, InvalidInputError),
        ({"verify": True, "max_seconds": 10**400}, InvalidInputError),
        ({"verify": True, "max_bytes": "10GB"}, TypeError),
        ({"verify": True, "max_bytes": True}, TypeError),
    ],
)
def test_bad_budgets_are_refused(
    store: LocalCasStore, limits: dict[str, Any], error: type[Exception]
) -> None:
    audit: Callable[..., object] = store.audit_file_index
    with pytest.raises(error):
        audit(**limits)


def test_a_backup_has_a_place_of_its_own(filled: LocalCasStore, tmp_path: Path) -> None:
    assert filled.audit_file_index(verify=True, max_bytes=1 << 30).verified_since_ms is not None
    filled.backup(tmp_path / "backup")
    told, budget = [], SIZE + 1
    for _ in range(20):
        with LocalCasStore(tmp_path / "backup") as backup:
            told.append(backup.audit_file_index(verify=True, max_bytes=budget).verified_since_ms is not None)
        filled.write_file("more", b"%d" % len(told))
        filled.backup(tmp_path / "backup")
        if told[-1]:
            break
    total = len(told)
    assert told == [False] * (total - 1) + [True]
    assert total > 3, "each portion goes on where that of the older backup ended"
    restore_backup(tmp_path / "backup", tmp_path / "restored")
    with LocalCasStore(tmp_path / "restored") as restored:
        assert restored.audit_file_index(verify=True, max_bytes=1).verified_since_ms is None
