"""Conditional operations of eight processes, killed again and again, are linearizable."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import seeded_races
from histories import run

pytestmark = pytest.mark.proof


def test_a_hundred_thousand_operations_can_have_happened_one_after_the_other() -> None:
    counts = run(seed=1, operations=100_000)
    print(dict(counts))
    assert counts["operations"] >= 100_000
    assert counts["changes"] > 10_000
    assert counts["unfinished"] > 10


@pytest.mark.parametrize(
    "bug", [seeded_races.check_the_condition_outside_of_the_transaction, seeded_races.answer_from_memory]
)
def test_a_store_with_a_seeded_bug_is_caught(bug: Callable[[], None]) -> None:
    with pytest.raises(AssertionError, match="no order fits"):
        run(seed=1, operations=10_000, bug=bug)
