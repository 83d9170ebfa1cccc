"""A fork while a store is being opened or made: the child inherits no connection, and no mutex of SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore
from children import Start

OPENING = """
    from agent_world_distfs.catalog import {module}
    {before}
    inside, go_on, done = threading.Event(), threading.Event(), []
    original = {module}.{step}

    def step(*arguments):
        original(*arguments)
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            go_on.wait()
            done.append(True)

    {module}.{step} = step
    opened = []
    thread = threading.Thread(target=lambda: opened.append(LocalCasStore(location)))
    thread.start()
    inside.wait()
    threading.Timer(0.1, go_on.set).start()
    pid = os.fork()
    if pid == 0:
        say("done" if done else "forked in the middle")
        with LocalCasStore(location) as store:
            store.write_file("child", b"c")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    thread.join()
    opened[0].write_file("parent", b"p")
    opened[0].close()
    say(location)
"""


@pytest.mark.parametrize(
    ("module", "step", "before"),
    [
        ("read_side", "check_schema", ""),
        ("schema", "empty_wal", "location += '/new'"),
    ],
    ids=["opening", "making"],
)
def test_a_fork_waits_for_a_thread_that_makes_a_connection(
    location: Path, start: Start, module: str, step: str, before: str
) -> None:
    parent = start(OPENING.format(module=module, step=step, before=before), location)
    assert parent.hear() == "done"
    with LocalCasStore(parent.hear()) as store:
        assert [file.path for file in store.list_files()] == ["child", "parent"]
        assert store.audit_file_index(verify=True).is_sound()


def test_a_signal_handler_that_forks_in_the_middle_of_an_opening_waits_for_nobody(
    location: Path, start: Start
) -> None:
    # Nor does the fork let go what the opening holds: until its end, other threads still do not fork.
    parent = start(
        """
        from agent_world_distfs.catalog import read_side
        from agent_world_distfs.process_forks import no_fork_meanwhile
        original, pids, free = read_side.check_schema, [], []

        def try_lock():
            if no_fork_meanwhile().acquire(blocking=False):
                no_fork_meanwhile().release()
                free.append(True)

        def look():
            thread = threading.Thread(target=try_lock)
            thread.start()
            thread.join()
            return bool(free)

        def check_schema(*arguments):
            original(*arguments)
            read_side.check_schema = original
            with LocalCasStore(location):
                pids.append(os.fork())
            assert not pids[0] or not look()

        read_side.check_schema = check_schema
        store = LocalCasStore(location)
        assert look()
        if pids[0] == 0:
            os._exit(0)
        assert os.waitpid(pids[0], 0)[1] == 0
        store.write_file("a", b"x")
        say("done")
        """,
        location,
    )
    assert parent.hear() == "done"
    parent.finish()
