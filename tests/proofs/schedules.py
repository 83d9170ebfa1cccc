"""Runs processes step by step in every order that can matter.

Each process is a forked child that stops before each of its points (``schedule_points``). A schedule
is the list of who makes the next step. Depth first over that list: run one schedule to its end, then
go back to the last step at which somebody else should have been next. Orders that differ only by
exchanging neighbouring steps that touch nothing in common are run once: *dynamic partial order
reduction* (Flanagan and Godefroid 2005) says where another must come first, *sleep sets* (Godefroid
1996) which of those orders were run already. Who wants a lock that another has is not asked; so
nobody ever really waits.
"""

from __future__ import annotations

import io
import os
import random
import select
import shutil
import signal
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crowd import die_with
from schedule_points import Point, install

from agent_world_distfs import LocalCasStore, WorldError

Act = Callable[[LocalCasStore], str | None]
"""What one process does; what it returns, or ``ok``, or the name of the error is what it says."""

Bug = Callable[[], None]

Shape = frozenset[tuple[tuple[int, int], tuple[int, int]]]
"""Pairs of steps, each as process and how many steps it had made before."""

PATIENCE_S = 20.0


@dataclass(frozen=True)
class Scenario:
    """``check`` is given the store afterwards and what each said."""

    name: str
    template: Path
    shards: frozenset[str]
    acts: tuple[Act, ...]
    check: Callable[[LocalCasStore, Sequence[str]], None]
    bug: Bug | None = None
    is_warm: bool = True
    """Whether each has a session before the schedule begins."""


class Stepper:
    """One process of a run."""

    def __init__(self, scenario: Scenario, number: int, root: Path) -> None:
        self._socket, theirs = socket.socketpair()
        self._heard = b""
        self.point: Point | None = None
        self.is_waiting = False
        self.said = ""
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            die_with(parent)
            _step_through(scenario, number, str(root), theirs)
        theirs.close()
        self.listen()

    def go(self) -> None:
        """Let it make its step, and wait until it stands before the next one."""
        self._socket.send(b"x")
        self.listen()

    def listen(self) -> None:
        """Take in the next point, or what it says at its end."""
        self.point, self.is_waiting = None, False
        deadline = time.monotonic() + PATIENCE_S
        while b"\n" not in self._heard:
            if not select.select([self._socket], [], [], 0.05)[0]:
                if _waits_for_lock(self.pid):
                    self.is_waiting = True
                    return
                if time.monotonic() > deadline:
                    raise AssertionError(f"process {self.pid} is stuck")
                continue
            part = self._socket.recv(1 << 16)
            if not part:
                raise AssertionError(f"process {self.pid} died")
            self._heard += part
        line, _, self._heard = self._heard.partition(b"\n")
        word, _, rest = line.decode().partition(" ")
        self.point, self.said = (Point.load(rest), "") if word == "at" else (None, rest)

    def wake(self) -> None:
        """If it waited for a lock of the system, and has it now, see how far it got."""
        if self.is_waiting and not _waits_for_lock(self.pid):
            self.listen()

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._socket.close()


def _waits_for_lock(pid: int) -> bool:
    """See proc_locks(5): who waits stands behind an arrow."""
    with open("/proc/locks", encoding="ascii") as locks:
        return any("->" in line and f" {pid} " in line for line in locks)


def _step_through(scenario: Scenario, number: int, root: str, conductor: socket.socket) -> None:
    """The child: opens the store, is ready, acts step by step, says how it ended, waits for its end."""

    def stop(point: Point) -> None:
        conductor.sendall(f"at {point.dump()}\n".encode())
        if not conductor.recv(1):
            os._exit(0)

    try:
        points = install(root, scenario.shards, stop)
        if scenario.bug is not None:
            scenario.bug()
        store = LocalCasStore(root, create=False)
        store.copy_file("kept/large", f"warm/{number}")
        if scenario.is_warm:  # begins a session
            store.write_file_stream(f"warm/{number}", io.BytesIO(store.read_file("kept/large")))
        points.is_armed = True
        stop(Point("begin"))
        try:
            said = scenario.acts[number](store) or "ok"
        except WorldError as error:
            said = type(error).__name__
        points.is_armed = False
        conductor.sendall(f"said {said}\n".encode())
        conductor.recv(1)
    except BaseException:  # noqa: BLE001  # whatever it is, it may not run on in the child
        conductor.sendall(f"said failed {traceback.format_exc()!r}\n".encode())
    finally:
        os._exit(0)


class Run:
    """One schedule as it is carried out, on a fresh copy of the store."""

    def __init__(self, scenario: Scenario, place: Path) -> None:
        self._scenario = scenario
        self._root = place / "store"
        self.trace: list[tuple[int, Point]] = []
        self.said: list[str] = []
        shutil.copytree(scenario.template, self._root)
        self._holders: dict[str, int] = {}
        self._steppers: list[Stepper] = []
        for number in range(len(scenario.acts)):
            self._steppers.append(Stepper(scenario, number, self._root))

    def enabled(self) -> dict[int, Point]:
        """Who can make a step, and which."""
        for stepper in self._steppers:
            stepper.wake()
        points = self.waiting()
        free = {n: point for n, point in points.items() if self._holders.get(point.takes, n) == n}
        is_over = not points and not any(stepper.is_waiting for stepper in self._steppers)
        assert free or is_over, f"nobody can go on:\n{self}"
        return free

    def waiting(self) -> dict[int, Point]:
        """The next step of each, also of those who cannot make it now."""
        return {n: stepper.point for n, stepper in enumerate(self._steppers) if stepper.point is not None}

    def step(self, number: int) -> None:
        stepper = self._steppers[number]
        point = stepper.point
        assert point is not None
        self.trace.append((number, point))
        if point.takes:
            self._holders[point.takes] = number
        if self._holders.get(point.frees) == number:
            del self._holders[point.frees]
        stepper.go()

    def check(self) -> None:
        """Everything has ended: what was said must hold, and nothing dangle."""
        said = self.said = [stepper.said for stepper in self._steppers]
        self._kill()
        broken = [word for word in said if word.startswith("failed")]
        assert not broken, broken[0].encode().decode("unicode_escape")
        with LocalCasStore(self._root, create=False, lock_timeout_s=5) as store:
            report = store.audit_file_index(verify=True)
            assert report.is_sound(), report
            self._scenario.check(store, said)

    def shape(self) -> Shape:
        """Every pair of steps of different processes that meet, the earlier one first."""
        made: list[tuple[int, int, Point]] = []
        pairs = set()
        for number, point in self.trace:
            step = (number, sum(other == number for other, *_ in made))
            pairs |= {((n, k), step) for n, k, other in made if n != number and other.meets(point)}
            made.append((*step, point))
        return frozenset(pairs)

    def _kill(self) -> None:
        while self._steppers:
            self._steppers.pop().end()

    def end(self) -> None:
        self._kill()
        shutil.rmtree(self._root)

    def __str__(self) -> str:
        return "\n".join(f"  {number}: {point.name}" for number, point in self.trace)


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
