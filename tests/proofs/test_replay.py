"""Power loss by replay: no state that a power cut may leave loses what was acknowledged, or is unsound.

REPLAY_STATES: how many states of each workload (and three times as many of random sequences);
REPLAY_SEED: which samples, and which sequences.
"""

from __future__ import annotations

import os

import pytest
from replay.bugs import BUGS
from replay.replaying import Counts, Workload, replay
from replay.sequences import run
from replay.workloads import WORKLOADS

from children import require_strace

pytestmark = pytest.mark.proof

STATES = int(os.environ.get("REPLAY_STATES", "70"))
SEED = int(os.environ.get("REPLAY_SEED", "1"))
AGAIN = "again: REPLAY_SEED={} REPLAY_STATES={} .venv/bin/pytest -n 0 tests/proofs/test_replay.py -k '{}'"

CATCHES = {
    "files are not flushed": "write new",
    "directories are not flushed": "write new",
    "the log is never flushed": "write new",
    "a collection does not flush": "relaxed prune",
    "the file system is not flushed": "write many",
    "the names of many are not flushed": "write many",
    "a fork is not flushed": "fork",
    "an exchange is not flushed": "rebuild a damaged catalog",
    "a drop is not flushed": "drop a snapshot",
    "what is there is trusted": "the unflushed link of another",
}
"""Which workload has to catch which bug. The last one takes an I/O error: see test_hazards_power.py."""

NAMED = {workload.name: workload for workload in WORKLOADS}


@pytest.fixture(autouse=True)
def tracer() -> None:
    require_strace()


def require_good(counts: Counts, name: str) -> None:
    print(f"{name}: seed {SEED}, {counts.moments} moments, {counts.states} states, {len(counts.bad)} bad")
    assert not counts.bad, "\n".join([*counts.bad, AGAIN.format(SEED, STATES, name)])


def test_the_workloads_are_enough_for_the_figure_on_record() -> None:
    assert len(WORKLOADS) >= 15
    assert len(WORKLOADS) * STATES >= 2_000


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_power_cut_loses_nothing_that_was_acknowledged(workload: Workload) -> None:
    counts = replay(workload, SEED, STATES * workload.weight)
    require_good(counts, workload.name)
    assert counts.states >= STATES


def test_nor_in_a_random_sequence_of_operations() -> None:
    require_good(run(SEED, 3 * STATES, print), "random_sequence")


@pytest.mark.parametrize("bug", CATCHES)
def test_the_replay_catches(bug: str) -> None:
    workload = NAMED[CATCHES[bug]]
    assert not replay(workload, SEED, 200).bad
    assert replay(workload, SEED, 400, bug, stop_after=1).bad


def test_every_bug_is_claimed_by_a_test() -> None:
    assert set(BUGS) - set(CATCHES) == {"errors of the log are forgotten"}
