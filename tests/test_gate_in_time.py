"""The write lock: who cannot have it is told in time."""

from __future__ import annotations

import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from agent_world_distfs import LocalCasStore, StoreBusyError, UnavailableError
from agent_world_distfs.catalog import lock_waits
from agent_world_distfs.catalog.gate import Gate
from children import Start
from holding import hold_lock, hold_until


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
