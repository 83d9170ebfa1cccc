"""The write lock: fair, and gone with whoever held it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest

from agent_world_distfs import FileConflictError, LocalCasStore, StoreBusyError
from children import Start
from holding import hold_lock, hold_until


def test_a_writer_that_waits_too_long_is_told_and_then_served(location: Path) -> None:
    with LocalCasStore(location) as holder, LocalCasStore(location, lock_timeout_s=0.2) as waiter:
        with pytest.raises(StoreBusyError) as raised:
            holder._catalog.write(lambda _: waiter.write_file("a", b"a"))
        assert raised.value.timeout_s == 0.2
        assert isinstance(raised.value, TimeoutError)
        waiter.write_file("a", b"a")
        holder.write_file("b", b"b")


def test_a_lock_holder_that_dies_lets_go_at_once(location: Path, start: Start) -> None:
    holder = hold_lock(start, location)
    with LocalCasStore(location, lock_timeout_s=0.2) as store:
        with pytest.raises(StoreBusyError):
            store.write_file("a", b"a")
        holder.kill()
        store.write_file("a", b"a")


def test_a_thread_that_has_waited_waits_for_the_next(location: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    start_thread = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        started.append(thread.name)
        start_thread(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with LocalCasStore(location) as holder, LocalCasStore(location) as waiter, ThreadPoolExecutor(1) as pool:
        for number in range(20):
            is_held, may_let_go = Event(), Event()
            held = pool.submit(hold_until, holder, is_held, may_let_go)
            assert is_held.wait(30)
            Timer(0.02, may_let_go.set).start()
            waiter.write_file("a", b"%d" % number)
            held.result()
    assert started.count("distfs-lock") <= 3  # one, or a few where the last is not idle yet


def test_an_error_that_is_kept_keeps_no_snapshot(location: Path) -> None:
    """Its traceback holds everything that was in use; the next write and read start anew all the same."""
    with LocalCasStore(location) as store, LocalCasStore(location) as other:
        kept = []
        for number in range(3):
            other.write_file("a", b"%d" % number)
            with pytest.raises(FileConflictError) as raised:
                store.write_file_if_match("a", "0" * 64, b"x")
            kept.append(raised)
            other.write_file("a", b"%d!" % number)
            assert store.read_file("a") == b"%d!" % number
            store.write_file("b", b"b")


# --- gone with its holder ---------------------------------------------------------------------


def test_the_next_in_the_queue_is_served_when_the_holder_dies(location: Path, start: Start) -> None:
    holder = hold_lock(start, location)
    program = "store = LocalCasStore(location)\nsay('waiting')\nstore.write_file(sys.argv[2], b'x')"
    waiting = [start(program, location, name) for name in "abc"]
    for child in waiting:
        assert child.hear() == "waiting"
    holder.kill()
    for child in waiting:
        child.finish()
    with LocalCasStore(location) as store:
        assert [file.path for file in store.list_files()] == ["a", "b", "c"]


def test_the_dead_in_the_queue_hold_nobody_up(location: Path, start: Start) -> None:
    holder = hold_lock(start, location)
    program = "store = LocalCasStore(location)\nsay('waiting')\nstore.write_file('dead', b'x')"
    for child in [start(program, location) for _ in range(4)]:
        assert child.hear() == "waiting"
        time.sleep(0.05)  # until it is at the turnstile or at the gate: either way it dies waiting, or before
        child.kill()
    holder.tell()
    assert holder.hear() == "let go"
    with LocalCasStore(location, lock_timeout_s=20) as store:
        store.write_file("a", b"x")
        assert [file.path for file in store.list_files()] == ["a"]


def test_a_holder_that_sleeps_is_waited_for_and_a_holder_that_wakes_goes_on(
    location: Path, start: Start
) -> None:
    holder = start(
        """
        store = LocalCasStore(location)
        def hold(tx):
            say("held")
            hear()
            tx.mark_epoch()
        store._catalog.write(hold)
        store.write_file("holder", b"x")
        say("done")
        """,
        location,
    )
    holder.hear()
    holder.stop()
    with LocalCasStore(location, lock_timeout_s=0.1) as store:
        with pytest.raises(StoreBusyError):
            store.write_file("a", b"x")
        holder.go_on()
        holder.tell()
        assert holder.hear() == "done"
        store.write_file("a", b"x")
        assert [file.path for file in store.list_files()] == ["a", "holder"]


# --- fair -------------------------------------------------------------------------------------


def test_processes_take_turns(location: Path, start: Start) -> None:
    # Each notes its turns, in the order in which they come, while it has the lock.
    program = """
    log = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = LocalCasStore(location, durability="relaxed")
    say("ready")
    hear()
    for number in range(1500):
        def change(tx):
            os.write(log, sys.argv[2].encode())
            tx.mark_epoch()
        store._catalog.write(change)
    """
    log = location.parent / "turns"
    writers = [start(program, location, name, log) for name in "abc"]
    for writer in writers:
        assert writer.hear() == "ready"
    for writer in writers:
        writer.tell()
    for writer in writers:
        writer.finish()
    turns = log.read_text()
    assert sorted(turns) == sorted("abc" * 1500)
    together = turns[max(map(turns.index, "abc")) : min(map(turns.rindex, "abc"))]
    assert min(map(together.count, "abc")) > len(together) // 10


def test_a_change_that_raises_changes_nothing_and_lets_go(location: Path) -> None:
    class OwnError(Exception):
        pass

    def change(tx: Any) -> None:
        tx.add_blob("a" * 64, 1, b"x")
        tx.mark_epoch()
        raise OwnError

    with LocalCasStore(location) as store, LocalCasStore(location, lock_timeout_s=0) as other:
        for _ in range(3):
            with pytest.raises(OwnError):
                store._catalog.write(change)
            other.write_file("a", b"x")
        assert not store.has("a" * 64)
        assert store.audit_file_index(verify=True).is_clean()
