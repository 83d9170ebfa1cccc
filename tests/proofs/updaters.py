"""Many processes that update files at once, and how long each of them waits.

python tests/proofs/updaters.py PROCESSES UPDATES PATHS
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from again import command_of
from crowd import FAILED, Forked, Say, place_for

from agent_world_distfs import LocalCasStore, Retry, Transaction

PATIENT = Retry(deadline_s=600, max_attempts=100_000)


@dataclass(frozen=True)
class Waits:
    """``calls``: how often the content was changed, for nothing included.

    ``share_s``: how long each would wait if all went round in turn. Where some come through again and again
    before others have had their turn, the median is that of the lucky ones, and says nothing.
    """

    updates: int
    calls: int
    median_s: float
    longest_s: float
    share_s: float


Update = Callable[[LocalCasStore, str, Callable[[bytes | None], bytes]], object]


def by_update_file(store: LocalCasStore, path: str, change: Callable[[bytes | None], bytes]) -> None:
    """One update."""
    store.update_file(path, change, retry=PATIENT)


def by_transaction(store: LocalCasStore, path: str, change: Callable[[bytes | None], bytes]) -> None:
    """The same in a transaction."""

    def fn(tx: Transaction) -> None:
        tx.write_file(path, change(tx.read_file(path) if tx.stat_file(path) else None))

    store.run_transaction(fn, retry=PATIENT)


def run(processes: int, updates: int, paths: int, update: Update = by_update_file) -> Waits:
    """AssertionError unless each update of each process counts once."""
    again = command_of(__file__, processes, updates, paths)
    with place_for("updaters") as place:
        root = place / "store"
        LocalCasStore(root).close()
        begin = time.monotonic() + 0.01 * processes  # all at once
        children = [
            Forked(lambda say, path=f"n/{number % paths}": _work(root, path, begin, updates, update, say))  # type: ignore[misc]
            for number in range(processes)
        ]
        lines = [line for child in children for line in child.hear_all()]
        for child in children:
            child.reap()
        for line in lines:
            assert not line.startswith(FAILED), f"{line.encode().decode('unicode_escape')}\n{again}"
        with LocalCasStore(root) as store:
            total = sum(int(store.read_file(file.path)) for file in store.list_files())
    assert total == processes * updates, f"{processes * updates} updates made {total}\n{again}"
    told = [json.loads(line) for line in lines]
    waits = [wait for each in told for wait in each["waits"]]
    calls = sum(each["calls"] for each in told)
    share_s = (max(each["ended"] for each in told) - begin) / updates
    return Waits(len(waits), calls, statistics.median(waits), max(waits), share_s)


def _work(root: Path, path: str, begin: float, updates: int, update: Update, say: Say) -> None:
    waits: list[float] = []
    calls = 0

    def change(content: bytes | None) -> bytes:
        nonlocal calls
        calls += 1
        return b"%d" % (int(content or b"0") + 1)

    with LocalCasStore(root, create=False, lock_timeout_s=600) as store:
        time.sleep(max(0.0, begin - time.monotonic()))
        for _ in range(updates):
            began = time.monotonic()
            update(store, path, change)
            waits.append(time.monotonic() - began)
    say(json.dumps({"waits": waits, "calls": calls, "ended": time.monotonic()}))


if __name__ == "__main__":
    print(run(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
