"""Who waits in a group for a commit may be interrupted, closed, forked or out of time: nobody is harmed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import LocalCasStore, StoreBusyError, StoreClosedError
from agent_world_distfs.catalog.commit_queue import Group, Member
from agent_world_distfs.local import catalog_of
from children import Start
from crowds import Crowd, wait_until


def test_who_waits_too_long_is_told_and_nothing_is_done_for_him(location: Path) -> None:
    with LocalCasStore(location, lock_timeout_s=0.3) as store:
        crowd = Crowd(store)
        began = time.monotonic()
        waiting = [crowd.add(partial(store.write_file, f"{n}", b"x")) for n in range(10)]
        errors = [future.exception() for future in waiting]
        assert 0.3 <= time.monotonic() - began < 10
        assert {type(error) for error in errors} == {StoreBusyError}
        crowd.end()
        assert store.list_files() == []
        store.write_file("after", b"x")
        assert crowd.waiting() == 0


@contextlib.contextmanager
def interrupted(is_time: Callable[[], bool], then: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Expects KeyboardInterrupt, which comes to the main thread when it is time."""
    me = threading.get_ident()

    def interrupt() -> None:
        wait_until(is_time)
        signal.pthread_kill(me, signal.SIGINT)
        time.sleep(0.05)
        then()

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        thread.join()


@pytest.mark.parametrize("before", [0, 3])
def test_who_is_interrupted_before_its_turn_leaves_without_a_trace(
    store: LocalCasStore, crowd: Crowd, before: int
) -> None:
    writing = [crowd.add(partial(store.write_file, f"{n}", b"x")) for n in range(before)]
    with interrupted(lambda: crowd.waiting() > before):
        store.write_file("main", b"x" * 20_000)
    writing.append(crowd.add(lambda: store.write_file("behind", b"x")))
    crowd.go_on()
    for future in writing:
        future.result()
    assert store.stat_file("main") is None
    store.write_file("main", b"y")
    assert len(store.list_files()) == before + 3


def test_who_is_interrupted_in_its_turn_stays_until_it_is_over(store: LocalCasStore, crowd: Crowd) -> None:
    has_begun, may_end, is_over = threading.Event(), threading.Event(), threading.Event()

    def change(tx: Any) -> None:
        has_begun.set()
        may_end.wait()
        is_over.set()
        tx.mark_epoch()

    leading = crowd.add(lambda: store.write_file("leader", b"x"))

    def let_go() -> None:
        wait_until(lambda: crowd.waiting() == 2)
        crowd.go_on()

    threading.Thread(target=let_go).start()
    with interrupted(has_begun.is_set, may_end.set):
        catalog_of(store).write(change)
    assert is_over.is_set()
    leading.result()
    store.write_file("main", b"x")
    assert store.audit_file_index(verify=True).is_sound()


def test_a_signal_handler_that_writes_does_not_wait_for_the_write_that_it_has_interrupted(
    store: LocalCasStore,
) -> None:
    """In the moment in which its thread has begun to lead, and is not at the gate yet."""
    queue, member = catalog_of(store)._queue, Member(lambda _: None)
    assert queue.join(member, Group(), 0)
    with pytest.raises(StoreBusyError):
        store.write_file("handler", b"x")
    queue.leave(member)
    store.write_file("after", b"x")
    assert [file.path for file in store.list_files()] == ["after"]


def test_a_store_that_is_closed_tells_all_who_wait(location: Path) -> None:
    for _ in range(20):
        store = LocalCasStore(location)
        told: list[type[BaseException]] = []

        def write(name: int, store: LocalCasStore = store, told: list[type[BaseException]] = told) -> None:
            try:
                while True:
                    store.write_file(f"{name}", os.urandom(10))
            except StoreClosedError as error:
                told.append(type(error))

        with ThreadPoolExecutor(8) as pool:
            for name in range(8):
                pool.submit(write, name)
            time.sleep(0.02)
            store.close()
        assert told == [StoreClosedError] * 8
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).is_sound()


def test_forks_beside_many_writing_threads_harm_neither_side(location: Path, start: Start) -> None:
    parent = start(
        """
        store = LocalCasStore(location)
        is_over = threading.Event()
        def write(name):
            number = 0
            while not is_over.is_set():
                store.write_file(f"{name}/{number % 10}", b"%d" % number)
                number += 1
        threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for number in range(15):
            time.sleep(0.01)
            pid = os.fork()
            if pid == 0:
                paths = [f"child/{number}/{n}" for n in range(4)]
                others = [threading.Thread(target=store.write_file, args=(path, b"c")) for path in paths]
                for thread in others:
                    thread.start()
                for thread in others:
                    thread.join()
                store.close()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        is_over.set()
        for thread in threads:
            thread.join()
        store.close()
        say("done")
        """,
        location,
    )
    assert parent.hear() == "done"
    with LocalCasStore(location) as store:
        assert len(store.list_files(prefix="child/")) == 60
        assert store.audit_file_index(verify=True).is_sound()


def test_several_processes_of_many_threads_share_the_store(location: Path, start: Start) -> None:
    program = """
    store = LocalCasStore(location)
    def work(name):
        for number in range(20):
            while True:
                held, data = store.read_file_with_metadata("counter")
                try:
                    store.write_file_if_match("counter", held.content_hash, b"%d" % (int(data) + 1))
                    break
                except FileConflictError as error:
                    assert error.actual is not None
            store.write_file(f"{sys.argv[2]}/{name}/{number}", b"x")
    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("done")
    """
    with LocalCasStore(location) as store:
        store.write_file("counter", b"0")
        for child in [start(program, location, name) for name in "abc"]:
            assert child.hear() == "done"
        assert store.read_file("counter") == b"240"
        assert len(store.list_files()) == 241
        sequences = [change.seq for change in store.changes(since=0)]
        assert sequences == sorted(set(sequences))
        assert store.audit_file_index(verify=True).is_sound()
