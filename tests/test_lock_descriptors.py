"""Locks and forks: a child, forked between any two bytecodes, keeps no lock of a parent that dies."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from threading import Timer
from types import ModuleType

import pytest

from agent_world_distfs import LocalCasStore, Retry, StoreBusyError, UnavailableError, lock_descriptors
from agent_world_distfs.blobs import sessions
from agent_world_distfs.blobs.sessions import Sessions
from agent_world_distfs.catalog import extending, lock_files, lock_waits, turns
from agent_world_distfs.catalog.extending import Extending
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.lock_files import LockFile
from agent_world_distfs.catalog.lock_waits import Claim, Waiter
from agent_world_distfs.catalog.turns import OneTurn
from agent_world_distfs.engine import handles
from agent_world_distfs.engine.handles import held_alone
from children import Start
from stepping import At, stepping


@pytest.fixture
def forker() -> Iterator[ThreadPoolExecutor]:
    """The thread that forks; it exists before, or a child would inherit what starting it takes."""
    with ThreadPoolExecutor(1) as forker:
        forker.submit(os.getpid).result()
        yield forker


def fork_one_that_sleeps() -> int:
    """Its number; it has been through its hooks."""
    heard, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)
            os.write(said, b"x")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(said)
    assert os.read(heard, 1)
    os.close(heard)
    return pid


def die() -> None:
    """What the end of this process does to its locks: closes, and unlocks nothing."""
    while lock_descriptors._known:
        descriptor = lock_descriptors._known.pop()
        os.close(descriptor.number)
        descriptor.number = -1


def is_free(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


# --- what a process is in the middle of when it is forked ---------------------------------------


def take_a_lock(place: Path) -> None:
    lock = LockFile(str(place / "gate"))
    while not lock.try_acquire():  # it was forked meanwhile
        pass
    die()


def let_a_lock_go(place: Path) -> None:
    lock = LockFile(str(place / "gate"))
    while not lock.try_acquire():  # it was forked meanwhile
        pass
    lock.close()


def give_up_waiting(place: Path, times: int = 1) -> None:
    holder = LockFile(str(place / "gate"))
    assert holder.try_acquire()
    for _ in range(times):
        lock = LockFile(str(place / "gate"))
        with pytest.raises(StoreBusyError):
            lock.acquire(time.monotonic() + 0.001, 0)
        lock.release()
        lock.close()
    holder.close()
    deadline = time.monotonic() + 10
    while lock_descriptors._known and time.monotonic() < deadline:  # until the thread that waited has closed
        time.sleep(0.0005)


def new_waiter(place: Path) -> Waiter:
    return Waiter(lock_descriptors.open_to_lock(str(place / "gate"), os.O_RDWR))


def wait(place: Path) -> None:
    new_waiter(place).block()  # as its thread does
    die()


def wait_for_nobody(place: Path) -> None:
    waiter = new_waiter(place)
    claim = Claim(waiter)
    waiter.fate = claim._fate
    assert waiter.may_begin("thread")
    claim.abandon()
    waiter.take()
    assert not lock_descriptors._known


def do_not_begin_to_wait(place: Path) -> None:
    waiter = new_waiter(place)
    Claim(waiter).abandon()
    waiter.block()
    assert not lock_descriptors._known


def take_a_turn(place: Path) -> None:
    turn = OneTurn(str(place), "name", insists=True)
    assert turn.take()
    die()


def look_at_a_turn(place: Path) -> None:
    assert not turns._is_locked(str(place / "gate"))


def extend(place: Path) -> None:
    with Extending(str(place), 1).alone():
        pass


def die_extending(place: Path) -> None:
    with Extending(str(place), 1).alone():
        die()


def look_at_a_dead_session(place: Path) -> None:
    (place / "dead.lock").touch()
    assert not Sessions(str(place), read_only=False).is_alive("dead")


def hold_alone(place: Path) -> None:
    with held_alone(str(place)):
        pass


def die_alone(place: Path) -> None:
    with held_alone(str(place)):
        die()


LOCKING = (lock_files, lock_waits, lock_descriptors)

WORK: dict[str, tuple[Callable[[Path], None], tuple[ModuleType, ...]]] = {
    "a lock is taken": (take_a_lock, LOCKING),
    "a lock is let go": (let_a_lock_go, LOCKING),
    "a wait is given up": (give_up_waiting, (lock_files, lock_waits)),
    "a wait is given up again": (partial(give_up_waiting, times=2), (lock_files, lock_waits)),
    "a thread waits": (wait, LOCKING),
    "a thread waits for nobody": (wait_for_nobody, LOCKING),
    "a thread has nothing to wait for": (do_not_begin_to_wait, LOCKING),
    "a turn is taken": (take_a_turn, (turns,)),
    "a turn is looked at": (look_at_a_turn, (turns, lock_descriptors)),
    "the database is extended": (extend, (extending, lock_files)),
    "the database is extended to the end": (die_extending, (extending, lock_files)),
    "a session is looked at": (look_at_a_dead_session, (sessions,)),
    "a store is held alone": (hold_alone, (handles,)),
    "a store is held alone to the end": (die_alone, (handles,)),
}


@pytest.mark.parametrize("name", WORK)
def test_a_child_forked_at_any_bytecode_keeps_no_lock(
    name: str, tmp_path: Path, forker: ThreadPoolExecutor
) -> None:
    work, modules = WORK[name]
    Gate.create(str(tmp_path))
    for number in count(1):
        children: list[int] = []

        def fork(children: list[int] = children) -> None:
            children.append(forker.submit(fork_one_that_sleeps).result(10))

        at = At(number, fork)
        try:
            with stepping(at, *modules):
                work(tmp_path)
            assert not lock_descriptors._known
            locked = [path.name for path in (tmp_path, *tmp_path.rglob("*")) if not is_free(path)]
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        assert not locked, f"a child has kept a lock: forked at bytecode {number}"
        if not at.is_done:
            assert number > 20
            return


# --- while a fork is under way -------------------------------------------------------------------


@pytest.fixture
def fork_that_does_not_end() -> Iterator[None]:
    lock_descriptors._under_way.append(None)
    yield
    lock_descriptors._under_way.clear()


@pytest.mark.usefixtures("fork_that_does_not_end")
def test_nothing_is_locked_that_a_fork_under_way_may_be_copying(tmp_path: Path) -> None:
    Gate.create(str(tmp_path))
    lock = LockFile(str(tmp_path / "gate"))
    assert not lock.try_acquire()
    began = time.monotonic()
    with pytest.raises(StoreBusyError) as raised:
        lock.acquire(began + 0.05, 0.05)
    assert time.monotonic() >= began + 0.05
    assert raised.value.timeout_s == 0.05
    assert not lock_descriptors._known
    Timer(0.02, lock_descriptors._under_way.clear).start()
    lock.acquire(time.monotonic() + 10, 10)
    assert not is_free(tmp_path / "gate")
    lock.close()


@pytest.mark.usefixtures("fork_that_does_not_end")
def test_a_fork_that_does_not_end_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_descriptors, "_FORK_WAIT_S", 0.01)
    with pytest.raises(UnavailableError, match="forking"):
        lock_descriptors.open_to_lock(str(tmp_path), os.O_RDONLY)
    assert not lock_descriptors._known


# --- whole stores --------------------------------------------------------------------------------


def test_what_a_dead_parent_was_in_the_middle_of_is_open_to_all_beside_its_child(
    location: Path, start: Start
) -> None:
    """Threads retry, extend the database and wait; then the process forks and is killed."""
    LocalCasStore(location).close()
    for _ in range(4):
        parent = start(
            """
            store = LocalCasStore(location)
            def update():
                while True:
                    store.update_file("n", lambda data: b"%d" % (int(data or b"0") + 1))
            def write():
                while True:
                    store.write_files([(f"b/{number}", os.urandom(3000)) for number in range(60)])
            for work in (update, update, update, write):
                threading.Thread(target=work, daemon=True).start()
            time.sleep(0.1)
            if os.fork() == 0:
                say(os.getpid())
                hear()
            kill_me()
            """,
            location,
        )
        child = int(parent.hear())
        parent.wait()
        with LocalCasStore(location, lock_timeout_s=2) as store:
            store.update_file("n", lambda data: (data or b"") + b"0", retry=Retry(deadline_s=2))
            store.write_files([(f"b/{number}", b"%d" % number) for number in range(60)])
        os.kill(child, signal.SIGKILL)


def test_a_backup_is_not_open_in_a_worker_that_was_forked_while_it_was_made(
    location: Path, start: Start
) -> None:
    parent = start(
        """
        store = LocalCasStore(location)
        store.write_files([(f"{number}", b"%d" % number * 9000) for number in range(20)])
        pids = []
        def fork(*_):
            if not pids:
                pids.append(os.fork())
                if pids[0] == 0:
                    say(os.getpid())
                    hear()
        store.backup(location + ".backup", progress=fork)
        store.backup(location + ".backup")
        LocalCasStore(location + ".backup", create=False, read_only=True).close()
        say("done")
        """,
        location,
    )
    said = [parent.hear(), parent.hear()]
    assert "done" in said
    os.kill(int(min(said)), signal.SIGKILL)
