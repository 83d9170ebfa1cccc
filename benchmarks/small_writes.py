"""Durable small writes against a bare SQLite commit on the same disk, and against the store's own size.

    python benchmarks/small_writes.py [--rounds 5] [--writes 400] [--directory DIR] [--json]

A bare commit is ``BEGIN IMMEDIATE``, one row of 1 KiB, ``COMMIT`` with ``synchronous=FULL`` in WAL
mode through the same library. Each round interleaves single operations of all contestants, so that
whatever else the machine does hits them alike; a figure is the median of the rounds' medians.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from agent_world_distfs import LocalCasStore

SIZES = (1_000, 10_000, 100_000)
WITH_HISTORY = "the first, with history"


def bare_commit(directory: Path) -> Callable[[], None]:
    """A commit of one row, and nothing else."""
    connection = apsw.Connection(str(directory / "bare.db"))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, content BLOB)")

    def commit() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO rows (content) VALUES (?)", (os.urandom(1024),))
        connection.execute("COMMIT")

    return commit


def store_write(directory: Path, total_paths: int, *, keeps_history: bool = False) -> Callable[[], None]:
    """A write of 1 KiB to a random one of so many paths."""
    tree = directory / f"tree-{total_paths}-{keeps_history}"
    for number in range(total_paths):
        folder = tree / str(number // 1000)
        if number % 1000 == 0:
            folder.mkdir(parents=True)
        (folder / str(number % 1000)).write_bytes(b"%d" % number)
    store = LocalCasStore(directory / f"store-{total_paths}-{keeps_history}")
    store.import_tree(tree)
    store.set_setting("keep_history", keeps_history)

    def write() -> None:
        number = random.randrange(total_paths)
        store.write_file(f"{number // 1000}/{number % 1000}", os.urandom(1024))

    return write


def measure(contestants: dict[str, Callable[[], None]], rounds: int, writes: int) -> dict[str, float]:
    """Median of the medians, in microseconds."""
    medians: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(writes):
            for name, work in contestants.items():
                start = time.perf_counter()
                work()
                times[name].append(time.perf_counter() - start)
        for name, values in times.items():
            medians[name].append(statistics.median(values) * 1e6)
    return {name: statistics.median(values) for name, values in medians.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--writes", type=int, default=400)
    parser.add_argument("--directory", default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        contestants = {"bare commit": bare_commit(Path(name))}
        contestants |= {f"store of {size:,} paths": store_write(Path(name), size) for size in SIZES}
        contestants[WITH_HISTORY] = store_write(Path(name), SIZES[0], keeps_history=True)
        figures = measure(contestants, options.rounds, options.writes)
    bare, smallest = figures["bare commit"], figures[f"store of {SIZES[0]:,} paths"]
    if options.json:
        print(json.dumps(figures))
        return
    print(f"{'':24}{'us':>8}{'rate to bare':>14}{'to 1,000 paths':>16}")
    for contestant, figure in figures.items():
        print(f"{contestant:24}{figure:8.0f}{bare / figure:14.2f}{figure / smallest:16.2f}")


if __name__ == "__main__":
    main()
