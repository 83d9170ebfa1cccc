"""Sessions: an interrupted fork holds nobody off; who cannot be looked at counts as alive."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from itertools import count
from pathlib import Path

import pytest

from agent_world_distfs.blobs import sessions as module
from agent_world_distfs.blobs.sessions import Sessions
from stepping import At, stepping

PATIENCE_S = 10.0


class Interrupted(BaseException):
    pass


def interrupt() -> None:
    raise Interrupted


def test_an_interrupt_at_any_bytecode_around_a_fork_holds_off_no_thread(tmp_path: Path) -> None:
    sessions = Sessions(str(tmp_path), read_only=False)
    for number in count(1):
        at = At(number, interrupt)
        with contextlib.suppress(Interrupted), stepping(at, module):
            sessions.before_fork()
        sessions.after_fork_in_parent()
        thread = threading.Thread(target=sessions.own, daemon=True)
        thread.start()
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), f"kept out: the fork was interrupted at bytecode {number}"
        sessions._give_up()
        if not at.is_done:
            assert number > 5
            return


def test_a_fork_inside_of_the_beginning_of_a_session_leaves_it_its_lock(tmp_path: Path) -> None:
    # As a signal handler forks. Interrupted, the second may be called again.
    sessions = Sessions(str(tmp_path), read_only=False)
    with sessions._beginning:
        sessions.before_fork()
        sessions.after_fork_in_parent()
        sessions.after_fork_in_parent()


def test_a_session_that_cannot_be_looked_at_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living, other = (Sessions(str(tmp_path), read_only=False) for _ in range(2))
    name = living.own()

    def fail(path: str, **_: object) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", fail)
        patch.setattr(os, "lstat", fail)
        for look in (other.tidy, lambda: other.is_alive(name)):
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                look()
    assert other.is_alive(name)
    assert sorted(os.listdir(tmp_path)) == [name, f"{name}.lock"]
    living.end()
