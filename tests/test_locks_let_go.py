"""Locks on directories are let go by an interrupted block, even while its exception is kept, as shells do."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from types import FrameType

import pytest

from agent_world_distfs import creating
from agent_world_distfs.catalog import lock_files
from agent_world_distfs.catalog.extending import Extending
from agent_world_distfs.catalog.lock_files import LockFile
from stepping import At, stepping

BLOCKS: dict[str, Callable[[str], AbstractContextManager[object]]] = {
    "alone": lambda place: Extending(place, 1.0).alone(),
    "if free": lambda place: Extending(place, 1.0).if_free(),
    "creating": lambda place: creating._locked(place, 1.0),
}


WAY_OUT = {LockFile.release.__code__, LockFile.close.__code__}


class Interrupted(BaseException):
    pass


def interrupt() -> None:
    raise Interrupted


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_an_interrupt_at_any_bytecode_of_the_way_out_lets_the_lock_go(
    tmp_path: Path, block: Callable[[str], AbstractContextManager[object]]
) -> None:
    for number in count(1):
        at = At(number, interrupt)
        kept = []

        def step(frame: FrameType, at: At = at) -> None:
            if frame.f_code in WAY_OUT:
                at(frame)

        try:
            with stepping(step, lock_files), block(str(tmp_path)):
                pass
        except Interrupted as interrupted:
            kept.append(interrupted)
        lock = LockFile(str(tmp_path), os.O_RDONLY | os.O_DIRECTORY)
        assert lock.try_acquire(), f"kept by an interrupt at bytecode {number}"
        lock.close()
        if not at.is_done:
            assert number > 10
            return
        assert len(kept) == 1


def test_a_thread_that_was_interrupted_may_extend_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Extending(str(tmp_path), 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(LockFile, "release", lambda _: interrupt())
        with pytest.raises(Interrupted) as kept, place.alone():
            pass
    with place.alone():
        assert kept.value.__traceback__
