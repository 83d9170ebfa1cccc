"""One schedule, carried out: forked children that make one step after the other, as they are told.

Each stops before each of its points (``schedule_points``) and says what comes next. Who wants a lock
that another has is not asked, so nobody really waits; only for the lock of a session that is just
being made somebody may, and the kernel says so.
"""

from __future__ import annotations

import io
import os
import select
import shutil
import signal
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        if point.tries:
            self._holders.setdefault(point.tries, number)
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
