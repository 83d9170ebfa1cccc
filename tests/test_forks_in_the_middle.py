"""A fork while its parent is in the middle of something: a lease, a write, a stream or a listing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore
from children import Start


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
            with Lease(store._catalog, store._blobs) as lease:
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
        lease = Lease(store._catalog, store._blobs)
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


def test_a_child_that_ends_in_a_checkout_or_a_fork_of_the_store_leaves_it_to_its_parent(
    location: Path, start: Start, place: Path
) -> None:
    parent = start(
        """
        def fork(done, total):
            if done == 2:
                pid = os.fork()
                if pid == 0:
                    sys.exit(0)
                assert os.waitpid(pid, 0)[1] == 0

        with LocalCasStore(location) as store:
            store.write_files((f"{number}", b"%d" % number * 5_000) for number in range(4))
            store.snapshot("s")
            store.checkout(sys.argv[2] + "/out", progress=fork)
            store.fork(sys.argv[2] + "/fork", "s", progress=fork)
        """,
        location,
        place,
    )
    parent.finish()
    assert sorted(os.listdir(place)) == ["fork", "out"]
    assert sorted(os.listdir(place / "out")) == ["0", "1", "2", "3"]
    with LocalCasStore(place / "fork") as store:
        assert store.audit_file_index(verify=True).is_sound()
        assert store.read_file("3") == b"3" * 5_000


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


@pytest.mark.parametrize("end", ["sys.exit(0)", "files.close(); os._exit(0)"])
def test_a_child_that_ends_in_the_middle_of_a_long_listing_leaves_it_to_its_parent(
    location: Path, start: Start, end: str
) -> None:
    # Its copy of the file that the listing is in reads ahead, and goes back in the one that they share.
    parent = start(
        f"""
        from agent_world_distfs.engine import page_spool
        page_spool.PAGE, page_spool.SPOOL_BYTES = 100, 1000
        store = LocalCasStore(location)
        store.write_files((f"{{number:05}}", b"x") for number in range(2000))
        files = store.iter_files()
        paths = [next(files).path for _ in range(150)]
        pid = os.fork()
        if pid == 0:
            {end}
        assert os.waitpid(pid, 0)[1] == 0
        paths += [file.path for file in files]
        say(paths == [f"{{number:05}}" for number in range(2000)])
        """,
        location,
    )
    assert parent.hear() == "True"


def test_a_child_that_ends_in_order_harms_nobody(location: Path, start: Start) -> None:
    # Through the ends of its blocks and the interpreter's own, not by os._exit.
    parent = start(
        """
        with LocalCasStore(location) as store:
            incoming = store._blobs.incoming()
            incoming.write(b"on its way" * 1000)
            pid = os.fork()
            if pid == 0:
                store.write_file("child", b"c" * 20_000)
                sys.exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            with LocalCasStore(location) as other:
                say(len(other._blobs.in_flight()))
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
