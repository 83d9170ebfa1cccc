"""The checker of histories: rejects what cannot have happened, accepts what can."""

from __future__ import annotations

import random

from agent_world_distfs import ABSENT
from agent_world_distfs.testing.linearizability import (
    NEVER,
    Change,
    Observation,
    Operation,
    Violation,
    find_violation,
)


def test_no_operation_and_one_after_the_other_are_accepted() -> None:
    assert find_violation([]) is None
    history: list[Operation] = [
        Observation(0, 1, None),
        Change(2, 3, ABSENT, "a"),
        Observation(4, 5, "a"),
        Change(6, 7, "a", "b"),
        Observation(8, 9, "b"),
        Change(10, 11, "b", None),
        Observation(12, 13, None),
        Change(14, 15, None, "c"),
    ]
    assert find_violation(history) is None


def test_a_lost_update_is_rejected() -> None:
    history = [Change(0, 10, "a", "b"), Change(1, 11, "a", "c")]
    assert find_violation(history, "a") is not None
    assert find_violation(history[:1], "a") is None


def test_two_that_both_made_the_file_are_rejected() -> None:
    assert find_violation([Change(0, 10, ABSENT, "a"), Change(1, 11, ABSENT, "b")]) is not None


def test_a_stale_read_is_rejected_and_an_overlapping_one_is_not() -> None:
    write = Change(0, 10, "a", "b")
    assert find_violation([write, Observation(11, 12, "a")], "a") is not None
    assert find_violation([write, Observation(5, 12, "a")], "a") is None
    assert find_violation([write, Observation(5, 12, "b")], "a") is None


def test_reads_that_go_back_are_rejected() -> None:
    write = Change(0, 100, "a", "b")
    assert find_violation([write, Observation(1, 2, "b"), Observation(3, 4, "a")], "a") is not None
    assert find_violation([write, Observation(1, 2, "a"), Observation(3, 4, "b")], "a") is None


def test_a_write_that_was_never_heard_of_may_have_happened_or_not_but_not_both() -> None:
    lost = Change(0, NEVER, "a", "b")
    assert find_violation([lost, Observation(5, 6, "a")], "a") is None
    assert find_violation([lost, Observation(5, 6, "b")], "a") is None
    assert find_violation([lost, Observation(5, 6, "a"), Observation(7, 8, "b")], "a") is None
    assert find_violation([lost, Observation(5, 6, "b"), Observation(7, 8, "a")], "a") is not None


def test_what_was_never_written_is_never_found() -> None:
    assert find_violation([Observation(0, 1, "x")]) is not None
    assert find_violation([Change(0, NEVER, "a", "b"), Observation(5, 6, "b")], "c") is not None


def test_a_conflict_must_have_found_what_it_says() -> None:
    """It is an observation: that of a writer that was too late."""
    first = Change(0, 10, "a", "b")
    assert find_violation([first, Observation(5, 15, "b")], "a") is None
    assert find_violation([first, Observation(11, 15, "a")], "a") is not None


def test_a_deletion_and_a_write_of_the_same_version_cannot_both_succeed() -> None:
    assert find_violation([Change(0, 10, "a", None), Change(1, 11, "a", "b")], "a") is not None


def test_the_part_that_is_reported_is_short() -> None:
    quiet: list[Operation] = [Observation(n, n + 0.5, "a") for n in range(1000)]
    wrong = [Change(2000, 2010, "a", "b", "one"), Change(2001, 2011, "a", "c", "two")]
    overlapping = [Observation(2000, 2012, "a"), Observation(2000, 2013, "a")]
    violation = find_violation([*quiet, *wrong, *overlapping], "a")
    assert violation == Violation("a", tuple(wrong))
    assert str(violation).splitlines() == [
        "the path held a; then no order fits:",
        "  [0, 10] one: put b for a",
        "  [1, 11] two: put c for a",
    ]


def simulate(chance: random.Random, length: int) -> list[Operation]:
    """A history that has happened: each operation takes effect at one moment between call and return."""
    value: str | None = None
    history: list[Operation] = []
    for number in range(length):
        moment = number * 10
        called, returned = moment - chance.randint(0, 60), moment + chance.randint(1, 60)
        kind = chance.random()
        if kind < 0.5:
            history.append(Observation(called, returned, value))
            continue
        expected = ABSENT if value is None else value
        new = None if value is not None and kind < 0.6 else str(number)
        is_lost = chance.random() < 0.05
        history.append(Change(called, NEVER if is_lost else returned, expected, new))
        value = value if is_lost and chance.random() < 0.5 else new
    return history


def test_whatever_has_happened_is_accepted_and_one_wrong_answer_in_it_is_not() -> None:
    for seed in range(60):
        chance = random.Random(seed)
        history = simulate(chance, 300)
        assert find_violation(history) is None, f"seed {seed}"
        place = chance.randrange(len(history))
        wrong = Observation(history[place].called, history[place].called + 1, f"never written {seed}")
        assert find_violation([*history, wrong]) is not None, f"seed {seed}"


def test_an_answer_from_before_a_write_that_had_returned_is_rejected_wherever_it_is_put() -> None:
    for seed in range(30):
        history = simulate(random.Random(seed), 200)
        done = [step for step in history if isinstance(step, Change) and step.returned != NEVER]
        middle = done[len(done) // 2]
        before = None if middle.expected is ABSENT else str(middle.expected)
        if before is not None:  # never written again, and this long after surely replaced
            stale = Observation(middle.returned + 1, middle.returned + 2, before)
            assert find_violation([*history, stale]) is not None, f"seed {seed}"
