"""Accidents to the files of a closed store: each that changes an answer is seen, and no read is wrong.

Seen means: refused at opening, or not sound for a verifying audit. What changes no answer is counted
as harmless. No error but ours comes out, nothing hangs, and a prune takes nothing that was named.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from again import command_of
from damage import Verdict, examine_case, make_original

pytestmark = pytest.mark.proof

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SEEDS, CASES = (1, 2, 3, 4), 1_000


def collect(seed: int, cases: int, first: int = 0) -> tuple[Counter[str], dict[str, Verdict]]:
    """How many cases came to what, and those that tell of a bug, by a sentence."""
    place = Path(tempfile.mkdtemp(prefix="distfs-damage-", dir=MEMORY))
    original = make_original(place / "original")
    counts: Counter[str] = Counter()
    bugs: dict[str, Verdict] = {}
    for number in range(first, first + cases):
        told, verdict = examine_case(original, place, seed, number)
        counts[verdict.kind] += 1
        if verdict.kind in ("fault", "unseen"):
            bugs[f"{told}\n    {command_of(__file__, seed, 1, number)}\n    kept in {place}"] = verdict
    if not bugs:
        shutil.rmtree(place)
    return counts, bugs


def run(seed: int, cases: int, first: int = 0) -> dict[str, int]:
    """So many cases; what they came to. Fails at any that is wrong or not seen."""
    counts, bugs = collect(seed, cases, first)
    assert not bugs, report(bugs)
    return dict(counts)


def report(bugs: dict[str, Verdict]) -> str:
    return "\n".join(f"{told}\n    {verdict}" for told, verdict in list(bugs.items())[:10])


@pytest.fixture(scope="module", params=SEEDS)
def collected(request: pytest.FixtureRequest) -> tuple[Counter[str], dict[str, Verdict]]:
    return collect(request.param, CASES)


def test_damage_that_changes_an_answer_is_seen(
    collected: tuple[Counter[str], dict[str, Verdict]],
) -> None:
    counts, bugs = collected
    others = {
        told: verdict for told, verdict in bugs.items() if verdict.faults or not verdict.is_of_pins_only
    }
    assert not others, report(others)
    assert counts.total() == CASES
    for kind in ("refused", "seen", "harmless"):  # an original that cannot be hurt proves nothing
        assert counts[kind] > CASES // 50, counts


def test_a_pin_that_is_lost_to_damage_is_seen(
    collected: tuple[Counter[str], dict[str, Verdict]],
) -> None:
    _, bugs = collected
    lost = {told: each for told, each in bugs.items() if each.changed and each.is_of_pins_only}
    assert not lost, report(lost)


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])))
