"""A row: one work, who does it, and what is to be reached. Rows live in ``rows/``, a file for each subject.

A contestant is a function that gets the bench and a fresh directory, prepares what it needs, and returns
what is timed. What it returns may tell further figures, by name, beside its ``seconds``: a latency, a
memory, or seconds of its own where it measures itself, in a child.

``settings`` says what is durable when the timed part has ended. Figures of different promises stand side
by side, and are no race.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bench import Bench, Scale

REST_S = 10
"""Between two works on large files."""

Figures = dict[str, float]
Timed = Callable[[], Figures | object]
Prepare = Callable[[Bench, Path], Timed]
Samples = dict[str, list[Figures]]
"""By contestant, one for each round."""

OURS = "distfs"
DURABLE = "durable"
UNFLUSHED = "no flush"


@dataclass(frozen=True)
class Contestant:
    """One way to do a work. ``missing``: what it needs that is not installed; then it takes no part."""

    name: str
    settings: str
    prepare: Prepare
    missing: str


@dataclass(frozen=True)
class Goal:
    """A ratio of two medians, or a median itself where ``to`` is empty, and what it should be.

    ``figures``: which of the one, and which of the other. ``is_rate``: the other way round, how often
    ``of`` does it while ``to`` does it once.
    """

    text: str
    of: str
    to: str
    at_most: float
    at_least: float
    figures: tuple[str, str]
    is_rate: bool

    def ratio(self, samples: Samples) -> float | None:
        """What was reached; None where one of the two did not take part."""
        ours = median(samples, self.of, self.figures[0])
        theirs = median(samples, self.to, self.figures[1]) if self.to else 1.0
        if ours is None or theirs is None:
            return None
        return theirs / ours if self.is_rate else ours / theirs

    def is_reached(self, ratio: float) -> bool:
        """Whether that is as it should be."""
        return self.at_least <= ratio <= self.at_most


@dataclass
class Row:
    """One work. ``each``: the field of ``Scale`` that says how often it is done, if that is told.

    ``is_large``: of few files that are large. Each contestant's are removed before the next comes, which
    finds a disk that has rested: blocks that were never written may take several times as long, and so may
    what comes right after a gigabyte.
    """

    key: str
    title: str
    each: str = ""
    is_large: bool = False
    contestants: list[Contestant] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def contestant(self, name: str, settings: str, *, needs: str = "") -> Callable[[Prepare], Prepare]:
        """Enters one. ``needs``: a module, a command with ``$`` before it, or of npm with ``node:``."""

        def enter(prepare: Prepare) -> Prepare:
            self.contestants.append(Contestant(name, settings, prepare, "" if is_there(needs) else needs))
            return prepare

        return enter

    def goal(  # noqa: PLR0913 - a table of goals reads better with all of a goal in its line
        self,
        text: str,
        *,
        to: str,
        of: str = OURS,
        at_most: float = float("inf"),
        at_least: float = 0.0,
        figures: tuple[str, str] = ("seconds", "seconds"),
        is_rate: bool = False,
    ) -> None:
        """Enters one; see ``Goal``."""
        self.goals.append(Goal(text, of, to, at_most, at_least, figures, is_rate))

    def measure(self, bench: Bench, rounds: int) -> Samples:
        """Each contestant once in each round, in another order each time, each in a fresh directory."""
        samples: Samples = {}
        for number in range(rounds):
            order = [one for one in self.contestants if not one.missing]
            random.Random(number).shuffle(order)
            for one in order:
                place = bench.fresh_directory()
                figures = measure_one(one, bench, place)
                if self.is_large:
                    shutil.rmtree(place)
                    time.sleep(REST_S * bench.scale.large_mib / Scale.large_mib)
                if self.each:
                    figures["us_each"] = figures["seconds"] * 1e6 / getattr(bench.scale, self.each)
                samples.setdefault(one.name, []).append(figures)
        return samples


ROWS: dict[str, Row] = {}


def row(key: str, title: str, *, each: str = "", is_large: bool = False) -> Row:
    """A new row, entered."""
    ROWS[key] = Row(key, title, each, is_large)
    return ROWS[key]


def measure_one(one: Contestant, bench: Bench, place: Path) -> Figures:
    work = one.prepare(bench, place)
    os.sync()
    start = time.perf_counter()
    told = work()
    seconds = time.perf_counter() - start
    return {"seconds": seconds} | (told if isinstance(told, dict) else {})


def median(samples: Samples, name: str, figure: str) -> float | None:
    """Over the rounds."""
    values = [sample[figure] for sample in samples.get(name, []) if figure in sample]
    return statistics.median(values) if values else None


def is_there(needs: str) -> bool:
    if needs.startswith("node:"):
        told = [shutil.which("node") or "false", "-e", f"require('{needs.removeprefix('node:')}')"]
        return subprocess.run(told, capture_output=True, check=False).returncode == 0
    if needs.startswith("$"):
        return shutil.which(needs[1:]) is not None
    return not needs or importlib.util.find_spec(needs) is not None
