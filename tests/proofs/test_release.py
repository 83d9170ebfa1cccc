"""The record of proofs: rows are read as they were written, and only what fits together counts together."""

from __future__ import annotations

from pathlib import Path

import pytest
from figures import FIGURES
from operations import OPERATIONS, RECOVERIES
from record import BEGIN, END, Row, add, is_reached, next_seed, reached, read, save, written
from schedule_scenarios import TWO
from seeded.table import SEEDED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "proofs.md"
EMPTY = f"before\n\n{BEGIN}\n{END}\n\nafter\n"


def row(seed: int, tree: str = "aa", figure: str = "soak", commit: str = "c1") -> Row:
    return Row(
        figure, seed, seed, commit, tree, "2 cores, Linux 6.1, ext4", {"minutes": 1, "writes": 1_234_567}
    )


def test_what_is_written_is_read() -> None:
    rows = [row(101), row(101, figure="kills", tree="bb")]
    page = written(EMPTY, rows, "aa")
    assert read(page) == rows
    assert page.startswith(f"before\n\n{BEGIN}")
    assert page.endswith(f"{END}\n\nafter\n")
    assert written(page, rows, "aa") == page


def test_seeds_that_follow_each_other_are_one_row() -> None:
    rows: list[Row] = []
    for each in (
        row(101),
        row(102),
        row(101, figure="kills"),
        row(103),
        row(104, commit="c2"),
        row(106, commit="c2"),
    ):
        rows = add(rows, each)
    assert [(each.figure, each.first, each.last) for each in rows] == [
        ("soak", 101, 103),
        ("kills", 101, 101),
        ("soak", 104, 104),
        ("soak", 106, 106),
    ]
    assert rows[0].counts == {"minutes": 3, "writes": 3 * 1_234_567}
    assert "| soak | 101 to 103 | c1 |" in written(EMPTY, rows, "aa")
    assert read(written(EMPTY, rows, "aa")) == rows


def test_only_the_same_source_counts_together() -> None:
    rows = [row(101), row(102, tree="bb"), row(103, commit="c2")]
    done = reached(rows, "soak", "aa")
    assert done == {"minutes": 2, "writes": 2 * 1_234_567, "runs": 2}
    assert (next_seed(rows, "soak", "aa"), next_seed(rows, "soak", "bb")) == (104, 103)
    assert next_seed(rows, "soak", "cc") == FIGURES["soak"].before + 1


def test_a_figure_is_reached_when_all_of_its_goals_are() -> None:
    soak = FIGURES["soak"]
    assert is_reached(soak, dict(soak.goals))
    for what in soak.goals:
        assert not is_reached(soak, dict(soak.goals) | {what: soak.goals[what] - 1})


def test_a_page_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "page.md"
    place.write_text("old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save(place, "new")
    assert place.read_text() == "old"
    save(place, "new")
    assert place.read_text() == "new"
    assert list(tmp_path.iterdir()) == [place]


def test_the_page_can_be_read_and_is_what_would_be_written() -> None:
    page = PAGE.read_text("utf-8")
    rows = read(page)
    assert {each.figure for each in rows} <= FIGURES.keys()
    tree = page.partition("With the tree `")[2].partition("`")[0]
    assert written(page, rows, tree) == page


def test_every_operation_and_every_scenario_of_two_processes_has_its_part() -> None:
    faults = FIGURES["faults"]
    assert faults.most == faults.goals["operations"] == len(OPERATIONS) + len(RECOVERIES)
    assert FIGURES["schedules"].most == FIGURES["schedules"].goals["scenarios to their end"] == len(TWO)


def test_the_page_names_every_seeded_bug() -> None:
    section = PAGE.read_text("utf-8").partition("## Seeded bugs")[2].partition("\n## ")[0]
    named = [
        line.split(" | ")[0].removeprefix("| ") for line in section.splitlines() if line.startswith("| ")
    ]
    assert named[2:] == list(SEEDED)
