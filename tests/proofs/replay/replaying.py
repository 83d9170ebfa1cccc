"""Runs a workload under trace, crashes it everywhere, and counts what was found."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from replay.crashes import ALL, HOLE, NOTHING, Choice, Crashes, Tree, choices
from replay.disk import Operation
from replay.judge import Demand, Seen, observe
from replay.named import THEIRS
from replay.newer import ROTTEN, damage, source_of
from replay.recording import Recording
from replay.steps import BIG_TREE, MANY_OF_A_TREE, OTHER, TREE, Content, Scene, Step, World, act, after
from replay.trace import read_calls, strace

PREPARED = (
    Step("open"),
    Step("write", "kept/small", Content("kept", 40)),
    Step("write", "kept/large", Content("kept", 20_000)),
    Step("write", "old/small", Content("old", 40)),
    Step("write", "old/large", Content("old", 20_000)),
    Step("write", "old/gone", Content("gone", 20_000)),
    Step("put", content=Content("pinned", 12_000)),
    Step("pin", content=Content("pinned", 12_000)),
    Step("put", content=Content("orphan", 40)),
    Step("put", content=Content("orphan", 12_000)),
    Step("delete", "old/gone"),
    Step("export"),
    Step("write", "since", Content("since", 40)),
    Step("close"),
)
"""What is there before a workload that does not make its store."""


@dataclass(frozen=True)
class Workload:
    """A run to be crashed. ``strace``: more options for it, such as an error to inject.

    ``errors``: what steps may raise, each with a ``!`` before it.
    """

    name: str
    steps: tuple[Step, ...]
    is_fresh: bool = False
    strace: tuple[str, ...] = ()
    errors: frozenset[str] = frozenset()
    is_damaged: bool = False
    """Whether it begins with a store that has lost bytes, see ``replay.newer``."""
    since: int = 0
    """The step from which on it is crashed: those before are for others to crash."""
    weight: int = 1
    """Of how many times as many states it needs: where each of several flushes counts."""


@dataclass
class Counts:
    """What a replay did. ``bad``: the findings, told."""

    states: int = 0
    checks: int = 0
    moments: int = 0
    bad: list[str] = field(default_factory=list)

    def __add__(self, other: Self) -> Counts:
        return Counts(
            self.states + other.states,
            self.checks + other.checks,
            self.moments + other.moments,
            self.bad + other.bad,
        )


def fast_place() -> Path | None:
    """Memory, where there is some: states are many and short-lived."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else None


def replay(workload: Workload, seed: int, budget: int, bug: str = "", stop_after: int = 3) -> Counts:
    """Crash a workload in up to ``budget`` different states; stops after so many bad ones."""
    with tempfile.TemporaryDirectory(dir=fast_place(), prefix="replay-") as place:
        run = Run.of(workload, Path(place), bug)
        return run.crash(seed, budget, stop_after)


