"""Errors of the disk and a power cut after them, replayed: the hazards F3 and F4.

An error is injected into one flush. The model is the harsh one: what that flush should have covered
may never reach the disk, although the system still shows it and reports the next flush as done.
That is only told from a kind disk where something was visible and not flushed yet when the flush
failed: a relaxed neighbour's commit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from replay.replaying import Counts, Run, Workload, fast_place
from replay.steps import Content, Step

from children import require_strace

pytestmark = pytest.mark.proof

SEED = 1
UNKNOWN = "!OutcomeUnknownError"
NOTE, PAGE = Content("note", 30), Content("page", 7_000)


@pytest.fixture(autouse=True)
def tracer() -> None:
    require_strace()


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_place(), prefix="replay-") as directory:
        yield Path(directory)


def write(path: str, actor: str = "full", content: Content = NOTE) -> Step:
    return Step("write", path, content, actor=actor)


def opened(actor: str) -> Step:
    return Step("open", actor=actor)


def broken(place: Path, steps: list[Step], step: int, *, flush: int = 0, bug: str = "") -> Run:
    """The run in which a flush of a step, by default its first, reports EIO; one without it counts them."""
    workload = Workload("an error of the disk", tuple(steps))
    clean, real = place / "clean", place / "real"
    clean.mkdir()
    real.mkdir()
    number = Run.of(workload, clean).data_flush_of(step) + flush
    inject = ("-e", f"inject=fdatasync:error=EIO:when={number}")
    run = Run.of(replace(workload, strace=inject, errors=frozenset({UNKNOWN})), real, bug)
    assert run.failed_flushes, "no flush failed"
    return run


def crash(run: Run, states: int, since: int) -> Counts:
    """Crash it from the beginning of a step on."""
    counts = run.crash(SEED, states, 2, since)
    print(f"seed {SEED}, {counts.moments} moments, {counts.states} states, {len(counts.bad)} bad")
    return counts


def f4_steps() -> tuple[list[Step], int]:
    """A full and a relaxed writer, a second process that holds the store open; and which step fails."""
    steps = [opened("full"), opened("full 2"), opened("relaxed")]
    steps += [write(f"before {number}") for number in range(4)]
    steps += [write("relaxed", "relaxed"), write("unknown", content=Content("unknown", 3_000))]
    return [*steps, write("after"), write("other", "full 2"), write("last")], 8


def test_f3_a_commit_that_failed_is_unknown_and_may_turn_out_either_way(place: Path) -> None:
    steps = [opened("full"), opened("full 2"), write("before"), write("unknown"), write("other", "full 2")]
    steps = [*steps[:3], write("again"), *steps[3:]]
    run = broken(place, steps, 4)
    assert run.said[4] == UNKNOWN
    counts = crash(run, 150, since=4)
    assert not counts.bad, counts.bad[0]
    seen = run.seen_between(4, 5)
    assert {("unknown" in paths) for paths in seen} == {True, False}, "the error was not about anything"


def test_f4_what_is_acknowledged_after_an_error_in_the_log_survives_a_power_cut(place: Path) -> None:
    steps, failing = f4_steps()
    run = broken(place, steps, failing)
    assert run.said[failing] == UNKNOWN
    assert [run.said[number] for number in range(failing + 1, len(steps))] == ["", "", ""]
    counts = crash(run, 300, since=failing)
    assert not counts.bad, counts.bad[0]


def test_f4_is_caught_where_the_error_is_forgotten(place: Path) -> None:
    steps, failing = f4_steps()
    assert crash(broken(place, steps, failing, bug="errors of the log are forgotten"), 300, since=failing).bad


def relaxed_steps() -> list[Step]:
    """What a relaxed writer leaves in a fresh log that nothing has flushed."""
    steps = [opened("full"), *(write(f"before {number}") for number in range(4)), Step("close")]
    return [*steps, *(write(f"r{number}", "relaxed", Content(f"r{number}", 7_000)) for number in range(6))]


def test_f4_a_power_cut_while_the_log_is_settled_leaves_a_sound_store(place: Path) -> None:
    steps = relaxed_steps()
    steps[6:6] = [opened("full"), opened("relaxed")]
    failing = len(steps)
    run = broken(place, [*steps, write("unknown"), write("after"), write("last")], failing)
    assert run.said[failing] == UNKNOWN
    counts = crash(run, 600, since=failing + 1)
    assert not counts.bad, counts.bad[0]


def test_f4_an_error_while_the_log_is_copied_is_not_forgotten(place: Path) -> None:
    steps = [opened("relaxed"), opened("full"), write("before", "relaxed")]
    steps += [Step("import big tree", actor="relaxed"), write("after"), write("last")]
    counts = crash(broken(place, steps, 3), 120, since=3)
    assert not counts.bad, counts.bad[0]


def test_f4_an_error_while_the_log_is_copied_at_closing_is_not_forgotten(place: Path) -> None:
    steps = [opened("relaxed"), write("before", "relaxed"), Step("close", actor="relaxed")]
    steps += [opened("relaxed"), write("r", "relaxed"), Step("close", actor="relaxed")]
    closing = len(steps) - 1
    steps += [opened("full"), write("after"), write("last")]
    counts = crash(broken(place, steps, closing), 100, since=closing + 1)
    assert not counts.bad, counts.bad[0]
