"""The write lock: fair, in time, and gone with whoever held it."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest

from agent_world_distfs import FileConflictError, LocalCasStore, StoreBusyError, UnavailableError
from agent_world_distfs.catalog import lock_waits
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.local import catalog_of
from children import Child, Start


def hold_lock(start: Start, location: Path) -> Child:
    """A process that has the write lock, until it is told to let go or killed."""
    holder = start(
        """
        store = LocalCasStore(location)
        def hold(tx):
            say("held")
            hear()
        store._catalog.write(hold)
        say("let go")
        hear()
        """,
        location,
    )
    assert holder.hear() == "held"
    return holder


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


def hold_until(store: LocalCasStore, is_held: Event, may_let_go: Event) -> None:
    def hold(_: object) -> None:
        is_held.set()
        assert may_let_go.wait(30)

    store._catalog.write(hold)


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


# --- in time ----------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout_s", [0, 0.05, 0.3])
def test_who_cannot_have_the_lock_is_told_after_the_time_that_he_would_wait(
    location: Path, start: Start, timeout_s: float
) -> None:
    holder = hold_lock(start, location)
    with LocalCasStore(location, lock_timeout_s=timeout_s) as store:
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(StoreBusyError) as raised:
                store.write_file("a", b"x")
            assert time.monotonic() - began >= timeout_s
            assert raised.value.timeout_s == timeout_s
        assert store.list_files() == []  # reading needs no lock
        assert store.audit_file_index().is_clean()
        holder.tell()
        assert holder.hear() == "let go"
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")


def test_many_who_gave_up_are_in_nobodys_way(location: Path, start: Start) -> None:
    holder = hold_lock(start, location)
    with LocalCasStore(location, lock_timeout_s=0.01) as store:
        for _ in range(30):
            with pytest.raises(StoreBusyError):
                store.write_file("a", b"x")
    stores = [LocalCasStore(location, lock_timeout_s=0.01) for _ in range(10)]
    for store in stores:
        with pytest.raises(StoreBusyError):
            store.write_file("a", b"x")
    holder.tell()
    assert holder.hear() == "let go"
    with LocalCasStore(location, lock_timeout_s=10) as store:
        for number in range(20):
            store.write_file(f"{number}", b"x")
    for store in stores:
        store.close()


def test_threads_of_one_store_wait_for_each_other_no_longer_than_told(location: Path) -> None:
    with LocalCasStore(location, lock_timeout_s=0.05) as store:
        entered, leave = Event(), Event()

        def hold(_: object) -> None:
            entered.set()
            leave.wait()

        with ThreadPoolExecutor(1) as pool:
            holding = pool.submit(store._catalog.write, hold)
            entered.wait()
            with pytest.raises(StoreBusyError):
                store.write_file("a", b"x")
            leave.set()
            holding.result()
        store.write_file("a", b"x")


def test_a_wait_that_no_thread_can_be_had_for_is_told_and_leaves_nothing_open(
    location: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    holder = hold_lock(start, location)
    with LocalCasStore(location) as store:
        monkeypatch.setattr(lock_waits, "_idle", [])
        monkeypatch.setattr(threading.Thread, "start", start_no_thread)
        open_before = set()
        for _ in range(5):
            with pytest.raises(UnavailableError, match="no thread"):
                store.write_file("a", b"x")
            open_before.add(len(os.listdir("/dev/fd")))
        assert len(open_before) == 1
        assert store.list_files() == []
        holder.tell()
        assert holder.hear() == "let go"
        store.write_file("a", b"x")  # nobody has to wait


def test_who_waits_for_ever_is_served(location: Path) -> None:
    with LocalCasStore(location) as holder, LocalCasStore(location, lock_timeout_s=math.inf) as waiter:
        with ThreadPoolExecutor(2) as pool:
            is_held, may_let_go = Event(), Event()
            held = pool.submit(hold_until, holder, is_held, may_let_go)
            assert is_held.wait(30)
            written = pool.submit(waiter.write_file, "a", b"x")
            time.sleep(0.02)
            assert not written.done()
            may_let_go.set()
            held.result()
            written.result(30)
        assert holder.read_file("a") == b"x"


@pytest.mark.parametrize("left_s", [math.inf, 1e300])
def test_locks_are_waited_for_without_end(tmp_path: Path, left_s: float) -> None:
    Gate.create(str(tmp_path))
    holder, waiter = Gate(str(tmp_path), left_s), Gate(str(tmp_path), left_s)
    holder.acquire()

    def write() -> None:
        waiter.acquire()
        waiter.release()

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        time.sleep(0.02)
        assert not written.done()
        holder.release()
        written.result(30)
    assert waiter.hold(left_s)
    waiter.let_go()


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


# --- not by its own holder --------------------------------------------------------------------


def test_a_signal_handler_that_writes_much_while_its_thread_copies_the_log_does_not_wait_for_itself(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, raised = SqliteCatalog._checkpoint_wal, list[BaseException]()

    def handle(*_: object) -> None:
        store.write_file("few", b"x")
        try:
            store.write_files((f"many/{number}", b"x") for number in range(40))
        except StoreBusyError as error:
            raised.append(error)

    def copy_interrupted(self: SqliteCatalog) -> None:
        signal.raise_signal(signal.SIGUSR1)
        honest(self)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with LocalCasStore(location) as store:
            monkeypatch.setattr(SqliteCatalog, "_checkpoint_wal", copy_interrupted)
            began = time.monotonic()
            catalog_of(store)._shorten_wal()
            assert time.monotonic() - began < 30
            assert len(raised) == 1
            store.write_files((f"many/{number}", b"x") for number in range(40))
            assert len(store.list_files()) == 41
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_that_writes_inside_a_write_is_refused_and_breaks_nothing(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The signal comes in the middle of the transaction: when the time of the write is asked for.
    heard: list[BaseException | int] = []

    def handle(*_: object) -> None:
        heard.append(len(store.list_files()))  # reading works
        for write in (lambda: store.write_file("handler", b"x"), lambda: store.put_bytes(bytes(20_000))):
            try:
                write()
            except StoreBusyError as error:
                heard.append(error)

    def now_with_signal() -> int:
        signal.raise_signal(signal.SIGUSR1)
        return 5

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with LocalCasStore(location) as store, LocalCasStore(location, lock_timeout_s=0) as other:
            store.write_file("first", b"1")
            monkeypatch.setattr("agent_world_distfs.operations.files.now_ms", now_with_signal)
            written = store.write_file("second", b"2")
            assert [type(word) for word in heard] == [int, StoreBusyError, StoreBusyError]
            assert written.updated_at_ms == 5
            assert other.read_file("second") == b"2"
            monkeypatch.undo()
            other.write_file("third", b"3")  # the lock is free
            store.write_file("fourth", b"4")
            assert [file.path for file in store.list_files()] == ["first", "fourth", "second", "third"]
            report = store.audit_file_index(verify=True)
            assert (report.is_sound(), report.index_damage) == (True, ())
    finally:
        signal.signal(signal.SIGUSR1, before)


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
