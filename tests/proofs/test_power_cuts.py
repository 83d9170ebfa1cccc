"""Real power cuts, one after another on one store: nothing that was acknowledged before a cut is lost.

POWER_CUTS: how many on each file system; POWER_SEED: which steps, which moments.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cut_writers import WRITERS, Board, State, kill, possible, start, wait_until_busy
from power import Disk, loop_disk

from agent_world_distfs import CorruptError, LocalCasStore

pytestmark = pytest.mark.proof

CUTS = int(os.environ.get("POWER_CUTS", "200"))
SEED = os.environ.get("POWER_SEED", "1")
AGAIN = "again: POWER_SEED={} POWER_CUTS={} .venv/bin/pytest -n 0 tests/proofs/test_power_cuts.py -k {}"


@pytest.fixture(params=["ext4", "xfs"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def disk(kind: str, tmp_path: Path) -> Iterator[Disk]:
    with loop_disk(kind, tmp_path) as made:
        yield made


def look(location: Path) -> State:
    """The store opens at once and is sound; what it holds."""
    began = time.monotonic()
    with LocalCasStore(location, create=False, lock_timeout_s=5) as store:
        report = store.audit_file_index(verify=True)
        assert report.is_sound(), report
        state = {file.path: store.read_file(file.path) for file in store.list_files()}
    assert time.monotonic() - began < 30, "something waited"
    return state


def _shown(state: State) -> dict[str, str]:
    return {path: f"{data[:9].decode()} * {len(data)}" for path, data in sorted(state.items())}


def cut_once(disk: Disk, location: Path, before: State, seed: str, bug: str = "") -> tuple[State, int]:
    """One cut; what is there after it, and how many steps were acknowledged before it."""
    board, chance = Board(), random.Random(seed)
    pids = start(location, board, seed, bug)
    try:
        wait_until_busy(board, chance.randrange(60))
        time.sleep(chance.random() * 0.006)  # anywhere in a step, not only after one
        acknowledged = [board.read(writer)[1] for writer in range(WRITERS)]
        disk.cut()
    finally:
        kill(pids)
    begun = [board.read(writer)[0] for writer in range(WRITERS)]
    disk.unmount()
    disk.mount()
    state = look(location)
    for writer in range(WRITERS):
        found = {path: data for path, data in state.items() if path.startswith(f"{writer}/")}
        allowed = possible(before, seed, writer, acknowledged[writer], begun[writer])
        assert found in allowed, (
            f"cut {seed}: writer {writer} had {acknowledged[writer]} steps acknowledged and "
            f"{begun[writer]} begun; "
            f"it has {_shown(found)}, which is none of {[_shown(state) for state in allowed]}"
        )
    return state, sum(acknowledged)


def cut_often(disk: Disk, cuts: int, bug: str = "") -> int:
    """Cut again and again; how many steps were acknowledged altogether."""
    location = disk.place / "store"
    LocalCasStore(location).close()
    state: State = {}
    total = 0
    for number in range(cuts):
        state, acknowledged = cut_once(disk, location, state, f"{SEED}.{number}", bug)
        total += acknowledged
    return total


def test_a_power_cut_loses_nothing_that_was_acknowledged(disk: Disk, kind: str) -> None:
    print(AGAIN.format(SEED, CUTS, kind))
    acknowledged = cut_often(disk, CUTS)
    print(f"{kind}: {CUTS} cuts, {acknowledged} writes acknowledged, none lost")
    assert acknowledged > CUTS


@pytest.mark.parametrize("bug", ["files are not flushed", "the log is never flushed"])
def test_the_cuts_catch(bug: str, disk: Disk) -> None:
    with pytest.raises((AssertionError, CorruptError), match="damaged|missing|acknowledged"):
        cut_often(disk, 40, bug)
