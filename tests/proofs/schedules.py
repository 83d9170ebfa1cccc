"""Runs processes step by step in every order that can matter.

A schedule is the list of who makes the next step. Depth first over that list: run one schedule to its
end, then go back to the last step at which somebody else should have been next. Orders that differ only by
exchanging neighbouring steps that touch nothing in common are run once: *dynamic partial order
reduction* (Flanagan and Godefroid 2005) says where another must come first, *sleep sets* (Godefroid
1996) which of those orders were run already.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from schedule_points import Point
from schedule_runs import Run, Scenario, Shape


@dataclass
class Frame:
    """One step of a schedule: who could have made it, who did, who had done so in earlier schedules.

    ``wanted``: who must be tried here, since a later step of his could as well have come before this one.
    """

    enabled: dict[int, Point]
    sleeping: dict[int, Point]
    chosen: int
    wanted: set[int] = field(default_factory=set)
    tried: dict[int, Point] = field(default_factory=dict)

    @property
    def point(self) -> Point:
        return self.enabled[self.chosen]

    def sleeping_after(self) -> dict[int, Point]:
        """Whose steps need not come next: a schedule in which they came before this one was run already."""
        rest = self.sleeping | self.tried
        return {number: other for number, other in rest.items() if not other.meets(self.point)}

    def want(self, number: int) -> None:
        self.wanted |= {number} if number in self.enabled else set(self.enabled)

    def choose_next(self) -> bool:
        """Somebody else who must be tried here; False if there is nobody left."""
        self.tried[self.chosen] = self.point
        left = [n for n in sorted(self.wanted) if n not in self.tried and n not in self.sleeping]
        if left:
            self.chosen = left[0]
        return bool(left)


@dataclass
class Explored:
    """``schedules`` were run to their ends; ``is_complete``: those are all that can matter.

    ``shapes``: what matters in each: which of two steps that meet came first.
    """

    schedules: int = 0
    cut: int = 0
    is_complete: bool = False
    shapes: set[Shape] = field(default_factory=set, repr=False)

    def add(self, run: Run) -> None:
        self.schedules += 1
        self.shapes.add(run.shape())


def explore(scenario: Scenario, place: Path, most: int) -> Explored:
    """Run every schedule, or the first ``most``; AssertionError with the schedule that shows a fault."""
    explored, frames = Explored(), list[Frame]()
    while explored.schedules < most:
        run = Run(scenario, place)
        try:
            for frame in frames:
                enabled = run.enabled()
                assert enabled == frame.enabled, f"cannot be repeated: {enabled} {frame.enabled}:\n{run}"
                run.step(frame.chosen)
            if _extend(run, frames):
                _check(scenario, run)
                explored.add(run)
            else:
                explored.cut += 1
            _want_what_races(frames, run.waiting())
        finally:
            run.end()
        while frames and not frames[-1].choose_next():
            frames.pop()
        if not frames:
            explored.is_complete = True
            break
    return explored


def _extend(run: Run, frames: list[Frame]) -> bool:
    """Go on to the end, with as few changes of process as can be; False if all of that was run before."""
    while enabled := run.enabled():
        sleeping = frames[-1].sleeping_after() if frames else {}
        awake = [number for number in enabled if number not in sleeping]
        if not awake:
            return False
        last = frames[-1].chosen if frames else awake[0]
        frames.append(Frame(enabled, sleeping, last if last in awake else awake[0]))
        run.step(frames[-1].chosen)
    return True


def _want_what_races(frames: list[Frame], waiting: dict[int, Point]) -> None:
    """Find the pairs of steps that met and could have come in the other order, and want that order, too.

    ``known``: for each process the last step of each that it has learnt of, by meeting steps.
    """
    known: dict[int, dict[int, int]] = {}
    after: list[dict[int, int]] = []
    steps = [(frame.chosen, frame.point) for frame in frames]
    for index, (number, point) in enumerate(steps):
        mine = known.setdefault(number, {})
        _want_before(frames, index, number, point, mine)
        for before, (_, other) in enumerate(steps[:index]):
            if other.meets(point):
                for process, last in after[before].items():
                    mine[process] = max(last, mine.get(process, -1))
        mine[number] = index
        after.append(dict(mine))
    for number, point in waiting.items():
        _want_before(frames, len(frames), number, point, known.get(number, {}))


def _want_before(frames: list[Frame], end: int, number: int, point: Point, mine: dict[int, int]) -> None:
    """Want ``number`` at the last step of another that its step meets, unless it had to come after that."""
    for index in range(end - 1, -1, -1):
        frame = frames[index]
        if frame.chosen == number or not frame.point.meets(point):
            continue
        if point.takes and frame.point.frees == point.takes:
            continue  # it could not have been made before: the race is for the taking
        if mine.get(frame.chosen, -1) < index:
            frame.want(number)
            return


def sample(scenario: Scenario, place: Path, number: int, seed: int) -> Explored:
    """Run so many schedules drawn by chance."""
    explored = Explored()
    chance = random.Random(f"{seed} {scenario.name}")
    for _ in range(number):
        run = Run(scenario, place)
        current = 0
        try:
            while enabled := run.enabled():
                if current not in enabled or chance.random() < 0.3:
                    current = chance.choice(list(enabled))
                run.step(current)
            _check(scenario, run, f"seed {seed}: ")
            explored.add(run)
        finally:
            run.end()
    return explored


def replay(scenario: Scenario, place: Path, schedule: str) -> None:
    """Run one schedule again, as a failure printed it."""
    run = Run(scenario, place)
    try:
        for number in map(int, schedule):
            run.step(number)
        _check(scenario, run)
    finally:
        run.end()


def _check(scenario: Scenario, run: Run, where: str = "") -> None:
    schedule = "".join(str(number) for number, _ in run.trace)
    try:
        run.check()
    except Exception as error:
        raise AssertionError(
            f"{where}{scenario.name}: {type(error).__name__}: {error}\nsaid: {run.said}\nsteps:\n{run}\n"
            f"again: python tests/proofs/schedule_scenarios.py '{scenario.name}' {schedule}"
        ) from error