class Run:
    """A traced workload: its disk, its steps, the worlds that were possible after each."""

    def __init__(self, workload: Workload, place: Path, recording: Recording, worlds: list[World]) -> None:
        self.workload = workload
        self._place = place
        self._recording = recording
        self._begun: dict[int, int] = {}
        self._acknowledged: dict[int, int] = {}
        said: dict[int, str] = {}
        self._doers: dict[int, int] = {}
        for moment, process, (mark, number, *words) in recording.marks:
            if mark == "@BEGIN":
                self._begun[int(number)] = moment
                self._doers[int(number)] = process
            else:
                self._acknowledged[int(number)] = moment
                said[int(number)] = " ".join(words)
        self.said = said
        unexpected = {error for error in said.values() if error.startswith("!")} - workload.errors
        if unexpected:
            raise AssertionError(f"{workload.name}: steps failed with {unexpected}: {said}")
        self._worlds = [worlds]
        for position, step in enumerate(workload.steps):
            self._worlds.append(after(self._worlds[-1], step, said.get(position, "")))
        self._flushed = {number: self._has_flushed(number) for number in self._acknowledged}
        self._wanted = frozenset().union(*(w.blobs for worlds in self._worlds for w in worlds))
        self._crashes = Crashes(recording.disk)
        self._seen: dict[bytes, Seen] = {}
        self._looks: list[tuple[int, Seen]] = []

    @classmethod
    def of(cls, workload: Workload, place: Path, bug: str = "") -> Self:
        """Prepare the stores, run the workload under trace, read the trace."""
        root, steps, marks, trace = (place / name for name in ("disk", "steps", "marks", "trace"))
        root.mkdir()
        worlds = [World()] if workload.is_fresh else prepare_disk(root)
        if workload.is_damaged:
            damage(root / "store")
            worlds = [replace(world, is_damaged=True) for world in worlds]
        steps.write_bytes(pickle.dumps(list(workload.steps)))
        marks.touch()
        recording = Recording(root)
        program = [str(Path(__file__).with_name("worker.py")), str(root), str(steps), str(marks)]
        strace([*program, *([bug] if bug else [])], trace, workload.strace)
        with trace.open(encoding="ascii") as lines:
            recording.take(read_calls(lines))
        trace.unlink()
        return cls(workload, place, recording, worlds)

    def moments(self) -> list[int]:
        """When to crash: just before each flush has ended, at each acknowledgement, at the end."""
        recording = self._recording
        return sorted({*recording.flushes, *(when for when, _, _ in recording.marks), recording.end})

    @property
    def failed_flushes(self) -> int:
        return self._recording.failed_flushes

    def seen_between(self, first: int, second: int) -> list[frozenset[str]]:
        """The paths that were found after cuts between the acknowledgements of two steps."""
        between = range(self._acknowledged[first], self._acknowledged[second])
        return [frozenset(path for path, _ in seen.files) for when, seen in self._looks if when in between]

    def _has_flushed(self, number: int) -> bool:
        """Whether a step made durable what it acknowledged, and with it all commits before.

        Also one that found nothing to do: what it found may be a relaxed neighbour's.
        """
        step = self.workload.steps[number]
        is_change = step.kind not in ("open", "close")
        return step.is_durable and is_change and not self.said[number].startswith("!")

    def data_flush_of(self, number: int) -> int:
        """Which fdatasync of its process a step does first, counted from 1."""
        doer, begun = self._doers[number], self._begun[number]
        return 1 + sum(process == doer and when < begun for process, when in self._recording.data_flushes)

    def demand(self, moment: int) -> Demand:
        """What must be there after a power cut at a moment."""
        floor = 0
        for number, when in self._acknowledged.items():
            if when <= moment and self._flushed[number]:
                floor = max(floor, number + 1)
        begun = [number + 1 for number, when in self._begun.items() if when < moment]
        worlds = [w for k in range(floor, max([floor, *begun]) + 1) for w in self._worlds[k]]
        blobs = frozenset.intersection(*(world.blobs for world in worlds))
        return Demand(tuple(worlds), blobs, self.workload.is_fresh and floor == 0)

    def crash(self, seed: int, budget: int, stop_after: int, since: int = 0) -> Counts:
        """Try the states of all moments from step ``since`` on in turn, the telling ones of each first."""
        since = max(since, self.workload.since)
        moments = [moment for moment in self.moments() if moment >= self._begun[since]]
        counts = Counts(moments=len(moments))
        turns = [_Turn(self, moment, seed) for moment in moments]
        tries = 0
        while turns and len(self._seen) < budget and tries < 30 * budget:
            for turn in list(turns):
                tries += 1
                choice = next(turn.choices, None)
                if choice is None:
                    turns.remove(turn)
                    continue
                counts.checks += 1
                objection = self.check(turn, choice)
                if objection:
                    counts.bad.append(self.tell(turn, choice, objection, seed))
                    if len(counts.bad) >= stop_after:
                        turns.clear()
                        break
        counts.states = len(self._seen)
        return counts

    def check(self, turn: _Turn, choice: Choice) -> str:
        """What is wrong with one state; empty if nothing is."""
        tree = self._crashes.tree(turn.moment, turn.pending, choice)
        if tree.key not in self._seen:
            self._seen[tree.key] = self._look(tree)
        self._looks.append((turn.moment, self._seen[tree.key]))
        return turn.demand.objection(self._seen[tree.key])

    def _look(self, tree: Tree) -> Seen:
        root = self._place / "state"
        root.mkdir()
        try:
            tree.make(root)
            return observe(root, self._wanted)
        finally:
            shutil.rmtree(root)

    def tell(self, turn: _Turn, choice: Choice, objection: str, seed: int) -> str:
        """The shortest account of a bad state: what of it can be undone and leave it bad is not told."""
        for index, part in enumerate(choice):
            simpler = (*choice[:index], ALL, *choice[index + 1 :])
            if part != ALL and self.check(turn, simpler):
                choice = simpler
        done = [number for number, when in self._acknowledged.items() if when <= turn.moment]
        missing = [
            f"  {_fate(part)}: {operation} in {self._recording.disk.inodes[operation.inode].path}"
            for operation, part in zip(turn.pending, choice, strict=True)
            if part != ALL
        ]
        lines = [f"{self.workload.name}, seed {seed}, line {turn.moment} of the trace: {objection}"]
        lines += [f"  acknowledged: {self.workload.steps[number]} {self.said[number]}" for number in done]
        return "\n".join([*lines, *(missing or ["  with everything on the disk"])])


class _Turn:
    """One moment of a run, and what is left to try there."""

    def __init__(self, run: Run, moment: int, seed: int) -> None:
        self.moment = moment
        self.pending: Sequence[Operation] = run._recording.disk.pending(moment)
        self.demand = run.demand(moment)
        self.choices: Iterator[Choice] = choices(self.pending, seed * 1_000_003 + moment)


def _fate(part: int) -> str:
    return {NOTHING: "lost", HOLE: "zeros"}.get(part, f"torn after {part} bytes")


TREES = {"tree": TREE, "big": BIG_TREE, "large": MANY_OF_A_TREE}


def prepare_disk(root: Path) -> list[World]:
    """The stores and real directories that workloads begin with."""
    worlds = [World()]
    scene = Scene(root, "full")
    for step in PREPARED:
        said = act(scene, step)
        assert not said.startswith("!"), said
        worlds = after(worlds, step, said)
    other = Scene(root / "beside", "full")
    other.root.mkdir()
    for step in [
        Step("open"),
        *(Step("write", path, content) for path, content in OTHER.items()),
        Step("snapshot", target=THEIRS),
        Step("close"),
    ]:
        act(other, step)
    other.location.rename(root / "other")
    other.root.rmdir()
    source = {content.word: content for content in ROTTEN}
    trees = [(Path(f"{root}.{name}"), contents) for name, contents in TREES.items()]
    for directory, contents in [*trees, (source_of(root), source)]:
        directory.mkdir()
        for path, content in contents.items():
            (directory / path).write_bytes(content.data)
    return worlds
