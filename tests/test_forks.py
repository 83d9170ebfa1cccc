"""Forks: both sides go on, or the child is told; never is the store harmed, and the dead block nobody."""

from __future__ import annotations

import os
from pathlib import Path

from agent_world_distfs import LocalCasStore
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
