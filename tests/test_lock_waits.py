"""Waits for locks that are given up: others go on with them; none leaves a thread or a descriptor behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import count
from pathlib import Path
from types import FrameType

import pytest

from agent_world_distfs import LocalCasStore, Retry, StoreBusyError, lock_descriptors
from agent_world_distfs.catalog import lock_files, lock_waits
from agent_world_distfs.catalog.lock_files import LockFile
from children import PATIENCE_S, Start
from holding import hold_lock
from stepping import At, Near, stepping


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "lock").touch()
    return str(tmp_path / "lock")


@pytest.fixture
def holder(path: str) -> Iterator[LockFile]:
    holder = LockFile(path)
    assert holder.try_acquire()
    yield holder
    holder.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads go as soon as they have nothing to do."""
    until(lambda: not waiting_threads() or not lock_waits._left)
    monkeypatch.setattr(lock_waits, "_IDLE_S", 0.001)
    monkeypatch.setattr(lock_waits, "_idle", [])


def waiting_threads() -> int:
    return sum(thread.name == "distfs-lock" for thread in threading.enumerate())


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def give_up(path: str) -> None:
    lock = LockFile(path)
    with pytest.raises(StoreBusyError):
        lock.acquire(Near(), 0)
    lock.release()
    lock.close()


def leave(path: str) -> None:
    """Leave a wait for a file that has none yet. A thread that had not begun to wait leaves none."""
    before = len(lock_waits._left)
    while len(lock_waits._left) == before:
        give_up(path)


def take(path: str) -> LockFile:
    lock = LockFile(path)
    lock.acquire(time.monotonic() + PATIENCE_S, PATIENCE_S)
    return lock


# --- nothing is left behind ----------------------------------------------------------------------


def test_writers_that_give_up_leave_one_thread_and_one_descriptor(location: Path, start: Start) -> None:
    LocalCasStore(location).close()
    holder = hold_lock(start, location)
    before = waiting_threads()
    with LocalCasStore(location, lock_timeout_s=0.002) as store:
        with pytest.raises(StoreBusyError):
            store.write_file("a", b"x")
        descriptors = open_descriptors()
        for _ in range(50):
            with pytest.raises(StoreBusyError):
                store.write_file("a", b"x")
        assert open_descriptors() <= descriptors + 1
    for _ in range(2):  # closing waits for the lock, too
        with LocalCasStore(location, lock_timeout_s=0.002) as store, pytest.raises(StoreBusyError):
            store.write_file("a", b"x")
    until(lambda: waiting_threads() - len(lock_waits._idle) <= before + 1)  # others may still be kept
    assert len(lock_waits._left) == 1
    holder.kill()
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")
    until(lambda: not lock_waits._left)


def test_updates_that_give_up_leave_one_thread_and_one_descriptor(location: Path, start: Start) -> None:
    LocalCasStore(location).close()
    holder = start(
        """
        def hold(data):
            say("held")
            hear()
            return b"x"
        LocalCasStore(location).update_file("a", hold)
        """,
        location,
    )
    assert holder.hear() == "held"
    before = waiting_threads()
    with LocalCasStore(location) as store:
        descriptors = open_descriptors()
        for _ in range(30):
            with pytest.raises(StoreBusyError):
                store.update_file("a", lambda _: b"y", retry=Retry(deadline_s=0.002))
        assert open_descriptors() <= descriptors + 4
        assert waiting_threads() <= before + 1
        holder.kill()
        store.update_file("a", lambda _: b"y")


def test_as_many_wait_as_have_waited_at_the_same_time(path: str, holder: LockFile) -> None:
    before = waiting_threads()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            list(pool.map(give_up, [path] * 4))
    assert waiting_threads() <= before + 4
    assert 1 <= len(lock_waits._left) <= 4
    holder.close()
    until(lambda: not lock_waits._left)
    assert not lock_descriptors._known


@pytest.mark.usefixtures("hasty")
def test_threads_that_have_nothing_to_do_go(path: str, holder: LockFile) -> None:
    before = waiting_threads()
    leave(path)
    assert waiting_threads() == before + 1
    holder.close()
    until(lambda: waiting_threads() <= before)
    assert not lock_waits._idle
    take(path).close()


def test_where_too_many_are_left_callers_try_again_and_again(
    path: str, holder: LockFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_waits, "MOST_LEFT", 0)
    before = waiting_threads()
    with pytest.raises(StoreBusyError):
        LockFile(path).acquire(time.monotonic() + 0.002, 0)
    assert waiting_threads() == before
    assert not lock_waits._left
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(take, path)
        holder.close()
        taken.result(PATIENCE_S).close()


# --- the lock comes ------------------------------------------------------------------------------


