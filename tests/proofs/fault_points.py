"""Runs one operation of a store in a child process, with a fault at one system call.

A zygote process has everything imported. For each point it forks a child, which opens the store,
warms up and stops; ``strace`` attaches with one injection (``kill`` at, or an error from, the n-th
call of one name), and the child goes on with the operation. A run without injection lists the
points. The store is looked at afterwards by whoever asked for the run.
"""

from __future__ import annotations

import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CHANGING = (
    "openat",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "syncfs",
    "ftruncate",
    "truncate",
    "link",
    "linkat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "rmdir",
)
"""The calls that change the disk, or open what will."""


@dataclass(frozen=True)
class Point:
    """The ``number``-th (from 1) call of a name."""

    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call}:{self.number}"


@dataclass(frozen=True)
class Outcome:
    """How a child ended. ``said``: what it reported: ``ok``, or the kind of error that it got."""

    said: str
    status: int

    @property
    def was_killed(self) -> bool:
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL


class Zygote:
    """Forks children that run operations of ``tests.proofs.operations``."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("zygote.py")
        self._own = tempfile.TemporaryDirectory(prefix="distfs-zygote-")  # for what the killed leave
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": self._own.name},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()
        self._own.cleanup()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def run(self, operation: str, root: Path, trace: Path, *strace: str) -> Outcome:
        """Run an operation on the store at ``root`` under strace with these arguments."""
        pid = int(self._ask(f"start {operation} {root}"))
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", str(trace), "-p", str(pid), *strace],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        _wait_until_traced(tracer)
        said, status = self._ask("go").rsplit(" ", 1)
        tracer.communicate(timeout=30)
        return Outcome(said.strip(), int(status))


def _wait_until_traced(tracer: subprocess.Popen[str]) -> None:
    """Until it says so. That the child has a tracer is not enough: it might run on before it is stopped."""
    assert tracer.stderr is not None
    said = tracer.stderr.readline()
    if not said.rstrip().endswith("attached"):
        raise RuntimeError(f"strace cannot attach: {said}{tracer.communicate()[1]}")


IS_ALL = bool(os.environ.get("ALL_POINTS"))
"""Whether also those points are wanted that differ from others by a number only."""

ALIKE = 32
"""Of the directories that were looked for and are not there (most shards of a store), each so-manieth."""


def list_points(zygote: Zygote, operation: str, root: Path, trace: Path, calls: Sequence[str]) -> list[Point]:
    """All points of an operation, from a run without a fault."""
    outcome = zygote.run(operation, root, trace, "-e", f"trace={','.join(calls)}")
    assert outcome.said == "ok", outcome
    counts: collections.Counter[str] = collections.Counter()
    points = []
    for call, rest in re.findall(r"^\d+ +(\w+)\((.*)$", trace.read_text(), re.MULTILINE):
        counts[call] += 1
        is_missing = "O_DIRECTORY" in rest and "ENOENT" in rest
        counts["missing"] += is_missing
        if IS_ALL or not is_missing or counts["missing"] % ALIKE == 1:
            points.append(Point(call, counts[call]))
    return sorted(points, key=lambda point: (calls.index(point.call), point.number))


def some_of(points: Sequence[Point], step: int) -> Sequence[Point]:
    """Each ``step``-th, where not all are wanted."""
    return points if IS_ALL else points[::step]


def copy_store(source: Path, target: Path) -> Path:
    """A closed store, copied."""
    shutil.copytree(source, target)
    return target
