"""A WAL in doubt is not copied before it was written again, nor trusted because a mark cannot be set."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import apsw
import pytest

from agent_world_distfs import LocalCasStore
from agent_world_distfs.catalog.gate import Gate
from children import Start, faulty

PAGE_BYTES = 4096


def gate_of(location: Path) -> Path:
    return location / "locks" / "gate"


def fill(store: LocalCasStore, name: str, files: int) -> dict[str, bytes]:
    contents = {f"{name}/{number}": f"{name}{number}".encode() * 300 for number in range(files)}
    store.write_files(contents.items())
    return contents


# --- copying -----------------------------------------------------------------------------------


def close_it(store: LocalCasStore) -> None:
    store.close()


def shorten(store: LocalCasStore) -> None:
    store._catalog._shorten_wal()


@pytest.mark.parametrize("copy", [close_it, shorten])
def test_what_is_in_doubt_is_not_copied(location: Path, copy: Callable[[LocalCasStore], None]) -> None:
    with LocalCasStore(location) as store:
        contents = fill(store, "a", 100)
        gate_of(location).write_bytes(b"\1")
        before = (location / "catalog.db").read_bytes()
        copy(store)
        assert (location / "catalog.db").read_bytes() == before
        assert gate_of(location).read_bytes() == b"\1"
    with LocalCasStore(location) as store:
        store.write_file("b", b"x")
        assert gate_of(location).read_bytes() == b"\0"
        assert {path: store.read_file(path) for path in contents} == contents


def test_what_is_in_doubt_is_settled_where_the_log_is_to_be_cut(location: Path) -> None:
    with LocalCasStore(location) as store:
        fill(store, "a", 100)
        gate_of(location).write_bytes(b"\1")
        store._catalog.truncate_wal()
        assert gate_of(location).read_bytes() == b"\0"
        assert (location / "catalog.db-wal").stat().st_size == 0


@contextmanager
def reading(store: LocalCasStore) -> Iterator[None]:
    """While a reader stays in the present state."""
    started, may_end = Event(), Event()

    def read(tx: Any) -> None:
        tx.count_files()
        started.set()
        assert may_end.wait(60)

    thread = Thread(target=store._catalog.read, args=(read,))
    thread.start()
    assert started.wait(60)
    try:
        yield
    finally:
        may_end.set()
        thread.join()


def put_pages(location: Path, pages: dict[int, bytes]) -> None:
    """From another process: closing the file here would drop the locks of this one."""
    put = "os.pwrite(os.open(sys.argv[1], os.O_WRONLY), sys.stdin.buffer.read(), int(sys.argv[2]))"
    for number, page in pages.items():
        words = [
            sys.executable,
            "-c",
            f"import os, sys; {put}",
            str(location / "catalog.db"),
            str(number * PAGE_BYTES),
        ]
        subprocess.run(words, input=page, check=True)


def read_apart(path: Path) -> bytes:
    return subprocess.run(["cat", path], stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped", "whole"])
def test_settling_copies_again_what_was_copied_without_a_flush(
    location: Path, tmp_path: Path, is_stopped: bool
) -> None:
    # A checkpoint that a reader stops has no flush; the next flush failed, and these pages are lost.
    with LocalCasStore(location) as store:
        contents = fill(store, "a", 100)
        with reading(store) if is_stopped else contextlib.nullcontext():
            contents |= fill(store, "b", 100)
            before = read_apart(location / "catalog.db")
            store._catalog._shorten_wal()
            after = read_apart(location / "catalog.db")
        pages = [
            number
            for number in range(len(after) // PAGE_BYTES)
            if page(before, number) != page(after, number)
        ]
        assert len(pages) > 20
        put_pages(location, {number: page(before, number) for number in pages[:12]})
        gate_of(location).write_bytes(b"\1")
        for number in range(20):  # by the very connection that settled
            contents |= fill(store, f"c{number}", 5)
            assert gate_of(location).read_bytes() == b"\0"
        store.write_file("d", b"d")
        shutil.copytree(location, tmp_path / "after the cut")
    with LocalCasStore(tmp_path / "after the cut") as store:
        assert store.audit_file_index(verify=True).index_damage == ()
        assert {path: store.read_file(path) for path in contents} == contents


def test_readers_see_nothing_old_while_what_was_copied_is_copied_again(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    class Watched(apsw.VFSFile):
        def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw calls it so
            super().xWrite(data, offset)
            look()

    def look() -> None:
        nonlocal looks
        looks += 1
        with LocalCasStore(location, read_only=True) as fresh:  # with an empty cache
            assert fresh.read_file("hot") == b"29"
            assert len(fresh.list_files()) == 32

    with LocalCasStore(location) as store:
        store.write_file("old", b"x" * 3000)
        for number in range(30):  # the same pages again and again, and the database grows
            store.write_file("hot", str(number).encode())
            store.write_file(f"new/{number}", bytes([number]) * 3000)
        with monkeypatch.context() as patch:
            patch.setattr(apsw, "VFSFile", Watched)
            shorten(store)
            gate_of(location).write_bytes(b"\1")
            store.put_bytes(b"settles")
        assert looks > 10
        assert store.audit_file_index(verify=True).is_sound()


def page(database: bytes, number: int) -> bytes:
    return database[number * PAGE_BYTES : (number + 1) * PAGE_BYTES].ljust(PAGE_BYTES, b"\0")


# --- the mark ----------------------------------------------------------------------------------


def test_a_mark_that_cannot_be_set_is_not_forgotten(location: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LocalCasStore(location).close()
    gate = Gate(str(location / "locks"), 1)

    def refuse(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    for is_inside in (False, True):
        if is_inside:
            gate.acquire()
        with monkeypatch.context() as patch:
            patch.setattr("os.pwrite", refuse)
            gate.set_suspect(suspect=True)
        assert gate_of(location).read_bytes() == b"\0"
        gate.release()
        gate.acquire()
        assert gate.is_suspect()
        assert gate_of(location).read_bytes() == b"\1"
        gate.set_suspect(suspect=False)
        gate.release()


def test_an_outcome_is_unknown_also_where_the_mark_cannot_be_set(location: Path, start: Start) -> None:
    child = start(
        """
        store = LocalCasStore(location)
        store.write_file("a", b"1")
        genuine = os.pwrite
        def refuse(*_):
            raise OSError(30, "Read-only file system")
        os.pwrite = refuse
        try:
            store.write_file("a", b"2")
        except OutcomeUnknownError:
            say("unknown")
        try:
            store.write_file("b", b"1")
        except StorageReadOnlyError:
            say("read-only")
        os.pwrite = genuine
        store.write_file("c", b"1")
        say(store.read_file("a"))
        """,
        location,
        under=faulty("fdatasync", "error=EIO:when=3", path=location / "catalog.db-wal"),
    )
    assert [child.hear(), child.hear()] == ["unknown", "read-only"]
    child.finish()


def test_a_doubt_that_came_without_the_lock_is_said_again_under_it(location: Path) -> None:
    LocalCasStore(location).close()
    byte, gate = location / "locks" / "gate", Gate(str(location / "locks"), 1)
    gate.set_suspect(suspect=True)
    assert byte.read_bytes() == b"\1"
    byte.write_bytes(b"\0")  # as another does that was about to end its settling
    for suspect in (True, False):
        gate.acquire()
        assert gate.is_suspect() is suspect
        gate.set_suspect(suspect=False)
        gate.release()
