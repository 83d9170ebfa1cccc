"""Increments of many processes all count. ``test_processes.py`` has the same at full scale."""

from __future__ import annotations

import pytest
import seeded_races
from increments import run


def test_every_increment_of_sixteen_processes_counts_once() -> None:
    counts = run(processes=16, increments=10)
    assert counts["increments"] == 160
    assert counts["conflicts"] > 0, "they never met"


def test_a_condition_checked_outside_of_the_transaction_is_caught() -> None:
    with pytest.raises(AssertionError, match="4 x 100 made"):
        run(4, 100, bug=seeded_races.check_the_condition_outside_of_the_transaction)
