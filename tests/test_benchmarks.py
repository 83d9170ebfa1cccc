"""The benchmarks work: each row at a hundredth of nothing, and figures become tables as they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import benchmarks.rows  # noqa: F401  # enters them
import pytest
from benchmarks import page
from benchmarks.contest import OURS, ROWS, Goal, Row, Samples
from benchmarks.results import Result, load, save

ROOT = Path(__file__).parent.parent
SAMPLES: Samples = {
    OURS: [{"seconds": 2.0}, {"seconds": 1.0}, {"seconds": 9.0}],
    "a peer": [{"seconds": 4.0}],
}
SYSTEM = {"date": "2026-01-02", "cores": "2", "file system": "ext4"}


def result(samples: Samples) -> Result:
    return Result(3, {"files": 10}, (0.5, 0.6), SYSTEM, {}, samples)


def ran(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("rows", ["writes,read", pytest.param(",".join(ROWS), marks=pytest.mark.proof)])
def test_rows_are_measured_by_one_command_and_not_again_when_it_is_resumed(rows: str, tmp_path: Path) -> None:
    figures = tmp_path / "kept" / "figures.json"
    common = [f"--rows={rows}", f"--directory={tmp_path}", f"--results={figures}"]
    common += ["--scale=0.002", "--rounds=1", "--keep"]
    text = ran(*common)
    kept = load(figures)
    assert list(kept) == rows.split(",")
    for row in (ROWS[key] for key in kept):
        measured = {one.name for one in row.contestants} - set(kept[row.key].missing)
        assert set(kept[row.key].samples) == measured
        assert {row.title for goal in row.goals if goal.text in text} == ({row.title} if row.goals else set())
    before = figures.read_bytes()
    assert ran(*common, "--resume").startswith("| work |")  # nothing was measured
    assert figures.read_bytes() == before


def test_rows_can_be_chosen_and_an_unknown_one_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--rows", "imports"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no such rows: imports" in done.stderr


@pytest.mark.parametrize(
    ("is_rate", "at_most", "at_least", "ratio", "is_reached"),
    [
        (False, 0.5, 0, 0.5, True),
        (False, 0.4, 0, 0.5, False),
        (True, 9, 2, 2.0, True),
        (True, 9, 3, 2.0, False),
    ],
)
def test_a_goal_is_a_ratio_of_medians(
    is_rate: bool, at_most: float, at_least: float, ratio: float, is_reached: bool
) -> None:
    goal = Goal("as it should be", OURS, "a peer", at_most, at_least, ("seconds", "seconds"), is_rate)
    assert goal.ratio(SAMPLES) == ratio
    assert goal.is_reached(ratio) is is_reached
    assert goal.ratio({OURS: SAMPLES[OURS]}) is None


def test_a_goal_without_a_peer_is_about_the_figure_itself() -> None:
    goal = Goal("within a second", OURS, "", 1.0, 0.0, ("seconds", ""), is_rate=False)
    assert goal.ratio(SAMPLES) == 2.0


def test_the_page_tells_what_was_missed_and_who_was_missing(tmp_path: Path) -> None:
    row = Row("one", "some work")
    row.contestant(OURS, "durable")(lambda _, __: dict)
    row.contestant("a peer", "no flush", needs="no_such_module")(lambda _, __: dict)
    row.goal("at most half of the peer", to="a peer", at_most=0.4)
    place = tmp_path / "page.md"
    place.write_text(f"before\n{page.BEGIN}old\n{page.END}after\n")
    page.write({"one": row}, {"one": result(SAMPLES)}, {}, place)
    text = place.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| some work | at most half of the peer | 0.50 | **no** | 0.5 |" in text
    assert f"| {OURS} | durable | 2.00 s | 1.00 s to 9.00 s | 1.00 |" in text
    page.write({"one": row}, {"one": result({OURS: SAMPLES[OURS]})}, {}, place)
    assert "| not measured | | 0.5 |" in place.read_text().replace("|  |", "| |")
    assert "| a peer | no flush | not installed |" in place.read_text()


def test_what_was_measured_can_be_read_again(tmp_path: Path) -> None:
    save({"one": result(SAMPLES)}, tmp_path / "figures.json")
    again = load(tmp_path / "figures.json")["one"]
    assert again.samples == SAMPLES
    assert (again.rounds, tuple(again.load), again.system) == (3, (0.5, 0.6), SYSTEM)
