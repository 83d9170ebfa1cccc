"""Runs the long proofs and puts on record what they came to; goes on where it was left.

    python3 tests/proofs/release.py [--minutes M] [--only FIGURE] [--jobs N]

Takes turns among the figures of ``docs/proofs.md`` that have not reached their goals with the present
``src/``, a part of about a minute at a time, each in a process of its own, N beside each other. Ctrl-C loses
the parts that run. After a part that failed none begins; what it says names the seed and the line that runs
it again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]

from figures import FIGURES  # noqa: E402
from record import Row, add, is_reached, next_seed, reached, read, save, written  # noqa: E402

PAGE = ROOT / "docs" / "proofs.md"


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def machine() -> str:
    """Cores, kernel, file system of temporary files; nothing that tells which machine it is."""
    release = re.match(r"\d+\.\d+", platform.release())
    system = f"{platform.system()} {release[0] if release else ''}".strip()
    return f"{os.cpu_count()} cores, {system}, {_file_system(tempfile.gettempdir())}"


def _file_system(path: str) -> str:
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "unknown file system"
    rows = [line.split() for line in mounts.read_text().splitlines()]
    path = os.path.realpath(path)
    holding = [row for row in rows if os.path.commonpath([row[1], path]) == row[1]]
    return max(holding, key=lambda row: len(row[1]))[2]


def do(name: str, seed: int) -> dict[str, int] | None:
    """One part, in a process of its own; None if it failed."""
    command = [sys.executable, __file__, "--part", name, str(seed)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return None
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts


def run(minutes: float, only: str | None, jobs: int) -> int:
    """Do parts until the time is up; the exit code."""
    if git("status", "--porcelain", "src"):
        print("src/ has changes that are in no commit: what is on record must name one")
        return 2
    commit, tree = git("rev-parse", "--short=12", "HEAD"), git("rev-parse", "--short=12", "HEAD:src")
    page = PAGE.read_text("utf-8")
    save(PAGE, written(page, read(page), tree))
    shift = Shift([only] if only else list(FIGURES), commit, tree, time.monotonic() + 60 * minutes)
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(Shift.work, [shift] * jobs))
    print("a part failed" if shift.has_failed else "the time is up, or all goals are reached")
    return int(shift.has_failed)


class Shift:
    """Parts that are done beside each other, each of another figure, so that seeds follow each other."""

    def __init__(self, names: list[str], commit: str, tree: str, end: float) -> None:
        self._commit = commit
        self._tree = tree
        self._end = end
        self._lock = Lock()
        self._waiting = deque(names)
        self.has_failed = False

    def work(self) -> None:
        """Do one part after the other."""
        while (part := self._take()) is not None:
            name, seed = part
            started = time.monotonic()
            counts = do(name, seed)
            took = f"{time.monotonic() - started:.0f} s"
            with self._lock:
                if counts is None:
                    self.has_failed = True
                    again = f".venv/bin/python tests/proofs/release.py --part '{name}' {seed}"
                    print(f"{name}, seed {seed}: failed after {took}. again: {again}", flush=True)
                    return
                print(f"{name}, seed {seed}: {counts} in {took}", flush=True)
                self._record(name, seed, counts)
                self._waiting.append(name)

    def _take(self) -> tuple[str, int] | None:
        """The part that comes next; None if there is none, or no time."""
        with self._lock:
            while self._waiting and not self.has_failed and time.monotonic() < self._end:
                name, rows = self._waiting.popleft(), read(PAGE.read_text("utf-8"))
                seed = next_seed(rows, name, self._tree)
                if seed <= FIGURES[name].most and not is_reached(
                    FIGURES[name], reached(rows, name, self._tree)
                ):
                    return name, seed
        return None

    def _record(self, name: str, seed: int, counts: dict[str, int]) -> None:
        page = PAGE.read_text("utf-8")
        goals = {what: counts[what] for what in FIGURES[name].goals}
        extra = {what: counts[what] for what in ("acknowledged", "points", "schedules") if what in counts}
        row = Row(name, seed, seed, self._commit, self._tree, machine(), goals | extra)
        save(PAGE, written(page, add(read(page), row), self._tree))


def _in_the_environment() -> None:
    """Become the Python of the project's environment, which has what the harnesses need."""
    python = ROOT / ".venv" / "bin" / "python"
    if python.exists() and Path(sys.prefix) != ROOT / ".venv":
        os.execv(python, [str(python), *sys.argv])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--only", choices=FIGURES)
    parser.add_argument("--jobs", type=int, default=1, help="how many parts are done beside each other")
    parser.add_argument("--part", nargs=2, metavar=("FIGURE", "SEED"), help="do one part and record nothing")
    chosen = parser.parse_args()
    _in_the_environment()
    if chosen.part:
        name, seed = chosen.part
        print(json.dumps(dict(FIGURES[name].part(int(seed)))))
        return 0
    return run(chosen.minutes, chosen.only, chosen.jobs)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
