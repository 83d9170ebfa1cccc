"""Forks: both sides go on, or the child is told; never is the store harmed, and the dead block nobody."""

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


def test_a_fork_while_another_thread_has_a_lease_leaves_it_to_its_parent(
    location: Path, start: Start
) -> None:
    parent = start(
        """
        import io
        from agent_world_distfs.engine.leases import Lease
        store = LocalCasStore(location)
        leased, ended = threading.Event(), threading.Event()

        def keep():
            with Lease(store._catalog, store._files) as lease:
                lease.put_stream(io.BytesIO(b"leased, small"))
                lease.put_stream(io.BytesIO(b"leased, large" * 1000))
                leased.set()
                ended.wait()

        thread = threading.Thread(target=keep)
        thread.start()
        leased.wait()
        pid = os.fork()
        if pid == 0:
            say(store.prune_orphan_blobs().pruned_blobs)
            store.close()
            os._exit(0)
        os.waitpid(pid, 0)
        say("live")
        hear()
        ended.set()
        thread.join()
        say("ended")
        hear()
        """,
        location,
    )
    assert [parent.hear(), parent.hear()] == ["0", "live"]
    with LocalCasStore(location) as store:
        assert store.prune_orphan_blobs().pruned_blobs == 0
        assert store.audit_file_index().is_clean()
        parent.tell()
        assert parent.hear() == "ended"
        assert store.prune_orphan_blobs().pruned_blobs == 2


def test_a_lease_of_a_killed_parent_is_not_kept_by_its_child(location: Path, start: Start) -> None:
    parent = start(
        """
        import io
        from agent_world_distfs.engine.leases import Lease
        store = LocalCasStore(location)
        lease = Lease(store._catalog, store._files)
        lease.put_stream(io.BytesIO(b"leased"))
        pid = os.fork()
        say(os.getpid())
        hear()
        """,
        location,
    )
    pids = {int(parent.hear()), int(parent.hear())}
    (child,) = pids - {parent.pid}
    parent.kill()
    with LocalCasStore(location) as store:
        assert os.listdir(location / "tmp") == []
        assert store.prune_orphan_blobs().pruned_blobs == 1
        store.write_file("a", b"x")
    os.kill(child, 9)


def test_a_child_that_leaves_what_its_parent_is_in_leaves_it_whole(location: Path, start: Start) -> None:
    # A reader, or a callback, forks; the child goes out of the running operation by an exception.
    parent = start(
        """
        store = LocalCasStore(location)

        class Forking:
            def __init__(self):
                self.parts = [b"1" * 50_000, b"2" * 50_000, b"3" * 50_000]
            def read(self, size):
                if len(self.parts) == 2:
                    fork()
                return self.parts.pop(0) if self.parts else b""

        class Leaving(Exception):
            pass

        def fork(*_):
            pid = os.fork()
            if pid == 0:
                raise Leaving
            assert os.waitpid(pid, 0)[1] == 0

        try:
            store.write_file_stream("stream", Forking())
            with LocalCasStore(location + "/../source") as source:
                for number in range(5):
                    source.write_file(f"{number}", b"%d" % number * 10_000)
                ref = source.export_file_index_manifest()
                store.pull_manifest(source, ref, progress=fork)
        except Leaving:
            store.close()
            os._exit(0)
        say(len(store.list_files()))
        store.close()
        """,
        location,
    )
    assert parent.hear() == "5"
    parent.finish()
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).is_sound()
        assert store.read_file("4") == b"4" * 10_000
        assert os.listdir(location / "tmp") == []


def test_a_child_that_goes_on_with_its_parents_stream_is_refused(location: Path, start: Start) -> None:
    # Both would write through one descriptor, each over the other's bytes.
    parent = start(
        """
        store = LocalCasStore(location)

        class Forking:
            def __init__(self):
                self.parts = [b"head"] + [bytes([n]) * (1 << 20) for n in range(5)]
                self.pid = -1
            def read(self, size):
                if len(self.parts) == 3:
                    self.pid = os.fork()
                return self.parts.pop(0) if self.parts else b""

        reader = Forking()
        try:
            store.write_file_stream("stream", reader)
        except ForkedStoreError:
            say("refused")
            store.close()
            os._exit(0)
        os.waitpid(reader.pid, 0)
        say(len(store.read_file("stream")))
        """,
        location,
    )
    assert [parent.hear(), parent.hear()] == ["refused", str(4 + (5 << 20))]


