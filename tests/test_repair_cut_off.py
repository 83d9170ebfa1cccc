"""A repair that dies between its steps loses nothing: neither of before, nor of what is written after it."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_world_distfs import CatalogError, LocalCasStore, UnavailableError, repair_store
from agent_world_distfs.flushing import flush_directory
from agent_world_distfs.recovering import building, exchanging, repairing, telling

OLD = {f"old/{number:03}": b"old%d" % number for number in range(60)}
IN_THE_LOG = {f"logged/{number}": b"logged%d" % number for number in range(5)}
EXPECTED = OLD | IN_THE_LOG
LATER = {f"later/{number}": b"later%d" % number for number in range(20)}

DONE, FAILED, DEAD = range(3)


@pytest.fixture
def damaged(location: Path, tmp_path: Path) -> Path:
    """Damaged so that it opens all the same; some of what was acknowledged is in the WAL alone."""
    with LocalCasStore(location) as store:
        for path, data in OLD.items():
            store.write_file(path, data)
    with LocalCasStore(location) as store:
        for path, data in IN_THE_LOG.items():
            store.write_file(path, data)
        place = shutil.copytree(location, tmp_path / "damaged")
    assert (place / "catalog.db-wal").stat().st_size
    catalog = bytearray((place / "catalog.db").read_bytes())
    catalog[catalog.rindex(b"old/040") + 4] ^= 1
    (place / "catalog.db").write_bytes(catalog)
    return place


def repair_and_die(place: Path, number: int) -> bool:
    """Repair in a process that dies just before the so-manieth change or flush of a name; whether it did."""
    child = os.fork()
    if child == 0:
        status = FAILED
        try:
            count = iter(range(number))
            for name in ("rename", "unlink"):
                setattr(os, name, fatal(getattr(os, name), count))
            setattr(exchanging, "flush_directory", fatal(flush_directory, count))  # noqa: B010
            repair_store(place)
            status = DONE
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status != FAILED
    return status == DEAD


def fatal(call: Callable[..., None], count: Iterator[int]) -> Callable[..., None]:
    def do_or_die(path: str, *arguments: object, **options: object) -> None:
        is_counted = call is flush_directory or os.path.basename(path).startswith("catalog.db")
        if is_counted and next(count, None) is None:
            os._exit(DEAD)
        call(path, *arguments, **options)

    return do_or_die


def contents(place: Path) -> dict[str, bytes]:
    with LocalCasStore(place) as store:
        assert store.audit_file_index(verify=True).is_clean()
        return {file.path: store.read_file(file.path) for file in store.iter_files()}


def assert_mended(place: Path, expected: dict[str, bytes]) -> None:
    assert repair_store(place).is_whole()
    assert contents(place) == expected
    assert not list(place.glob("catalog.db.new-*"))


def use(place: Path) -> dict[str, bytes]:
    """Open it, to read and to write; what was acknowledged, which is nothing if it is refused."""
    if not (place / "catalog.db").exists():
        for read_only in (True, False):
            with pytest.raises(CatalogError, match="run `distfs repair`"):
                LocalCasStore(place, read_only=read_only)
        return {}
    with LocalCasStore(place, read_only=True) as store:
        assert len(store.list_files(prefix="logged/")) == len(IN_THE_LOG)
    with LocalCasStore(place) as store:
        for path, data in LATER.items():
            store.write_file(path, data)
    return LATER


@pytest.fixture
def states(damaged: Path, tmp_path: Path) -> list[Path]:
    """What repairs leave that die at each step."""
    states = [damaged]
    while repair_and_die(state := shutil.copytree(damaged, tmp_path / f"{len(states)}"), len(states) - 1):
        states.append(state)
    assert sum(not (state / "catalog.db").exists() for state in states) > 3
    return states


def test_a_repair_that_dies_at_any_step_loses_nothing_and_neither_does_using_the_store_before_the_next(
    states: list[Path],
) -> None:
    for state in states:
        used = shutil.copytree(state, state.with_name("used"))
        assert repair_store(state, dry_run=True).salvaged_files in (None, len(EXPECTED))
        assert_mended(state, EXPECTED)
        assert_mended(used, EXPECTED | use(used))
        shutil.rmtree(used)


def test_nor_does_a_repair_that_dies_while_it_undoes_what_the_last_one_left(states: list[Path]) -> None:
    for state in states:
        if not (state / "catalog.db").exists():
            for number in range(6):
                place = shutil.copytree(state, state.with_name("again"))
                assert repair_and_die(place, number)
                assert_mended(place, EXPECTED | use(place))
                shutil.rmtree(place)


def test_what_sqlite_left_beside_a_new_catalog_is_no_exchange_and_goes_with_it(states: list[Path]) -> None:
    for state in states:
        for new in list(state.glob("catalog.db.new-*")):
            for suffix in ("-wal", "-shm"):
                Path(f"{new}{suffix}").write_bytes(b"left by a killed sqlite3")
        assert_mended(state, EXPECTED)


def test_a_repair_that_died_is_no_reason_to_forget_what_it_could_not_save(
    damaged: Path, tmp_path: Path
) -> None:
    with (damaged / "catalog.db").open("r+b") as file:
        file.seek(6 * 4096)
        file.write(bytes(4 * 4096))
    (damaged / "catalog.db-wal").unlink()
    wanted = repair_store(shutil.copytree(damaged, tmp_path / "whole"))
    assert not wanted.is_whole()
    number = 0
    while repair_and_die(place := shutil.copytree(damaged, tmp_path / f"{number}"), number):
        report = repair_store(place)
        assert [report.salvaged_from] == [path.name for path in place.glob("catalog.db.damaged-????????")]
        assert dataclasses.replace(report, salvaged_from=wanted.salvaged_from) == wanted
        assert repair_store(place).salvaged_files is None, "told once"
        number += 1
    assert number > 3


def test_a_copy_made_before_a_repair_has_told_names_no_file_that_the_copy_lacks(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(telling, "forget_told", die)
        with pytest.raises(KeyboardInterrupt):
            repair_store(damaged)
    with LocalCasStore(damaged) as store:
        store.backup(tmp_path / "copy")
    (kept,) = (each.name for each in damaged.glob("catalog.db.damaged-????????"))
    of_copy, of_store = repair_store(tmp_path / "copy"), repair_store(damaged)
    assert (of_copy.salvaged_from, of_store.salvaged_from) == (None, kept)
    assert of_copy.salvaged_files == of_store.salvaged_files == len(EXPECTED)


def test_nothing_of_a_repair_that_died_stays(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(damaged / "nowhere"))
    before = sorted(os.listdir(damaged))
    child = os.fork()
    if child == 0:
        setattr(building, "rebuild_catalog", lambda *_: os._exit(DEAD))  # noqa: B010
        repair_store(damaged)
        os._exit(FAILED)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DEAD
    assert list((damaged / "tmp").glob("repair-*/damaged/catalog.db"))
    LocalCasStore(damaged).close()
    assert os.listdir(damaged / "tmp") == []
    assert sorted(os.listdir(damaged)) == [name for name in before if not name.startswith("catalog.db-")]


@pytest.mark.parametrize("order", list(itertools.permutations(["", "-wal", "-shm"])))
def test_in_whichever_order_the_names_are_listed(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[str, ...]
) -> None:
    names = [f"catalog.db.new-0123abcd{suffix}" for suffix in order]
    for name in names:
        (damaged / name).write_bytes(name.encode())
    os.rename(damaged / "catalog.db", damaged / "catalog.db.damaged-0123abcd")
    os.rename(damaged / "catalog.db-wal", damaged / "catalog.db.damaged-0123abcd-wal")
    rest = sorted({*os.listdir(damaged)} - {*names})
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda _: [*names, *rest])
        exchanging.undo_cut_off(str(damaged))
    assert not list(damaged.glob("catalog.db.*-*"))
    assert_mended(damaged, EXPECTED)


def test_a_repair_that_was_cut_off_long_ago_puts_no_older_catalog_back(damaged: Path) -> None:
    kept = repair_store(damaged).salvaged_from
    (damaged / "catalog.db").unlink()
    report = repair_store(damaged)
    assert (report.salvaged_files, report.salvaged_from) == (0, None)
    assert (damaged / str(kept)).exists()


def test_an_empty_file_that_somebody_opened_in_its_place_is_not_the_catalog(states: list[Path]) -> None:
    for state in states:
        if not (state / "catalog.db").exists():
            (state / "catalog.db").touch()
            assert_mended(state, EXPECTED)


def test_of_two_repairs_at_once_the_second_does_not_build_what_the_first_has_built(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_damage = repairing._find_damage

    def find_and_be_late(place: str, *, dry_run: bool) -> tuple[list[str], list[str]]:
        monkeypatch.undo()
        found = find_damage(place, dry_run=dry_run)
        assert repair_store(damaged).is_whole()
        return found

    monkeypatch.setattr(repairing, "_find_damage", find_and_be_late)
    with pytest.raises(UnavailableError, match="somebody else has repaired"):
        repair_store(damaged)
    assert len(list(damaged.glob("catalog.db.damaged-????????"))) == 1
    assert contents(damaged) == EXPECTED


def test_who_opens_the_store_in_the_moment_when_it_has_no_catalog_is_told_to_wait(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def flush_and_open(path: str) -> None:
        flush_directory(path)
        if not (damaged / "catalog.db").exists():
            with pytest.raises(UnavailableError) as raised:
                LocalCasStore(damaged)
            told.append(str(raised.value))

    monkeypatch.setattr(exchanging, "flush_directory", flush_and_open)
    assert repair_store(damaged).is_whole()
    assert len(told) == 2
