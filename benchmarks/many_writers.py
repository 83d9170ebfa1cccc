"""Durable small writes by many threads of one process, which share commits, against one thread alone.

    python benchmarks/many_writers.py [--rounds 5] [--seconds 1] [--threads 1 4 16] [--directory DIR] [--json]

Each round gives every number of threads its time, one after the other, on one store of 10,000 paths; each
thread writes 1 KiB to random paths, one ``write_file`` after the other. A figure is the median of the
rounds. The ceiling is what Python does for a write with the lock of its interpreter held, which ``no
flush`` shows: the same by one thread without a flush.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Literal

from agent_world_distfs import LocalCasStore

PATHS = 10_000
UNFLUSHED = "no flush"


def make_store(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.write_files((f"{number}", b"%d" % number) for number in range(PATHS))


def rate(location: Path, threads: int, seconds: float, durability: Literal["full", "relaxed"]) -> float:
    """Acknowledged writes in a second, by all threads together."""
    counts = [0] * threads
    begin, is_over = threading.Barrier(threads + 1), threading.Event()

    def work(number: int) -> None:
        paths = random.Random(number)
        begin.wait()
        while not is_over.is_set():
            store.write_file(f"{paths.randrange(PATHS)}", os.urandom(1024))
            counts[number] += 1

    with LocalCasStore(location, durability=durability) as store:
        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        begin.wait()
        start = time.perf_counter()
        time.sleep(seconds)
        is_over.set()
        for worker in workers:
            worker.join()
        return sum(counts) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--directory", default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        location = Path(name) / "store"
        make_store(location)
        for _ in range(options.rounds):
            for threads in options.threads:
                found = rate(location, threads, options.seconds, "full")
                rates.setdefault(f"{threads}", []).append(found)
            rates.setdefault(UNFLUSHED, []).append(rate(location, 1, options.seconds, "relaxed"))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    if options.json:
        print(json.dumps(medians))
        return
    first = medians[str(options.threads[0])]
    print(f"{'threads':12}{'writes a second':>18}{'to the first':>14}")
    for name, median in medians.items():
        print(f"{name:12}{median:18,.0f}{median / first:14.2f}")


if __name__ == "__main__":
    main()
