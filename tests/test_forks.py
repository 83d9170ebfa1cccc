"""Forks: both sides go on, or the child is told; the store is never harmed, and the dead block nobody."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from agent_world_distfs import FileConflictError, ForkedStoreError, LocalCasStore
from behind import tree_of
from calls import LARGE, READS, WRITES, Call, fill
from children import Start


def test_both_sides_of_a_fork_go_on(location: Path, start: Start) -> None:
    child = start(
        """
        store = LocalCasStore(location)
        store.write_file("large", b"l" * 20000)
        pid = os.fork()
        side = "parent" if pid else "child"
        for number in range(50):
            store.write_file(f"{side}/{number}", side.encode() * (1 if number % 5 else 5000))
        assert store.read_file("large") == b"l" * 20000
        if pid:
            _, status = os.waitpid(pid, 0)
            store.close()
            say(status)
        else:
            store.close()
            os._exit(0)
        """,
        location,
    )
    assert child.hear() == "0"
    with LocalCasStore(location) as store:
        assert len(store.list_files()) == 101
        assert store.audit_file_index(verify=True).is_sound()


def test_a_child_waits_for_locks_with_threads_of_its_own(location: Path, start: Start) -> None:
    child = start(
        """
        import threading

        def write_beside_another():
            held = threading.Event()
            with LocalCasStore(location, lock_timeout_s=10) as store, LocalCasStore(location) as other:
                def hold(_):
                    held.set()
                    time.sleep(0.1)
                holding = threading.Thread(target=other._catalog.write, args=(hold,))
                holding.start()
                held.wait()
                store.write_file("a", b"a")
                holding.join()

        write_beside_another()  # leaves a thread behind
        pid = os.fork()
        write_beside_another()
        if pid == 0:
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        say(status)
        """,
        location,
    )
    assert child.hear() == "0"


def test_a_fork_beside_a_thread_with_the_lock_waits_and_its_child_blocks_nobody(
    location: Path, start: Start
) -> None:
    parent = start(
        """
        store = LocalCasStore(location)
        store.write_file("large", b"l" * 20000)   # begins a session, whose lock must not outlive this process
        entered, go_on = threading.Event(), threading.Event()
        def hold(tx):
            entered.set()
            go_on.wait()
            tx.mark_epoch()
        threading.Thread(target=lambda: store._catalog.write(hold)).start()
        entered.wait()
        threading.Timer(0.2, go_on.set).start()
        pid = os.fork()
        if pid == 0:
            say(os.getpid())
            hear()
            os._exit(0)
        time.sleep(60)
        """,
        location,
    )
    child_pid = int(parent.hear())
    parent.kill()
    with LocalCasStore(location, lock_timeout_s=2) as store:
        store.write_file("a", b"a")
        assert list((location / "tmp").iterdir()) == []
        store.prune_orphan_blobs()
    os.kill(child_pid, 9)


def test_a_fork_behind_the_stores_back_is_noticed(location: Path, start: Start) -> None:
    child = start(
        """
        import ctypes
        store = LocalCasStore(location)
        store.write_file("a", b"a")
        pid = ctypes.CDLL(None).fork()
        if pid == 0:
            for call in (lambda: store.read_file("a"), lambda: store.write_file("a", b"b")):
                try:
                    call()
                except ForkedStoreError:
                    say("refused")
            os._exit(0)
        os.waitpid(pid, 0)
        store.write_file("a", b"c")
        say("done")
        """,
        location,
    )
    assert [child.hear() for _ in range(3)] == ["refused", "refused", "done"]


def test_threads_that_fork_at_once_hold_nobody_up(location: Path, start: Start) -> None:
    # Each fork holds off the threads of the store; what one of them holds no other may let go, or forget.
    parent = start(
        """
        store = LocalCasStore(location)
        store.write_file("large", b"l" * 20000)

        def fork(number):
            for round in range(15):
                pid = os.fork()
                if pid == 0:
                    try:
                        store.write_file(f"child/{number}/{round}", b"x")
                        os._exit(0 if store.read_file("large") == b"l" * 20000 else 1)
                    except BaseException as error:
                        say(repr(error))
                        os._exit(2)
                assert os.waitpid(pid, 0)[1] == 0

        def write(number):
            for round in range(100):
                store.write_file(f"thread/{number}/{round}", b"y")
                store.stat_file("large")

        threads = [threading.Thread(target=target, args=(n,)) for target in (fork, write) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.close()
        say("done")
        """,
        location,
    )
    assert parent.hear() == "done"
    parent.finish()
    with LocalCasStore(location) as store:
        assert len(store.list_files(prefix="child/")) == 45
        assert len(store.list_files(prefix="thread/")) == 300
        assert store.audit_file_index(verify=True).is_clean()
        assert os.listdir(location / "tmp") == []


def test_children_of_children_go_on_after_their_parents_died(location: Path, start: Start) -> None:
    parent = start(
        """
        store = LocalCasStore(location)
        for depth in range(5):
            store.write_file(f"{depth}", b"d" * (depth * 10_000))
            if os.fork():
                if depth == 0:
                    say("forked")
                    hear()
                kill_me()
        store.write_file("last", b"grandchild")
        say(len(store.list_files()))
        """,
        location,
    )
    assert sorted([parent.hear(), parent.hear()]) == ["6", "forked"]
    parent.kill()
    with LocalCasStore(location) as store:
        assert [file.path for file in store.list_files()] == ["0", "1", "2", "3", "4", "last"]
        assert store.audit_file_index(verify=True).is_clean()


def test_a_child_forked_behind_the_stores_back_takes_nothing_from_its_parent(
    location: Path, start: Start
) -> None:
    parent = start(
        """
        import ctypes, gc
        store = LocalCasStore(location)
        store.write_file("a", b"a" * 20_000)
        incoming = store._blobs.incoming()
        incoming.write(b"on its way" * 1000)
        pid = ctypes.CDLL(None).fork()
        if pid == 0:
            incoming.discard()
            store.close()
            del store, incoming
            gc.collect()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        with LocalCasStore(location) as other:
            say(len(other._blobs.in_flight()))
            other.prune_orphan_blobs()
        incoming.publish(store.hash_bytes(b"on its way" * 1000))
        incoming.discard()
        store.write_file("b", b"b")
        assert store.read_file("a") == b"a" * 20_000
        store.close()
        """,
        location,
    )
    assert parent.hear() == "1"
    parent.finish()
    assert os.listdir(location / "tmp") == []


@pytest.mark.parametrize("call", {**READS, **WRITES}.values(), ids={**READS, **WRITES}.keys())
def test_a_store_that_was_forked_behind_its_back_refuses_everything(
    location: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    with LocalCasStore(location) as store:
        fill(store)
        before = tree_of(location)
        with monkeypatch.context() as patch:
            pid = os.getpid() + 1
            patch.setattr(os, "getpid", lambda: pid)
            with pytest.raises(ForkedStoreError):
                call(store)
            store.close()
        assert tree_of(location) == before
        assert store.read_file("large") == LARGE


def test_a_pool_of_forked_workers_shares_the_store_of_its_parent(store: LocalCasStore) -> None:
    store.write_file("counter", b"0")
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(4, mp_context=context, initializer=adopt, initargs=(store,)) as pool:
        assert sum(pool.map(count, range(40))) == 40
    assert store.read_file("counter") == b"40"


inherited: list[LocalCasStore] = []


def adopt(store: LocalCasStore) -> None:
    """Runs in each worker, with the very store that it was forked with."""
    inherited.append(store)


def count(_: int) -> int:
    """Adds one to the counter, in a worker."""
    (store,) = inherited
    while True:
        metadata, data = store.read_file_with_metadata("counter")
        try:
            store.write_file_if_match("counter", metadata.content_hash, b"%d" % (int(data) + 1))
        except FileConflictError:
            continue
        return 1


def test_commands_are_run_beside_writers(location: Path, start: Start) -> None:
    parent = start(
        """
        import subprocess
        store = LocalCasStore(location)
        def write():
            for number in range(200):
                store.write_file("a", b"%d" % number * 5000)
        threads = [threading.Thread(target=write) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(40):
            run = {"preexec_fn": lambda: None} if number % 2 else {}
            subprocess.run(["true"], check=True, **run)
        for thread in threads:
            thread.join()
        store.close()
        say("done")
        """,
        location,
    )
    assert parent.hear() == "done"
    parent.finish()


def test_a_store_that_was_closed_is_nothing_to_a_fork(location: Path, start: Start) -> None:
    parent = start(
        """
        for _ in range(20):
            store = LocalCasStore(location)
            store.write_file("a", b"a" * 20_000)
            store.close()
        pid = os.fork()
        if pid == 0:
            with LocalCasStore(location) as fresh:
                fresh.write_file("b", b"b")
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        try:
            store.read_file("a")
        except StoreClosedError:
            say("closed")
        """,
        location,
    )
    assert parent.hear() == "closed"
