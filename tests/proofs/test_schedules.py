"""Every order of the steps of two processes, and a sample of three, beside collections and each other.

Two processes: each scenario is run through all schedules that can matter; where they are more than CI
has time for, through the first ones, and through some drawn by chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import seeded_races
from crowd import place_for
from schedule_newer import NEWER
from schedule_runs import Bug, Scenario
from schedule_scenarios import COLD, LONG, THREE, TWO, scenario
from schedule_snapshots import NAMED
from schedules import explore, sample
from seeded import of_snapshots

pytestmark = pytest.mark.proof

MOST = 80
"""Schedules of one scenario before the rest is drawn by chance."""

DRAWN = 20
SEED = 1


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with place_for("schedules", in_memory=True) as directory:
        yield directory


@pytest.mark.parametrize("name", TWO)
def test_two_processes_in_every_order_that_can_matter(name: str, place: Path) -> None:
    chosen = scenario(name, place)
    share = (
        3 if name in NEWER or name in NAMED else 1
    )  # they meet collections in the steps that plain writes do
    explored = explore(chosen, place, MOST // share)
    if not explored.is_complete:
        explored.schedules += sample(chosen, place, DRAWN // share, SEED).schedules
    print(name, explored)
    assert explored.schedules > 2


@pytest.mark.parametrize("name", LONG)
def test_two_processes_of_many_steps_in_some_orders(name: str, place: Path) -> None:
    """First those in which the last steps that meet come in the other order, then some drawn by chance."""
    chosen = scenario(name, place)
    assert explore(chosen, place, DRAWN).schedules == DRAWN
    assert sample(chosen, place, DRAWN // 4, SEED).schedules == DRAWN // 4


@pytest.mark.parametrize("name", THREE)
def test_three_processes_in_orders_drawn_by_chance(name: str, place: Path) -> None:
    assert sample(scenario(name, place), place, 200 // len(THREE), SEED).schedules == 20


@pytest.mark.parametrize("name", COLD)
def test_sessions_begin_beside_those_who_tidy(name: str, place: Path) -> None:
    assert sample(scenario(name, place), place, 40, SEED).schedules == 40


@pytest.mark.parametrize("name", ["copy, overwrite and prune", "make, make"])
def test_every_schedule_drawn_by_chance_is_one_of_those_explored(name: str, place: Path) -> None:
    """Up to the order of steps that have nothing to do with each other. So none that matters is left out."""
    chosen = scenario(name, place)
    explored = explore(chosen, place, 1_000)
    assert explored.is_complete
    assert len(explored.shapes) == explored.schedules, "some were run twice"
    assert sample(chosen, place, 30, SEED).shapes <= explored.shapes


DANGLES = r"missing_file_blob_hashes=\('|index_damage=\(['\"]|AssertionError: CatalogError"

LOST_FROM_A_SNAPSHOT = r"missing_snapshot_blob_hashes=\('"

CAUGHT = [
    (seeded_races.lock_nothing, "put a large orphan, prune", DANGLES),
    (seeded_races.check_the_condition_outside_of_the_transaction, "swap, swap", "'won', 'won'"),
    (seeded_races.take_without_checking_again, "link, prune", DANGLES),
    (seeded_races.name_without_telling_a_collection, "link, prune", DANGLES),
    (seeded_races.name_without_looking_again, "put a large orphan, prune", DANGLES),
    (seeded_races.replace_what_may_be_gone, "put a large orphan, prune", "AssertionError: StorageError"),
    (seeded_races.look_once, "read, overwrite and prune", "AssertionError: BlobMissingError"),
    (seeded_races.check_no_input, "write skew", "'leaves', 'leaves'"),
    (seeded_races.check_paths_and_no_listings, "write skew", "'leaves', 'leaves'"),
    (
        seeded_races.check_inputs_at_the_last_read_only,
        "transaction again, transaction again",
        "AssertionError",
    ),
    (seeded_races.name_without_looking_again, "update to an orphan, prune", DANGLES),
    (of_snapshots.trust_the_look, "snapshot, delete and prune", LOST_FROM_A_SNAPSHOT),
    (of_snapshots.tell_no_collection, "snapshot, delete and prune", LOST_FROM_A_SNAPSHOT),
    (of_snapshots.collect_without_snapshots, "snapshot, overwrite and prune", LOST_FROM_A_SNAPSHOT),
]


@pytest.mark.parametrize(("bug", "name", "symptom"), CAUGHT, ids=[bug.__name__ for bug, *_ in CAUGHT])
def test_a_store_with_a_seeded_bug_is_caught(bug: Bug, name: str, symptom: str, place: Path) -> None:
    """By what it does: a bug that could not even be applied is no bug caught."""
    broken: Scenario = replace(scenario(name, place), bug=bug)
    with pytest.raises(AssertionError, match=f"{name}: (?s:.)*(?:{symptom})(?s:.)*again: python"):
        explore(broken, place, 500)


def test_a_copy_that_keeps_nothing_from_collections_is_caught(place: Path) -> None:
    name = "backup, overwrite and prune"
    broken = replace(scenario(name, place), bug=seeded_races.keep_nothing_for_a_copy)
    with pytest.raises(AssertionError, match=f"{name}: (?s:.)*'lost'"):
        explore(broken, place, 500)
