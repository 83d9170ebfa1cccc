"""A catalog that is built anew: for whom, from whose sources, under which numbers, and what it counts."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from agent_world_distfs import (
    BlobNotFoundError,
    Data,
    HashAlgorithm,
    InvalidInputError,
    LocalCasStore,
    repair_store,
)
from behind import look
from lost_catalogs import assert_restored, blank, contents, expected, fill


@pytest.fixture
def filled(location: Path) -> Path:
    fill(location)
    return location


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_catalog_that_was_built_anew_is_for_those_who_could_use_the_damaged_one(
    filled: Path, mode: int
) -> None:
    catalog = filled / "catalog.db"
    catalog.chmod(mode)
    owner = (12_345, 23_456) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(catalog, *owner)
    blank(filled, 0, 1)
    report = repair_store(filled)
    assert report.salvaged_from is not None
    status = catalog.stat()
    assert (oct(status.st_mode & 0o777), status.st_uid, status.st_gid) == (oct(mode), *owner)
    assert contents(filled) == expected()


def test_a_source_with_another_algorithm_is_refused_before_anything_is_built_anew(
    filled: Path, tmp_path: Path
) -> None:
    LocalCasStore(tmp_path / "other", hash_algorithm=HashAlgorithm.SHA256).close()
    blank(filled, 6, 12)
    for source in (tmp_path / "other", LocalCasStore(tmp_path / "other")):
        with pytest.raises(InvalidInputError, match="by sha256, this store by blake3"):
            repair_store(filled, [source])
    assert not list(filled.glob("catalog.db.*"))
    assert os.listdir(filled / "tmp") == []
    assert repair_store(filled).salvaged_from is not None


class StoreOfOthers:
    """A source that is not ours; looks around when it is asked."""

    def __init__(self, named: str, look_around: Callable[[], None] = lambda: None) -> None:
        self._named, self._look_around = named, look_around

    @property
    def hash_algorithm(self) -> str:
        self._look_around()
        return self._named

    def put(self, content_hash: str, data: Data) -> None:
        raise NotImplementedError

    def get(self, content_hash: str) -> bytes:
        raise BlobNotFoundError(content_hash)

    def has(self, content_hash: str) -> bool:
        return False

    def put_bytes(self, data: Data) -> str:
        raise NotImplementedError


def test_no_number_comes_again_where_all_commits_are_lost_twice(filled: Path) -> None:
    numbers = []
    for _ in range(2):
        with contextlib.closing(apsw.Connection(str(filled / "catalog.db"))) as connection:
            connection.execute("DELETE FROM commits")
            connection.execute("VACUUM")
        repair_store(filled)
        with LocalCasStore(filled) as store:
            numbers.append(store.last_seq())
            store.write_file("since", b"since")
    assert numbers[1] > numbers[0] + 1


def test_a_source_may_name_its_algorithm_in_text(filled: Path) -> None:
    blank(filled, 0, 1)
    with pytest.raises(InvalidInputError, match="by sha256, this store by blake3"):
        repair_store(filled, [StoreOfOthers("sha256")])
    assert_restored(filled, repair_store(filled, [StoreOfOthers("blake3")]))


def test_what_a_repair_builds_is_for_nobody_else_meanwhile(filled: Path) -> None:
    blank(filled, 0, 1)
    modes: set[int] = set()

    def look_around() -> None:
        modes.update(each.stat().st_mode & 0o777 for each in (filled / "tmp").glob("repair-*"))

    repair_store(filled, [StoreOfOthers("blake3", look_around)])
    assert modes == {0o700}


def test_snapshots_that_are_lost_are_counted_and_the_index_is_proven_all_the_same(filled: Path) -> None:
    with LocalCasStore(filled) as store:
        for name in ("monday", "tuesday"):
            store.snapshot(name)
    ((page,),) = look(filled, "SELECT rootpage FROM sqlite_schema WHERE name = 'snapshots'")
    assert isinstance(page, int)
    shutil.copytree(filled, filled.with_name("backup"))
    blank(filled, page - 1, page)
    tried = repair_store(filled, dry_run=True)
    report = repair_store(filled)
    for each in (tried, report):
        assert (each.is_index_proven, each.is_proven, each.is_whole()) == (True, False, False)
        assert (each.missing_snapshots, each.missing_pins, each.lost_files) == (2, 0, 0)
    assert contents(filled) == expected()
    assert report.salvaged_from is not None
    os.rename(filled / report.salvaged_from, filled / "catalog.db")
    assert repair_store(filled, [filled.with_name("backup")]).missing_snapshots == 0
