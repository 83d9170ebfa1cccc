"""A fork that could not be prepared for: its child opens no store beside connections of its parent."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore
from children import Start

UNPREPARED = {
    "it bypasses Python": """
        import ctypes
        fork = ctypes.PyDLL(None).fork
    """,
    "a read takes too long": """
        from agent_world_distfs.catalog import sqlite
        sqlite._FORK_WAIT_S = 0.02
        inside, go_on = threading.Event(), threading.Event()

        def query(tx):
            tx.last_commit()
            inside.set()
            go_on.wait()

        threading.Thread(target=store._catalog.read, args=(query,), daemon=True).start()
        inside.wait()
        fork = os.fork
    """,
}
SAME_PID = """
        own_pid = os.getpid()
        os.getpid = lambda: own_pid  # as in a pid namespace of its own
"""
FORK_AND_OPEN = """
        pid = fork()
        if pid == 0:
            for place in (location, location + "/../other"):
                try:
                    LocalCasStore(place)
                except ForkedStoreError as error:
                    say(error)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        store.write_file("b", b"2")
        with LocalCasStore(location) as second:
            say(len(second.list_files()))
"""
OPENED = """
        store = LocalCasStore(location)
        store.write_file("a", b"1")
"""


@pytest.mark.parametrize(
    "program",
    [
        OPENED + UNPREPARED["it bypasses Python"],
        OPENED + UNPREPARED["a read takes too long"],
        OPENED + SAME_PID + UNPREPARED["a read takes too long"],
    ],
    ids=[*UNPREPARED, "the child has the pid of its parent"],
)
def test_no_store_is_opened_beside_connections_of_the_parent(
    location: Path, start: Start, program: str
) -> None:
    parent = start(program + FORK_AND_OPEN, location)
    for _ in range(2):
        assert parent.hear().endswith("start a new process to use it")
    assert parent.hear() == "2"


def test_a_child_opens_stores_once_it_has_let_go_what_it_inherited(location: Path, start: Start) -> None:
    parent = start(
        OPENED
        + UNPREPARED["it bypasses Python"]
        + """
        pid = fork()
        if pid == 0:
            del store
            with LocalCasStore(location) as anew:
                anew.write_file("child", b"2")
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        say(len(store.list_files()))
        """,
        location,
    )
    assert parent.hear() == "2"
    parent.finish()
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).is_sound()
