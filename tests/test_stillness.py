"""A store read where nothing may be written, and so without locks, while somebody else can write it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import LocalCasStore, UnavailableError, local
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from children import MakeDisk, Start, cannot_run


@pytest.fixture
def seen_read_only(make_disk: MakeDisk, tmp_path: Path) -> tuple[Path, Path]:
    """A closed store at two places: one that may be written, and one where the same may only be read."""
    disk = make_disk(16 << 20)
    with LocalCasStore(disk / "store") as store:
        store.write_file("a", b"1")
        store.write_file("large", b"large" * 4_000)
    view = tmp_path / "view"
    view.mkdir()
    for command in (["--bind", str(disk), str(view)], ["-o", "remount,bind,ro", str(view)]):
        done = subprocess.run(["mount", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            cannot_run(f"no second, read-only view of a disk: {done.stderr.strip()}")
    return disk / "store", view / "store"


def test_no_answer_is_given_once_somebody_else_has_written(
    seen_read_only: tuple[Path, Path], start: Start
) -> None:
    writable, view = seen_read_only
    with LocalCasStore(view, read_only=True) as reader:
        assert reader.read_file("a") == b"1"
        writer = start("LocalCasStore(location).write_file('a', b'2'); say('written'); hear()", writable)
        assert writer.hear() == "written"
        for ask in (lambda: reader.read_file("a"), reader.list_files, lambda: reader.read_file("missing")):
            with pytest.raises(UnavailableError, match="open the store again"):
                ask()
        writer.tell()
        writer.finish()
    subprocess.run(["umount", view.parent], check=True)


def test_a_log_that_fills_while_the_store_is_opened_is_not_taken_for_an_old_one(
    seen_read_only: tuple[Path, Path], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    writable, view = seen_read_only
    writer = start("hear(); LocalCasStore(location).write_file('a', b'2'); say('written'); hear()", writable)

    def open_late(*args: Any, **options: Any) -> SqliteCatalog:
        writer.tell()
        assert writer.hear() == "written"
        return SqliteCatalog(*args, **options)

    monkeypatch.setattr(local, "SqliteCatalog", open_late)
    with pytest.raises(UnavailableError, match="once writable"):
        LocalCasStore(view, read_only=True)
    writer.kill()
    subprocess.run(["umount", view.parent], check=True)


def test_a_store_that_holds_still_again_is_opened_again(
    seen_read_only: tuple[Path, Path], start: Start
) -> None:
    writable, view = seen_read_only
    start("with LocalCasStore(location) as store: store.write_file('a', b'2')", writable).finish()
    with LocalCasStore(view, read_only=True) as reader:
        assert reader.read_file("a") == b"2"
    subprocess.run(["umount", view.parent], check=True)
