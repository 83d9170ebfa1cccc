"""The figures on record: how much of each proof there is to be, and how a part of it is done.

A part takes about a minute, is given by a number, its seed, and can be repeated by it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Counts = dict[str, int]


@dataclass(frozen=True)
class Figure:
    """``goals``: what is counted, and how much of it is wanted.

    Seeds begin after ``before``: those up to it are for CI. ``most``: the last one that there is.
    """

    promise: str
    goals: Mapping[str, int]
    part: Callable[[int], Mapping[str, int]]
    before: int = 100
    most: int = sys.maxsize


def _kills(seed: int) -> Mapping[str, int]:
    from random_kills import run

    return run(seed, 1_200)


def _states(seed: int) -> Mapping[str, int]:
    """A sequence for each state at most, so that no two parts draw the same sequences."""
    from replay.sequences import run

    counts = run(seed * 10_000, 1_500)
    assert not counts.bad, "\n".join(counts.bad)
    return {"states": counts.states}


def _cuts(kind: str) -> Callable[[int], Mapping[str, int]]:
    def part(seed: int) -> Mapping[str, int]:
        os.environ["POWER_SEED"] = str(seed)
        from power import loop_disk
        from test_power_cuts import cut_often

        with tempfile.TemporaryDirectory() as place, loop_disk(kind, Path(place)) as disk:
            acknowledged = cut_often(disk, 100)
        return {"cuts": 100, "acknowledged": acknowledged}

    return part


def _operations(seed: int) -> Mapping[str, int]:
    from histories import run

    return run(seed, 50_000)


def _increments(_: int) -> Mapping[str, int]:
    from increments import run

    return run(16, 10_000)


def _faults(seed: int) -> Mapping[str, int]:
    """Every fault at every system call of the operation of this number, also where calls are alike."""
    os.environ["ALL_POINTS"] = "1"
    import test_faults
    import test_recovery_faults
    from operations import OPERATIONS, RECOVERIES

    name = [*OPERATIONS, *RECOVERIES][seed - 1]
    points = (test_recovery_faults if name in RECOVERIES else test_faults).run(name)
    return {"operations": 1, "points": points}


def _schedules(seed: int) -> Mapping[str, int]:
    """All schedules that can matter of the scenario of this number."""
    from crowd import place_for
    from schedule_scenarios import TWO, scenario
    from schedules import explore

    with place_for("schedules", in_memory=True) as place:
        explored = explore(scenario(list(TWO)[seed - 1], place), place, 20_000)
    return {"scenarios to their end": int(explored.is_complete), "schedules": explored.schedules}


def _samples(seed: int) -> Mapping[str, int]:
    from crowd import place_for
    from schedule_scenarios import LONG, THREE, scenario
    from schedules import sample

    with place_for("schedules", in_memory=True) as place:
        drawn = [sample(scenario(name, place), place, 25, seed).schedules for name in [*THREE, *LONG]]
    return {"schedules": sum(drawn)}


def _soak(seed: int) -> Mapping[str, int]:
    from soak import run

    return {"minutes": 1, "writes": run(seed, 60)["writes"]}


def _histories_of_the_model(seed: int) -> Mapping[str, int]:
    from test_model import run

    run(seed, 100, 100)
    return {"histories": 100}


def _accidents(seed: int) -> Mapping[str, int]:
    from test_damage import run

    return {"accidents": sum(run(seed, 1_000).values())}


def _inputs(seed: int) -> Mapping[str, int]:
    from test_manifest_fuzz import run

    return {"inputs": sum(run(seed, 500_000).values())}


FIGURES: dict[str, Figure] = {
    "kills": Figure("what was acknowledged survives kill -9", {"kills": 100_000}, _kills),
    "power loss": Figure("and a power cut, on any file system", {"states": 50_000}, _states),
    "ext4": Figure("and one of a real ext4", {"cuts": 5_000}, _cuts("ext4")),
    "xfs": Figure("and one of a real XFS", {"cuts": 5_000}, _cuts("xfs")),
    "linearizable": Figure("conditional operations are linearizable", {"operations": 5_000_000}, _operations),
    "increments": Figure(
        "no update is lost: 16 processes, 10,000 increments each",
        {"increments": 160_000},
        _increments,
        before=0,
        most=1,
    ),
    "faults": Figure(
        "every system call of every operation may be the last, or fail",
        {"operations": 56},
        _faults,
        before=0,
        most=56,
    ),
    "schedules": Figure(
        "no order of two processes breaks a promise",
        {"scenarios to their end": 48},
        _schedules,
        before=0,
        most=48,
    ),
    "samples": Figure("nor one of three, or of many steps, of those drawn", {"schedules": 10_000}, _samples),
    "soak": Figure("a collection takes nothing that lives", {"minutes": 60, "writes": 5_000_000}, _soak),
    "model": Figure(
        "a store is what its model is: 100 steps each", {"histories": 20_000}, _histories_of_the_model
    ),
    "damage": Figure("damage that changes an answer is seen", {"accidents": 50_000}, _accidents),
    "decoder": Figure("reader and oracle agree on every manifest", {"inputs": 60_000_000}, _inputs),
}
