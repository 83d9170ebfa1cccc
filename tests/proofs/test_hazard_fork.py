"""The log of a child: a parent that closes after a fork must not delete what its child still writes to."""

from __future__ import annotations

from pathlib import Path

from agent_world_distfs import LocalCasStore
from children import Start

FORK_CLOSE_WRITE = """
    store = LocalCasStore(location)
    store.write_file("parent", b"1")
    store.list_files()
    heard, told = os.pipe()
    child = os.fork()
    if child:
        store.close()
        os.write(told, b"x")
        os.waitpid(child, 0)
    else:
        os.read(heard, 1)
        try:
            store.list_files()
            store.write_file("child", b"2")
            say("written")
        except WorldError as error:
            say(type(error).__name__)
        kill_me()
"""


def test_a_child_writes_to_a_log_that_its_parent_cannot_delete(location: Path, start: Start) -> None:
    """Locks are not inherited: a connection that is, takes itself for locked, and nobody else does."""
    child = start(FORK_CLOSE_WRITE, location)
    assert child.hear() == "written"
    child.finish()
    with LocalCasStore(location) as store:
        assert [file.path for file in store.list_files()] == ["child", "parent"]
        assert store.audit_file_index(verify=True).is_clean()
