"""Small durable writes by the threads of one process, which share commits.

The ceiling is what Python does for a write with the lock of its interpreter held: what one thread does
without a flush shows it.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from agent_world_distfs import LocalCasStore
from benchmarks.bench import Bench
from benchmarks.contest import DURABLE, OURS, Prepare, Timed, row
from benchmarks.peers import commit_rows, open_sqlite

THREADS = row("threads", "durable writes of 1 KiB by 16 threads", each="writes")
ALONE = "distfs, one thread"
THREADS.goal("at least 2.5 times the rate of one thread", to=ALONE, at_least=2.5, is_rate=True)


def _with_threads(threads: int, durability: Literal["full", "relaxed"] = "full") -> Prepare:
    def prepare(bench: Bench, place: Path) -> Timed:
        store = LocalCasStore(place / "store", durability=durability)
        pool = ThreadPoolExecutor(threads)

        def write(first: int) -> None:
            for number in range(first, bench.scale.writes, threads):
                store.write_file(f"{number % 100}/{number}", os.urandom(1024))

        list(pool.map(abs, range(threads)))  # the threads are there before time is taken
        return lambda: list(pool.map(write, range(threads)))

    return prepare


for _name, _threads in ((OURS, 16), ("distfs, 4 threads", 4), (ALONE, 1)):
    THREADS.contestant(_name, DURABLE)(_with_threads(_threads))


THREADS.contestant("distfs, one thread, relaxed", "the last commits not flushed")(_with_threads(1, "relaxed"))


@THREADS.contestant("bare SQLite commits of 16 rows", "durable: WAL, synchronous=FULL; no threads")
def _commits(bench: Bench, place: Path) -> Timed:
    connection = open_sqlite(place)
    contents = [os.urandom(1024) for _ in range(16)]
    return lambda: [commit_rows(connection, contents) for _ in range(bench.scale.writes // 16)]
