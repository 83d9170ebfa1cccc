"""Damage of the index: each flipped bit that changes an answer is found, and nothing is collected by it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from agent_world_distfs import CatalogError, LocalCasStore, WorldError
from agent_world_distfs.catalog.reader import SqliteReader
from agent_world_distfs.protocols import BlobBrief, Doubted
from behind import edit, look
from calls import LARGE, SMALL, fill

DAMAGES: dict[str, Iterable[str]] = {
    "a path changed": ["UPDATE files SET path = 'z' WHERE path = 'small'"],
    "a time changed": ["UPDATE files SET updated_at_ms = updated_at_ms + 1 WHERE path = 'small'"],
    "another blob named": ["UPDATE files SET blob_id = blob_id - 1 WHERE path = 'large'"],
    "no blob named": ["UPDATE files SET blob_id = 999 WHERE path = 'large'"],
    "a checksum changed": ["UPDATE files SET checksum = zeroblob(16) WHERE path = 'small'"],
    "an entry lost": ["DELETE FROM files WHERE path = 'small'"],
    "all entries lost": ["DELETE FROM files"],
    "an entry copied": ["INSERT INTO files SELECT generation, 'z', blob_id, 5, checksum FROM files LIMIT 1"],
    "two entries swapped": [
        "UPDATE files SET path = 'x' WHERE path = 'small'",
        "UPDATE files SET path = 'small' WHERE path = 'large'",
        "UPDATE files SET path = 'large' WHERE path = 'x'",
    ],
    "the checksum of something else": ["UPDATE files SET checksum = (SELECT checksum FROM pins LIMIT 1)"],
    "a size changed": ["UPDATE blobs SET size_bytes = size_bytes + 1 WHERE payload IS NULL"],
    "a size of inline bytes changed": ["UPDATE blobs SET size_bytes = 1 WHERE payload = x'736d616c6c'"],
    "a hash changed": ["UPDATE blobs SET content_hash = zeroblob(32) WHERE payload = x'736d616c6c'"],
    "inline bytes lost": ["UPDATE blobs SET payload = NULL WHERE payload = x'736d616c6c'"],
    "inline bytes invented": ["UPDATE blobs SET payload = x'00' WHERE payload IS NULL"],
    "inline bytes cut": ["UPDATE blobs SET payload = x'00' WHERE payload = x'736d616c6c'"],
    "a blob lost": ["DELETE FROM blobs WHERE payload = x'736d616c6c'"],
    "another blob pinned": ["UPDATE pins SET blob_id = 1 WHERE blob_id = (SELECT min(blob_id) FROM pins)"],
    "a pin of nothing": ["UPDATE pins SET blob_id = 999 WHERE blob_id = (SELECT min(blob_id) FROM pins)"],
    "a pin invented": ["INSERT INTO pins VALUES (1, zeroblob(16))"],
    "the number of files": ["UPDATE commits SET total_files = total_files + 1"],
    "the digest": ["UPDATE commits SET digest = zeroblob(16)"],
    "the generation": ["UPDATE commits SET generation = 7"],
    "the epoch": ["UPDATE commits SET epoch = epoch + 1"],
    "the next blob": ["UPDATE commits SET next_blob_id = 1"],
    "the last commit": ["DELETE FROM commits WHERE sequence = (SELECT max(sequence) FROM commits)"],
    "all commits": ["DELETE FROM commits"],
    "moved": ["UPDATE commits SET moved_to = '/elsewhere'"],
    "the key": ["UPDATE store SET checksum_key = zeroblob(32)"],
}


@pytest.mark.parametrize("statements", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("verify", [False, True])
def test_a_catalog_that_contradicts_itself_is_damaged_and_nothing_is_collected(
    location: Path, statements: Iterable[str], verify: bool
) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    for statement in statements:
        edit(location, statement)
    blobs = sorted(str(path) for path in location.glob("blobs/*/*"))
    rows = look(location, "SELECT count(*) FROM blobs")
    with LocalCasStore(location) as store:
        report = store.audit_file_index(verify=verify)
        assert report.index_damage
        assert not report.is_sound()
        assert all(sentence.isprintable() for sentence in report.index_damage)
        assert report.orphan_blob_hashes == ()  # since a prune would take nothing
        for dry_run in (True, False):
            with pytest.raises(CatalogError):
                store.prune_orphan_blobs(dry_run=dry_run)
    assert sorted(str(path) for path in location.glob("blobs/*/*")) == blobs
    assert look(location, "SELECT count(*) FROM blobs") == rows


def test_a_pin_that_is_lost_is_damage(location: Path) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    edit(location, "DELETE FROM pins WHERE blob_id = (SELECT min(blob_id) FROM pins)")
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).index_damage


def answers(store: LocalCasStore) -> list[object]:
    """All that a store says of what it holds; an error in place of an answer is none."""
    said: list[object] = [store.list_files(), store.list_pins(), list(store.iter_files())]
    said.extend((store.stat_file(file.path), store.read_file(file.path)) for file in store.list_files())
    said.extend(store.get(content_hash) for content_hash in store.list_pins())
    return said


@pytest.mark.parametrize("flips", [120, pytest.param(4000, marks=pytest.mark.proof)])
def test_a_flipped_bit_that_changes_an_answer_is_found(location: Path, tmp_path: Path, flips: int) -> None:
    with LocalCasStore(location) as store:
        fill(store)
        for number in range(60):
            store.write_file(f"some/file/{number}", b"%d" % number * (number % 7))
        good = answers(store)
    chance, seen = random.Random(flips), {"changed": 0, "refused": 0, "harmless": 0}
    size = (location / "catalog.db").stat().st_size
    raw = bytearray((location / "catalog.db").read_bytes())
    for _ in range(flips):
        place = shutil.copytree(location, tmp_path / "flipped")
        position = chance.randrange(size)
        flipped = bytes([raw[position] ^ 1 << chance.randrange(8)])
        with (place / "catalog.db").open("r+b") as file:
            file.seek(position)
            file.write(flipped)
        seen[judge(place, good)] += 1
        shutil.rmtree(place)
    assert min(seen.values()) > 0, seen


def judge(place: Path, good: list[object]) -> str:
    """What a flipped bit did; fails if it changed an answer and the audit does not see it."""
    try:
        with LocalCasStore(place) as store:
            try:
                is_changed = answers(store) != good
            except WorldError:
                is_changed = True
            is_sound = store.audit_file_index(verify=True).is_sound()
    except WorldError:
        return "refused"
    assert not (is_changed and is_sound)
    return "changed" if is_changed else "harmless"


def test_an_entry_that_is_damaged_is_never_read_as_good(location: Path) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    edit(location, "UPDATE files SET updated_at_ms = 5 WHERE path = 'small'")
    with LocalCasStore(location) as store:
        for call in (
            lambda: store.stat_file("small"),
            lambda: store.read_file("small"),
            lambda: store.open_file("small"),
            lambda: store.copy_file("small", "b"),
            lambda: store.write_file_if_match("small", store.hash_bytes(SMALL), b"x"),
            lambda: store.delete_file_if_match("small", store.hash_bytes(SMALL)),
        ):
            with pytest.raises(CatalogError, match="small"):
                call()
        assert store.delete_file("small") is True
        assert store.audit_file_index().index_damage == ()


def test_text_that_is_not_utf_8_is_damage_in_our_words(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")
    edit(location, "UPDATE files SET path = CAST(x'61ff62' AS TEXT)")
    with LocalCasStore(location) as store:
        with pytest.raises(CatalogError):
            store.list_files()
        assert store.audit_file_index().index_damage


# --- pages that SQLite's own check would find, which costs as much as reading all of the bytes ---


def edit_root(location: Path, name: str, change: Callable[[bytearray], None]) -> None:
    """Change the root page of a small table or index."""
    rows = look(location, f"SELECT rootpage FROM sqlite_schema WHERE name = '{name}'")
    start = 4096 * (int(str(rows[0][0])) - 1)
    catalog = bytearray((location / "catalog.db").read_bytes())
    page = catalog[start : start + 4096]
    change(page)
    catalog[start : start + 4096] = page
    (location / "catalog.db").write_bytes(catalog)


def drop_last_cell(page: bytearray) -> None:
    page[3:5] = (int.from_bytes(page[3:5], "big") - 1).to_bytes(2, "big")


def exchange_two_cells(page: bytearray) -> None:
    page[8:10], page[10:12] = page[10:12], page[8:10]


def test_a_row_that_only_its_hash_still_leads_to_is_damage(location: Path) -> None:
    with LocalCasStore(location) as store:
        for number in range(3):
            store.put_bytes(b"%d" % number)
    edit_root(location, "blobs", drop_last_cell)
    with LocalCasStore(location) as store:
        assert store.audit_file_index().index_damage == ("the index of hashes has entries of no blob",)


SEARCHED = ["sqlite_autoindex_blobs_1", "large_blobs", "files", "pins", "snapshots", "settings", "commits"]


@pytest.mark.parametrize("name", SEARCHED)
def test_what_a_scan_finds_and_a_search_does_not_is_damage(location: Path, name: str) -> None:
    with LocalCasStore(location) as store:
        for number in range(3):
            store.pin(store.write_file(f"{number}", LARGE + b"%d" % number).content_hash)
        for setting in ("history_max_age_ms", "history_max_bytes"):
            store.set_setting(setting, 1)
        for snapshot in (
            ("a", "b") if name == "snapshots" else ()
        ):  # whose manifests have another hash each time
            store.snapshot(snapshot)
        store.put_bytes(b"orphan")
    edit_root(location, name, exchange_two_cells)
    with LocalCasStore(location) as store:
        assert store.audit_file_index().index_damage
        with pytest.raises(CatalogError):
            store.prune_orphan_blobs()
        with pytest.raises(CatalogError):
            store.backup(location.with_name("backup"))


def test_transactions_out_of_order_are_damage_and_what_the_history_keeps_stays(location: Path) -> None:
    """Whoever reads on behind the later one would miss the earlier one, and what was overwritten by it."""
    with LocalCasStore(location) as store:
        store.write_file("a", b"kept")
        store.set_setting("keep_history", True)
        for number in range(3):
            store.write_file("a", b"%d" % number)
        store.put_bytes(b"orphan")

    def exchange_third_and_fourth(page: bytearray) -> None:
        page[14:16], page[16:18] = page[16:18], page[14:16]

    edit_root(location, "commits", exchange_third_and_fourth)
    with LocalCasStore(location) as store:
        assert store.audit_file_index().index_damage == ("the transactions in the log are out of order",)
        with pytest.raises(CatalogError):
            store.prune_orphan_blobs()
        with pytest.raises(CatalogError):
            list(store.changes(since=0))


def test_an_index_of_large_blobs_that_lacks_one_is_damage(location: Path) -> None:
    with LocalCasStore(location) as store:
        for number in range(3):
            store.write_file(f"{number}", LARGE + b"%d" % number)
    edit_root(location, "large_blobs", drop_last_cell)
    with LocalCasStore(location) as store:
        assert store.audit_file_index().index_damage == ("the index of large blobs is not that of the blobs",)


def test_pages_are_checked_in_each_round_of_portions(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = 0
    check = SqliteReader.check_pages

    def check_pages(self: SqliteReader) -> Iterator[str]:
        nonlocal checks
        checks += 1
        return check(self)

    for number in range(7):
        store.put_bytes(b"%d" % number)
    monkeypatch.setattr(SqliteReader, "check_pages", check_pages)
    for _ in range(7):
        store.audit_file_index(verify=True, max_bytes=3)
    assert checks == 3  # of 21 blobs; and 21 is at the end of the third round


def test_a_check_of_pages_that_is_interrupted_is_made_by_the_next_portion(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = 0

    def check_pages(_: SqliteReader) -> Iterator[str]:
        nonlocal checks
        checks += 1
        if checks == 1:
            raise KeyboardInterrupt
        yield "SQLite: a page is damaged"

    store.put_bytes(b"1")
    store.put_bytes(b"2")
    monkeypatch.setattr(SqliteReader, "check_pages", check_pages)
    with pytest.raises(KeyboardInterrupt):
        store.audit_file_index(verify=True, max_bytes=1)
    report = store.audit_file_index(verify=True, max_bytes=1)
    assert report.index_damage == ("SQLite: a page is damaged",)
    assert checks == 2


# --- how often, and when ------------------------------------------------------------------------


@pytest.mark.parametrize("orphans", [0, 1])
def test_an_audit_looks_at_all_rows_once(
    store: LocalCasStore, orphans: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look_at_all = SqliteReader.find_damage

    def find_damage(self: SqliteReader, doubted: Doubted | None = None) -> Iterator[str]:
        nonlocal looks
        looks += 1
        return look_at_all(self, doubted)

    store.write_file("a", b"x")
    for number in range(orphans):
        store.put_bytes(b"orphan %d" % number)
    monkeypatch.setattr(SqliteReader, "find_damage", find_damage)
    assert len(store.audit_file_index().orphan_blob_hashes) == orphans
    assert looks == 1


def test_damage_that_is_met_once_is_reported_though_it_is_not_found_again(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_bytes(b"orphan")
    list_unnamed = SqliteReader.list_unnamed_blobs
    tries = iter(range(9))

    def list_unnamed_blobs(self: SqliteReader, dead: frozenset[str]) -> list[BlobBrief]:
        if next(tries) == 0:
            raise CatalogError("a page could not be read")
        return list_unnamed(self, dead)

    monkeypatch.setattr(SqliteReader, "list_unnamed_blobs", list_unnamed_blobs)
    report = store.audit_file_index()
    assert report.index_damage == ("a page could not be read",)
    assert report.orphan_blob_hashes == ()
