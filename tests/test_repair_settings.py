"""Settings that are damaged: they are dropped and named, and everything else stays."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from agent_world_distfs import LocalCasStore, StoreSettings, repair_store
from behind import edit, look
from test_audit_damage import edit_root, exchange_two_cells


def keep_a_history(location: Path) -> int:
    """Three settings, and a file that was another; the number of the state in which it was that."""
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        store.set_setting("history_max_bytes", 1 << 40)
        store.set_setting("history_max_transactions", 90)
        store.write_file("a", b"old")
        seq = store.last_seq()
        store.write_file("a", b"new")
    return seq


@pytest.mark.parametrize(
    "damage", ["value = '1'", "name = 'a'", "name = CAST(x'ff' AS TEXT)", "checksum = x''"]
)
def test_a_damaged_setting_costs_that_setting_and_no_history(location: Path, damage: str) -> None:
    seq = keep_a_history(location)
    edit(location, f"UPDATE settings SET {damage} WHERE name = 'history_max_bytes'")
    tried = repair_store(location, dry_run=True)
    report = repair_store(location)
    assert report.is_whole()
    assert report.salvaged_from is None
    assert len(report.dropped_settings) == 1
    assert (tried.dropped_settings, tried.is_whole()) == (report.dropped_settings, True)
    with LocalCasStore(location) as store:
        assert store.read_file_at("a", seq) == b"old"
        assert store.settings() == StoreSettings(True, None, 90, None)
        assert store.audit_file_index(verify=True).is_sound()
    assert repair_store(location).dropped_settings == ()


def test_settings_that_are_only_out_of_order_are_put_in_order_and_cost_nothing(location: Path) -> None:
    seq = keep_a_history(location)
    edit_root(location, "settings", exchange_two_cells)
    report = repair_store(location)
    assert report.is_whole()
    assert (report.salvaged_from, report.dropped_settings) == (None, ())
    with LocalCasStore(location) as store:
        assert store.settings() == StoreSettings(True, None, 90, 1 << 40)
        assert store.read_file_at("a", seq) == b"old"
        assert store.audit_file_index(verify=True).is_sound()


def test_where_an_audit_has_come_to_is_nothing_to_tell_of(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.put_bytes(b"one")
        store.put_bytes(b"two")
        store.audit_file_index(verify=True, max_bytes=1)
    edit(location, "UPDATE settings SET value = '1' WHERE name = 'scrub'")
    report = repair_store(location)
    assert report.is_whole()
    assert (report.salvaged_from, report.dropped_settings) == (None, ())
    assert look(location, "SELECT name FROM settings") == []


def test_with_other_damage_a_damaged_setting_stays_where_it_is_until_the_catalog_is_built_anew(
    location: Path,
) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")
        store.set_setting("history_max_bytes", 1 << 40)
        store.set_setting("history_max_transactions", 90)
    edit(location, "UPDATE settings SET value = '1' WHERE name = 'history_max_bytes'")
    edit(location, "UPDATE files SET checksum = x'00' WHERE path = 'a'")
    report = repair_store(location)
    assert report.salvaged_from is not None
    assert report.dropped_settings == ("history_max_bytes",)
    assert look(location, "SELECT name FROM settings") == [("history_max_transactions",)]
    damaged = apsw.Connection(str(location / report.salvaged_from))
    assert damaged.execute("SELECT count(*) FROM settings").fetchone() == (2,)
    damaged.close()


def test_a_history_that_a_new_catalog_does_not_have_is_told_of_and_begins_anew(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        store.write_file("a", b"old")
        store.write_file("a", b"new")
    edit(location, "UPDATE files SET checksum = x'00' WHERE path = 'a'")
    tried = repair_store(location, dry_run=True)
    report = repair_store(location)
    for each in (tried, report):
        assert (each.is_proven, each.is_history_lost, each.is_whole()) == (True, True, False)
    with LocalCasStore(location) as store:
        assert store.settings().keep_history
        seq = store.last_seq()
        store.write_file("a", b"newer")
        assert store.prune_orphan_blobs().pruned_blobs == 1
        assert store.read_file_at("a", seq) == b"new"
        assert store.audit_file_index(verify=True).is_sound()
    assert repair_store(location).is_whole()
