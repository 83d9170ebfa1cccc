"""Transfers keep their sum, whoever dies; and who looks within a transaction never sees another one."""

from __future__ import annotations

import pytest
import seeded_races
from bank import run


def test_a_few_kills_keep_the_sum() -> None:
    counts = run(seed=1, kills=20)
    assert counts["kills"] == 20
    assert counts["transfers"] > 0


@pytest.mark.proof
@pytest.mark.parametrize("seed", [2, 3])
def test_many_kills_keep_the_sum(seed: int) -> None:
    counts = run(seed, kills=500)
    print(dict(counts))
    assert counts["transfers"] > 1_000


@pytest.mark.proof
def test_a_bank_that_does_not_check_what_it_read_is_caught() -> None:
    with pytest.raises(AssertionError, match="the sum is|a transaction saw"):
        run(seed=1, kills=100, bug=seeded_races.check_no_input)
