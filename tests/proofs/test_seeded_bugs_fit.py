"""Every bug that harnesses are tested with can still be put in: a name that has moved would make it none."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import seeded_races
from forked import in_child
from replay.bugs import BUGS
from seeded.table import SEEDED

OF_RACES = {
    name: bug
    for name, bug in inspect.getmembers(seeded_races, inspect.isfunction)
    if not name.startswith("_") and bug.__module__ == seeded_races.__name__
}
EVERY: dict[str, Callable[[], None]] = {
    **OF_RACES,
    **BUGS,
    **{name: seeded.bug for name, seeded in SEEDED.items()},
}


@pytest.mark.parametrize("name", EVERY)
def test_a_bug_can_be_put_into_the_store_as_it_is(name: str) -> None:
    in_child(EVERY[name])


def test_there_are_bugs_of_every_harness() -> None:
    assert len(OF_RACES) > 5
    assert len(EVERY) == len(OF_RACES) + len(BUGS) + len(SEEDED)
