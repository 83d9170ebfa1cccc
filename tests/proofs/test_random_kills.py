"""Processes killed at random moments: what was acknowledged is there, each increment counts once."""

from __future__ import annotations

import pytest
import seeded_races
from kill_model import CounterModel
from random_kills import run

pytestmark = pytest.mark.proof


def test_three_thousand_kills_lose_nothing_that_was_acknowledged() -> None:
    counts = run(seed=1, kills=3_000)
    print(dict(counts))
    assert counts["kills"] >= 3_000
    for work in ("operations", "increments", "prunes", "imports"):
        assert counts[work] > 0, f"nothing was killed in {work}"


def test_a_write_acknowledged_before_it_is_written_is_caught() -> None:
    with pytest.raises(AssertionError, match="what was acknowledged is not there"):
        run(seed=1, kills=300, bug=seeded_races.acknowledge_before_it_is_written)


def test_a_condition_checked_outside_of_the_transaction_is_caught() -> None:
    with pytest.raises(AssertionError, match="acknowledged twice"):
        run(seed=1, kills=300, bug=seeded_races.check_the_condition_outside_of_the_transaction)


def test_a_lost_acknowledgement_may_count_once_and_no_other_increment_may() -> None:
    counter = CounterModel()
    for line in ("try 1", "did 1", "try 2"):
        counter.hear(0, line)
    counter.check(1)
    counter.check(2)
    with pytest.raises(AssertionError, match="nobody made"):
        counter.check(3)
    counter.hear(1, "try 3")
    counter.hear(1, "did 3")
    with pytest.raises(AssertionError, match="were lost"):
        counter.check(2)