def test_open_streams_read_on_on_both_sides(location: Path, start: Start) -> None:
    parent = start(
        """
        store = LocalCasStore(location)
        content = b"".join(n.to_bytes(4, "little") for n in range(1 << 20))
        store.write_file("large", content)
        store.write_file("small", b"small")
        large, small = store.open_file("large"), store.open_file("small")
        assert large.read(1000) == content[:1000]
        pid = os.fork()
        for start in range(1000, 4_000_000, 400):
            large.seek(start)
            assert large.read(400) == content[start : start + 400]
        large.seek(0)
        assert large.read() == content
        assert small.read() == b"small"
        large.close()
        if pid == 0:
            os._exit(0)
        say(os.waitpid(pid, 0)[1])
        """,
        location,
    )
    assert parent.hear() == "0"


def test_a_listing_belongs_to_the_process_that_began_it(location: Path, start: Start) -> None:
    parent = start(
        """
        store = LocalCasStore(location)
        for number in range(3000):
            if number % 500 == 0:
                store.write_file(f"{number:05}", b"x")
        files = store.iter_files()
        first = next(files)
        pid = os.fork()
        if pid == 0:
            try:
                rest = [first, *files]
                say(len(rest))
            except ForkedStoreError:
                say("refused")
            say(len(list(store.iter_files())))
            os._exit(0)
        os.waitpid(pid, 0)
        say(len([first, *files]))
        """,
        location,
    )
    assert parent.hear() in ("6", "refused")
    assert [parent.hear(), parent.hear()] == ["6", "6"]


def test_a_child_that_ends_in_order_harms_nobody(location: Path, start: Start) -> None:
    # Through the ends of its blocks and the interpreter's own, not by os._exit.
    parent = start(
        """
        with LocalCasStore(location) as store:
            incoming = store._files.incoming()
            incoming.write(b"on its way" * 1000)
            pid = os.fork()
            if pid == 0:
                store.write_file("child", b"c" * 20_000)
                sys.exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            with LocalCasStore(location) as other:
                say(len(other._files.in_flight()))
            incoming.discard()
            store.write_file("parent", b"p" * 20_000)
        """,
        location,
    )
    assert parent.hear() == "1"
    parent.finish()
    with LocalCasStore(location) as store:
        assert [file.path for file in store.list_files()] == ["child", "parent"]
        assert os.listdir(location / "tmp") == []


def test_a_child_forked_behind_the_stores_back_takes_nothing_from_its_parent(
    location: Path, start: Start
) -> None:
    parent = start(
        """
        import ctypes, gc
        store = LocalCasStore(location)
        store.write_file("a", b"a" * 20_000)
        incoming = store._files.incoming()
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
            say(len(other._files.in_flight()))
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


@pytest.mark.parametrize("fork", ["os.fork", "ctypes.CDLL(None).fork"])
def test_a_child_that_is_forked_in_the_middle_of_a_write_leaves_it_to_its_parent(
    location: Path, start: Start, fork: str
) -> None:
    # By a signal handler, which then returns into the write on both sides.
    parent = start(
        f"""
        import ctypes
        from agent_world_distfs.operations import files
        pids = []
        signal.signal(signal.SIGUSR1, lambda *_: pids.append({fork}()))

        def now_ms():
            signal.raise_signal(signal.SIGUSR1)
            return 5

        store = LocalCasStore(location)
        store.write_file("first", b"1")
        files.now_ms = now_ms
        try:
            store.write_file("second", b"2")
        except ForkedStoreError:
            say("refused")
            store.close()
            os._exit(0)
        os.waitpid(pids[0], 0)
        files.now_ms = lambda: 6
        store.write_file("third", b"3")
        store.close()
        say("done")
        """,
        location,
    )
    assert [parent.hear(), parent.hear()] == ["refused", "done"]
    with LocalCasStore(location) as store:
        assert [file.path for file in store.list_files()] == ["first", "second", "third"]
        assert store.audit_file_index(verify=True).is_clean()


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
