"""The traced program: ``worker.py ROOT STEPS MARKS [BUG]``.

Forks a process for each actor and lets them do the steps one after another, so that it is known in
which order they happened. STEPS is a file with the pickled steps; marks are written to MARKS.
"""

from __future__ import annotations

import os
import pickle
import signal
import stat
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from replay.bugs import BUGS
from replay.steps import Scene, Step, act

STUCK = "stuck"


class Actor:
    """A process that does steps when it is told to."""

    def __init__(self, name: str, root: Path, steps: list[Step], marks: int) -> None:
        orders, self._orders = os.pipe()
        self._reports, reports = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._orders)
            scene = Scene(root, "relaxed" if name.startswith("relaxed") else "full")
            _serve(scene, steps, marks, orders, reports)
            os._exit(0)
        os.close(orders)
        os.close(reports)

    def do(self, number: int) -> None:
        """Have one step done; it is over, or stuck, when this returns."""
        os.write(self._orders, b"%d\n" % number)
        if not os.read(self._reports, 100):
            os.waitpid(self.pid, 0)
            raise RuntimeError(f"an actor died in step {number}")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def end(self) -> None:
        os.close(self._orders)
        os.waitpid(self.pid, 0)


def _serve(scene: Scene, steps: list[Step], marks: int, orders: int, reports: int) -> None:
    while order := os.read(orders, 100):
        number = int(order)
        step = steps[number]
        os.write(marks, b"@BEGIN %d" % number)
        if step.kind == "stuck write":
            _get_stuck(reports)
        said = act(scene, step)
        os.write(marks, f"@ACK {number} {said}".encode())
        os.write(reports, b"done")


def _get_stuck(reports: int) -> None:
    """Stop for ever where the name of a blob is there and not flushed yet."""
    flush = os.fsync

    def fsync(fd: Any) -> None:
        shard = os.path.dirname(os.readlink(f"/proc/self/fd/{fd}"))
        if stat.S_ISDIR(os.fstat(fd).st_mode) and shard.endswith("/blobs"):
            os.write(reports, STUCK.encode())
            signal.pause()
        flush(fd)

    os.fsync = fsync


def main() -> None:
    root, marks = Path(sys.argv[1]), os.open(sys.argv[3], os.O_WRONLY)
    steps: list[Step] = pickle.loads(Path(sys.argv[2]).read_bytes())
    for bug in sys.argv[4:]:
        BUGS[bug]()
    actors: dict[str, Actor] = {}
    for name in dict.fromkeys(step.actor for step in steps):
        actors[name] = Actor(name, root, steps, marks)
    for number, step in enumerate(steps):
        if step.kind == "kill":
            actors.pop(step.actor).kill()
        else:
            actors[step.actor].do(number)
    for actor in actors.values():
        actor.kill()  # the power is cut; nobody closes anything


if __name__ == "__main__":
    main()