def test_who_claims_a_wait_gets_the_lock_and_nobody_else_has_it(path: str, holder: LockFile) -> None:
    leave(path)
    with ThreadPoolExecutor(2) as pool:
        taken = pool.submit(take, path)
        until(lambda: not lock_waits._left)  # claimed
        holder.close()
        lock = taken.result(PATIENCE_S)
    assert not LockFile(path).try_acquire()
    lock.release()
    assert LockFile(path).try_acquire()


def test_a_wait_that_an_interrupted_caller_left_twice_is_claimed_once(path: str, holder: LockFile) -> None:
    leave(path)
    lock_waits._left.append(lock_waits._left[0])
    with ThreadPoolExecutor(2) as pool:
        taken = [pool.submit(take, path) for _ in range(2)]
        until(lambda: not lock_waits._left)
        holder.close()
        for future in as_completed(taken, PATIENCE_S):
            lock = future.result()
            assert not LockFile(path).try_acquire()
            lock.close()


def test_a_lock_that_comes_while_nobody_claims_it_is_let_go(path: str, holder: LockFile) -> None:
    leave(path)
    holder.release()
    until(lambda: not lock_waits._left)
    for _ in range(20):
        lock = LockFile(path)
        assert lock.try_acquire()
        lock.close()


def test_a_wait_for_a_file_that_was_replaced_is_nobodys(path: str, holder: LockFile) -> None:
    leave(path)
    os.rename(path, path + ".old")
    Path(path).touch()
    other = take(path)
    leave(path)
    assert len(lock_waits._left) == 2
    other.close()
    take(path).close()
    holder.close()
    until(lambda: not lock_waits._left)


def test_a_forked_child_claims_no_wait_of_its_parent(path: str, holder: LockFile) -> None:
    leave(path)
    pid = os.fork()
    if pid == 0:
        result = 1
        try:
            take(path).close()
            result = 0
        finally:
            os._exit(result)
    holder.close()
    assert os.waitpid(pid, 0)[1] == 0


def test_a_forked_child_gives_its_wait_to_no_thread_of_its_parent(path: str, start: Start) -> None:
    # Not even where it has the pid of its parent, as in a pid namespace of its own.
    parent = start(
        """
        from agent_world_distfs.catalog import lock_waits
        from agent_world_distfs.catalog.lock_files import LockFile

        def wait_for(holder):
            threading.Timer(0.05, holder.close).start()
            lock = LockFile(location)
            lock.acquire(time.monotonic() + 2, 2)
            lock.close()

        def hold():
            holder = LockFile(location)
            assert holder.try_acquire()
            return holder

        wait_for(hold())
        while not lock_waits._idle:
            time.sleep(0.001)
        own_pid = os.getpid()
        os.getpid = lambda: own_pid
        pid = os.fork()
        if pid == 0:
            wait_for(hold())
            os._exit(0)
        say(os.waitpid(pid, 0)[1])
        """,
        path,
    )
    assert parent.hear() == "0"


def test_callers_that_give_up_and_claim_at_random_exclude_each_other(path: str) -> None:
    inside: list[int] = []
    got = count()

    def contend(number: int) -> None:
        lock = LockFile(path)
        for turn in range(150):
            try:
                lock.acquire(time.monotonic() + (turn * number % 7) * 0.0002, 0)
            except StoreBusyError:
                lock.release()
                continue
            inside.append(number)
            assert len(inside) == 1
            if turn % 3 == 0:
                time.sleep(0.0003)
            inside.clear()
            next(got)
            lock.release()
        lock.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(contend, range(1, 7)))
    assert next(got) > 50
    until(lambda: not lock_waits._left)
    assert not lock_descriptors._known


# --- interrupts ----------------------------------------------------------------------------------


class Interrupted(BaseException):
    pass


def wait_and_release(lock: LockFile) -> None:
    try:
        lock.acquire(Near(), 0)
    except StoreBusyError:
        pass
    finally:
        release(lock)


def release(lock: LockFile) -> None:
    """As the gate does: again, if an interrupt has hit the first."""
    try:
        lock.release()
    except Interrupted:
        lock.release()
        raise
    finally:
        lock.close()


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("are_left", [0, 1, 2])
def test_a_wait_that_is_interrupted_at_any_bytecode_leaves_nothing_behind(path: str, are_left: int) -> None:
    before = waiting_threads()

    def interrupt() -> None:
        raise Interrupted

    for number in count(1):
        holder = take(path)
        left = [LockFile(path) for _ in range(are_left)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: give_up(path), left))
        at = At(number, interrupt)

        def step(frame: FrameType, at: At = at) -> None:
            if (
                frame.f_code is not LockFile.try_acquire.__code__
            ):  # what has been opened must be noted somewhere
                at(frame)

        lock = LockFile(path)
        try:
            with stepping(step, lock_files, lock_waits):
                wait_and_release(lock)
        except Interrupted:
            pass
        holder.close()
        take(path).close()
        until(lambda: not lock_descriptors._known)
        until(lambda: waiting_threads() <= before)
        assert not lock_waits._left
        if not at.is_done:
            assert number > 100
            return
