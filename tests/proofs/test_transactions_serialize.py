"""Transactions, plain writes mixed in, have happened one after another: no cycle is in any history."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import seeded_races
from serial import Done, find_cycle
from serial_work import run


def test_write_skew_is_a_cycle() -> None:
    first = Done("first", 0, 10, {"a": None, "b": None}, {"a": "first"})
    second = Done("second", 0, 10, {"a": None, "b": None}, {"b": "second"})
    cycle = find_cycle([first, second], {"a": ["first"], "b": ["second"]})
    assert {(begin, end) for begin, end, _ in cycle} == {("first", "second"), ("second", "first")}


def test_a_lost_update_and_a_half_seen_write_are_cycles_and_order_is_none() -> None:
    old, new = (
        Done("old", 0, 1, {}, {"a": "old", "b": "old"}),
        Done("new", 2, 9, {}, {"a": "new", "b": "new"}),
    )
    versions = {"a": ["old", "new"], "b": ["old", "new"]}
    assert find_cycle([old, new, Done("half", 2, 9, {"a": "new", "b": "old"})], versions)
    assert not find_cycle([old, new, Done("whole", 2, 9, {"a": "old", "b": "old"})], versions)
    assert find_cycle([old, new, Done("stale", 10, 11, {"a": "old"})], versions)  # others saw the new one


def test_a_short_history_of_four_processes_can_have_happened_in_some_order() -> None:
    counts = run(seed=1, processes=4, rounds=50)
    assert counts["operations"] == 200
    assert counts["lost"] > 0, "they never met"


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_long_history_of_six_processes_can_have_happened_in_some_order(seed: int) -> None:
    counts = run(seed, processes=6, rounds=400)
    print(dict(counts))
    assert counts["operations"] == 2_400
    assert counts["lost"] > 100


@pytest.mark.parametrize(
    "bug",
    [
        seeded_races.check_no_input,
        seeded_races.check_paths_and_no_listings,
        seeded_races.check_inputs_at_the_last_read_only,
    ],
)
def test_a_store_with_a_seeded_bug_is_caught(bug: Callable[[], None]) -> None:
    with pytest.raises(AssertionError, match="no order fits"):
        [
            run(seed, processes=4, rounds=100, bug=bug) for seed in range(60)
        ]  # each meets it about one time in three
