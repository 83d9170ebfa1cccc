"""Places that are no store, another store or a damaged one: refused, in our words, and left alone."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from agent_world_distfs import (
    CatalogError,
    HashAlgorithm,
    IncompatibleStoreError,
    LocalCasStore,
    NotFoundError,
    StorageError,
    StorageFullError,
    WorldError,
    repair_store,
    upgrade_store,
)
from agent_world_distfs.catalog.failures import translate
from behind import descriptors, edit, tree_of
from calls import LARGE, SMALL, fill

HASH = "a" * 64


# --- what is not there ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}], ids=str)
def test_nothing_is_made_where_nothing_may_be(tmp_path: Path, options: dict[str, bool]) -> None:
    for place in (tmp_path / "missing", tmp_path / "missing" / "deeper"):
        with pytest.raises(NotFoundError) as raised:
            LocalCasStore(place, **options)  # type: ignore[arg-type]
        assert raised.value.filename == str(place)
    with pytest.raises(NotFoundError):
        LocalCasStore(tmp_path, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def almost_a_store(root: Path) -> None:
    for name in ("blobs", "tmp", "locks", "other"):
        (root / name).mkdir()


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a file": lambda root: (root / "notes.txt").write_text("mine"),
    "a hidden file": lambda root: (root / ".git").mkdir(),
    "a directory": lambda root: (root / "src").mkdir(),
    "almost a store": almost_a_store,
    "another database": lambda root: (root / "index.db").touch(),
}


@pytest.mark.parametrize("put", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("options", [{}, {"create": False}, {"read_only": True}], ids=str)
def test_a_directory_of_something_else_is_refused_and_left_alone(
    tmp_path: Path, put: Callable[[Path], object], options: dict[str, bool]
) -> None:
    put(tmp_path)
    before = tree_of(tmp_path)
    with pytest.raises(IncompatibleStoreError) as raised:
        LocalCasStore(tmp_path, **options)  # type: ignore[arg-type]
    assert raised.value.location == str(tmp_path)
    assert tree_of(tmp_path) == before


def original_blobs(root: Path) -> None:
    (root / "blobs").mkdir()
    (root / "blobs" / f"{HASH}.blob").touch()


ORIGINAL: dict[str, Callable[[Path], object]] = {
    "its index": lambda root: (root / "files_index.json").write_text("{}"),
    "its pins": lambda root: (root / "pins.json").write_text("[]"),
    "its blobs": original_blobs,
}


@pytest.mark.parametrize("put", ORIGINAL.values(), ids=ORIGINAL.keys())
def test_a_store_of_the_original_is_sent_to_adopt(tmp_path: Path, put: Callable[[Path], object]) -> None:
    put(tmp_path)
    before = tree_of(tmp_path)
    with pytest.raises(IncompatibleStoreError, match="distfs adopt"):
        LocalCasStore(tmp_path)
    assert tree_of(tmp_path) == before


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        for options in ({}, {"create": False}, {"read_only": True}):
            with pytest.raises((IncompatibleStoreError, NotFoundError)):
                LocalCasStore(place, **options)  # type: ignore[arg-type]
    with pytest.raises(WorldError):
        LocalCasStore(tmp_path / "dangling", create=False)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("options", [{}, {"create": False}, {"read_only": True}], ids=str)
def test_blobs_without_their_catalog_are_damage_and_no_place_for_a_new_store(
    location: Path, options: dict[str, bool]
) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    for name in ("catalog.db", "catalog.db-wal", "catalog.db-shm"):
        (location / name).unlink(missing_ok=True)
    before = tree_of(location)
    with pytest.raises(CatalogError, match="gone"):
        LocalCasStore(location, **options)  # type: ignore[arg-type]
    assert tree_of(location) == before


def test_a_store_with_its_blobs_gone_opens_and_says_what_is_missing(location: Path) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    shutil.rmtree(location / "blobs")
    with LocalCasStore(location) as store:
        assert store.read_file("small") == SMALL
        missing = store.audit_file_index().missing_file_blob_hashes
        assert missing == (store.hash_bytes(LARGE),)
        with pytest.raises(StorageError):  # their disk may only not be mounted
            store.put_bytes(LARGE)


# --- what is another --------------------------------------------------------------------------


def test_a_store_is_not_opened_by_another_algorithm(location: Path) -> None:
    with pytest.raises(IncompatibleStoreError, match="blake3"):
        LocalCasStore(location, hash_algorithm=HashAlgorithm.SHA256)
    with LocalCasStore(location, hash_algorithm=HashAlgorithm.BLAKE3) as store:
        store.write_file("a", b"x")


@pytest.mark.parametrize("version", [0, 2, 99])
def test_a_store_of_another_format_is_refused_and_left_alone(location: Path, version: int) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    edit(location, f"PRAGMA user_version = {version}")
    before = tree_of(location)
    for open_it in (LocalCasStore, lambda place: LocalCasStore(place, read_only=True), upgrade_store):
        with pytest.raises(IncompatibleStoreError, match=f"format {version}"):
            open_it(location)
    assert tree_of(location) == before


def test_a_database_of_another_program_is_refused(location: Path) -> None:
    (location / "catalog.db").unlink()
    connection = apsw.Connection(str(location / "catalog.db"))
    connection.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    connection.close()
    before = (location / "catalog.db").read_bytes()
    with pytest.raises(IncompatibleStoreError, match="another program"):
        LocalCasStore(location)
    assert (location / "catalog.db").read_bytes() == before


TAMPERED = {
    "a table more": "CREATE TABLE more (x)",
    "a table less": "DROP TABLE settings",
    "an index less": "DROP INDEX leases_by_blob",
    "an index more": "CREATE INDEX more ON pins (checksum)",
    "a view": "CREATE VIEW v AS SELECT 1",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON pins BEGIN DELETE FROM files; END",
    "a trigger under a name like an index's": (
        "CREATE TRIGGER sqlitexautoindex AFTER INSERT ON pins BEGIN DELETE FROM files; END"
    ),
    "a column more": "ALTER TABLE settings ADD COLUMN more TEXT",
    "a table that is a view": "DROP TABLE settings; CREATE VIEW settings AS SELECT 'a' AS name, 'b' AS value",
}


@pytest.mark.parametrize("sql", TAMPERED.values(), ids=TAMPERED.keys())
def test_a_catalog_with_other_tables_is_refused(location: Path, sql: str) -> None:
    edit(location, sql)
    with pytest.raises(CatalogError, match="tables"):
        LocalCasStore(location)


def replaced_by(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


DAMAGED: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(b"no database at all " * 1000),
    "zeros": lambda path: path.write_bytes(bytes(8192)),
    "empty": lambda path: path.write_bytes(b""),
    "cut in its first page": lambda path: os.truncate(path, 3000),
    "cut after its first page": lambda path: os.truncate(path, 4096),
    "a directory": replaced_by(Path.mkdir),
    "a symlink to nowhere": replaced_by(lambda path: path.symlink_to("nowhere")),
    "a fifo": replaced_by(os.mkfifo),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_catalog_is_refused_in_our_words_and_leaks_nothing(
    location: Path, damage: Callable[[Path], object], read_only: bool
) -> None:
    damage(location / "catalog.db")
    gc.collect()
    before = descriptors()
    with pytest.raises((CatalogError, IncompatibleStoreError, StorageError)):
        LocalCasStore(location, read_only=read_only)
    gc.collect()
    assert descriptors() == before


@pytest.mark.parametrize("lost", ["locks", "locks/handles", "locks/gate", "locks/turnstile"])
def test_who_misses_a_lock_file_is_sent_to_the_repair(location: Path, lost: str) -> None:
    place = location / lost
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    with pytest.raises(StorageError, match="run `distfs repair`") as raised, LocalCasStore(location) as store:
        store.write_file("a", b"x")
    assert raised.value.path.startswith(str(place))
    assert repair_store(location).is_whole()
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")


def test_an_empty_catalog_is_damage_and_no_database_of_another_program(location: Path) -> None:
    os.truncate(location / "catalog.db", 0)
    with pytest.raises(CatalogError, match="is empty: run `distfs repair`"):
        LocalCasStore(location)
    repair_store(location)
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")


@pytest.mark.parametrize("is_dangling", [False, True])
def test_a_catalog_that_is_a_symlink_is_refused_and_no_repair_forgets_its_log(
    location: Path, tmp_path: Path, is_dangling: bool
) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")
    (location / "catalog.db").rename(tmp_path / "catalog.db")
    (location / "catalog.db").symlink_to("nowhere" if is_dangling else tmp_path / "catalog.db")
    before = tree_of(location)
    for open_it in (LocalCasStore, lambda place: LocalCasStore(place, read_only=True), repair_store):
        with pytest.raises(IncompatibleStoreError, match="symlink"):
            open_it(location)
    assert tree_of(location) == before
    (location / "catalog.db").unlink()
    (tmp_path / "catalog.db").rename(location / "catalog.db")
    with LocalCasStore(location) as store:
        assert store.read_file("a") == b"x"


@pytest.mark.parametrize("sql", ["DELETE FROM store", "UPDATE store SET hash_algorithm = 'md5'"])
def test_a_catalog_without_its_first_row_is_damaged(location: Path, sql: str) -> None:
    edit(location, sql)
    with pytest.raises(CatalogError):
        LocalCasStore(location)


@pytest.mark.parametrize(
    "sql", ["DELETE FROM commits", "UPDATE commits SET total_files = 7", "UPDATE commits SET generation = 5"]
)
def test_a_store_whose_state_is_damaged_opens_for_the_audit_and_acknowledges_nothing(
    location: Path, sql: str
) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")
    edit(location, sql)
    with LocalCasStore(location) as store:
        with pytest.raises(CatalogError):
            store.write_file("b", b"x")
        with pytest.raises(CatalogError):
            store.prune_orphan_blobs()
        assert not store.audit_file_index().is_sound()
        assert store.audit_file_index(verify=True).index_damage


def test_an_opening_that_is_refused_leaks_nothing(location: Path) -> None:
    gc.collect()
    before = descriptors()
    for _ in range(3):
        with pytest.raises(IncompatibleStoreError):
            LocalCasStore(location, hash_algorithm=HashAlgorithm.SHA256)
    gc.collect()
    assert descriptors() == before


def test_no_room_for_what_sqlite_shares_is_a_full_disk() -> None:
    error: Any = apsw.IOError("disk I/O error")
    error.extendedresult = apsw.SQLITE_IOERR_SHMSIZE
    assert repr(translate(error, "/world/catalog.db", 1)) == repr(
        StorageFullError("/world/catalog.db", "database or disk is full")
    )
