"""Small durable writes by four processes: how long the unlucky ones wait, and whether all get their share."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.child import start_step
from benchmarks.contest import DURABLE, OURS, Figures, Prepare, Timed, row

PROCESSES = row("processes", "durable writes of 1 KiB by 4 processes")
POLLING = "bare SQLite commits, polling"
PROCESSES.goal(
    "99th percentile of whoever comes off worst at most half of polling's",
    to=POLLING,
    at_most=0.5,
    figures=("p99_ms", "p99_ms"),
)
PROCESSES.goal(
    "each process at least 0.7 of its share",
    to="",
    at_least=0.7,
    figures=("smallest share", "smallest share"),
)
WRITERS = 4


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def _with_processes(step: str) -> Prepare:
    """Each child writes for a while, all at the same time, and tells what each write took."""

    def prepare(bench: Bench, place: Path) -> Timed:
        children = [start_step(step, place, bench.scale.seconds) for _ in range(WRITERS)]

        def work() -> Figures:
            for child in children:
                child.begin()
            taken = [child.end()["times_ms"] for child in children]
            times = sorted(time for times in taken for time in times)
            return {
                "writes a second": len(times) / bench.scale.seconds,
                "median_ms": statistics.median(times),
                "p99_ms": max(map(_p99, taken)),  # of all together it is that of who need not wait
                "longest_ms": times[-1],
                "smallest share": min(map(len, taken)) / (len(times) / WRITERS),
            }

        return work

    return prepare


PROCESSES.contestant(OURS, DURABLE)(_with_processes("write_for"))
PROCESSES.contestant(POLLING, "durable: WAL, synchronous=FULL; SQLite's busy handler")(
    _with_processes("commit_for")
)
