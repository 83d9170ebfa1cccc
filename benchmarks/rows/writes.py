"""Small durable writes, one after the other."""

from __future__ import annotations

import os
from pathlib import Path

from agent_world_distfs import LocalCasStore
from benchmarks.bench import Bench
from benchmarks.contest import DURABLE, OURS, Timed, row
from benchmarks.peers import commit_rows, open_cache, open_sqlite

KEPT = "distfs, history kept"

WRITES = row("writes", "durable writes of 1 KiB, one by one", each="writes")
WRITES.goal(
    "at least 0.85 of the rate of a bare commit", to="bare SQLite commits", at_least=0.85, is_rate=True
)
WRITES.goal("with a history kept at most 1.15 times the time without", of=KEPT, to=OURS, at_most=1.15)


@WRITES.contestant(OURS, DURABLE)
def _writes(bench: Bench, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    return lambda: [store.write_file(f"{n % 100}/{n}", os.urandom(1024)) for n in range(bench.scale.writes)]


@WRITES.contestant(KEPT, DURABLE)
def _kept_writes(bench: Bench, place: Path) -> Timed:
    store = LocalCasStore(place / "store")
    store.set_setting("keep_history", value=True)
    return lambda: [store.write_file(f"{n % 100}/{n}", os.urandom(1024)) for n in range(bench.scale.writes)]


@WRITES.contestant("bare SQLite commits", "durable: WAL, synchronous=FULL")
def _commits(bench: Bench, place: Path) -> Timed:
    connection = open_sqlite(place)
    return lambda: [commit_rows(connection, [os.urandom(1024)]) for _ in range(bench.scale.writes)]


@WRITES.contestant("write + fsync", "the file is durable, its name not")
def _fsyncs(bench: Bench, place: Path) -> Timed:
    def write(number: int) -> None:
        descriptor = os.open(place / str(number), os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, os.urandom(1024))
        os.fsync(descriptor)
        os.close(descriptor)

    return lambda: [write(number) for number in range(bench.scale.writes)]


@WRITES.contestant("diskcache", "not durable: SQLite synchronous=NORMAL", needs="diskcache")
def _cache_writes(bench: Bench, place: Path) -> Timed:
    cache = open_cache(place)
    return lambda: [cache.set(f"{n % 100}/{n}", os.urandom(1024)) for n in range(bench.scale.writes)]
