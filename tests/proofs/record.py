"""What was proven and is on record: the two tables of ``docs/proofs.md`` that the release script keeps.

One has a row for what was done in one go: the figure, the seeds, the commit, the tree of ``src/``, the
machine, the counts. The other is made of it: what was wanted, what was reached with the present ``src/``.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from figures import FIGURES, Figure

BEGIN, END = "<!-- written by tests/proofs/release.py -->", "<!-- until here -->"


@dataclass(frozen=True)
class Row:
    """What was done with seeds from ``first`` to ``last``."""

    figure: str
    first: int
    last: int
    commit: str
    tree: str
    machine: str
    counts: Mapping[str, int]

    def __str__(self) -> str:
        seeds = f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"
        counts = ", ".join(f"{number:,} {what}" for what, number in self.counts.items())
        return f"| {self.figure} | {seeds} | {self.commit} | {self.tree} | {self.machine} | {counts} |"

    @classmethod
    def parse(cls, line: str) -> Row:
        figure, seeds, commit, tree, machine, counts = (
            cell.strip() for cell in line.strip("| \n").split(" | ")
        )
        first, _, last = seeds.partition(" to ")
        numbers = (part.split(" ", 1) for part in re.split(r", (?=\d)", counts))
        read = {what: int(number.replace(",", "")) for number, what in numbers}
        return cls(figure, int(first), int(last or first), commit, tree, machine, read)

    def joined(self, next_one: Row) -> Row | None:
        """Both as one, if they differ in nothing but seeds that follow each other."""
        is_same = replace(self, first=0, last=0, counts={}) == replace(next_one, first=0, last=0, counts={})
        if not is_same or next_one.first != self.last + 1:
            return None
        counts = Counter(self.counts) + Counter(next_one.counts)
        return replace(self, last=next_one.last, counts={what: counts[what] for what in self.counts})


def add(rows: Sequence[Row], new: Row) -> list[Row]:
    """With a row more, or the last one of its figure longer."""
    mine = [row for row in rows if row.figure == new.figure]
    joined = mine[-1].joined(new) if mine else None
    return [*rows, new] if joined is None else [joined if row is mine[-1] else row for row in rows]


def reached(rows: Sequence[Row], figure: str, tree: str) -> Counter[str]:
    """What was counted of a figure with this ``src/``, and in how many rows."""
    total: Counter[str] = Counter()
    for row in rows:
        if row.figure == figure and row.tree == tree:
            total.update(row.counts)
            total["runs"] += row.last - row.first + 1
    return total


def is_reached(figure: Figure, done: Mapping[str, int]) -> bool:
    return all(done.get(what, 0) >= goal for what, goal in figure.goals.items())


def next_seed(rows: Sequence[Row], figure: str, tree: str) -> int:
    """Seeds are used once for each ``src/``."""
    used = [row.last for row in rows if (row.figure, row.tree) == (figure, tree)]
    return 1 + max(used, default=FIGURES[figure].before)


# --- the page ---------------------------------------------------------------------------------


def read(page: str) -> list[Row]:
    """The rows that are on a page."""
    ours = page[page.index(BEGIN) : page.index(END)]
    lines = [line for line in ours.splitlines() if line.startswith("| ") and line.count(" | ") == 5]
    return [Row.parse(line) for line in lines if not line.startswith(("| Figure", "| ---"))]


def written(page: str, rows: Sequence[Row], tree: str) -> str:
    """The page with both tables made anew; all else of it is as it was."""
    before, after = page[: page.index(BEGIN)], page[page.index(END) :]
    lines = [BEGIN, f"With the tree `{tree}` of `src/`:", ""]
    lines += ["| Promise | Figure | Goal | Reached | Runs |", "| --- | --- | --- | --- | --- |"]
    lines += [_summary(name, figure, reached(rows, name, tree)) for name, figure in FIGURES.items()]
    lines += ["", "What was done, with whichever tree:", ""]
    lines += ["| Figure | Seeds | Commit | Tree of `src/` | Machine | Counts |"]
    lines += ["| --- | --- | --- | --- | --- | --- |", *map(str, rows), ""]
    return before + "\n".join(lines) + after


def _summary(name: str, figure: Figure, done: Mapping[str, int]) -> str:
    goal = ", ".join(f"{number:,} {what}" for what, number in figure.goals.items())
    found = ", ".join(f"{done.get(what, 0):,}" for what in figure.goals)
    return f"| {figure.promise} | {name} | {goal} | {found} | {done.get('runs', 0)} |"


def save(place: Path, page: str) -> None:
    """Replace a page at once: whoever is interrupted leaves the old or the new one."""
    new = place.with_suffix(".new")
    new.write_text(page, "utf-8")
    os.replace(new, place)
