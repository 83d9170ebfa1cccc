"""A store of 1,000,000 paths: what a write costs there, and what it costs to handle all of them."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import time
from pathlib import Path

from agent_world_distfs import FileIndexManifestRef, LocalCasStore
from benchmarks.bench import Bench
from benchmarks.child import in_child, start_step
from benchmarks.contest import DURABLE, OURS, Figures, Prepare, Timed, row
from benchmarks.peers import commit_rows, open_sqlite

LATENCY = row("latency", "one durable write of 1 KiB, by the paths there are")
FEW = "1,000 paths"
LATENCY.goal(
    "at most 1.2 times that at 1,000 paths",
    of="1,000,000 paths",
    to=FEW,
    at_most=1.2,
    figures=("median_us",) * 2,
)
EXPORT = row("many-export", "export of 1,000,000 files", each="paths")
EXPORT.goal("at most 5 us a file", to="", at_most=5, figures=("us_each", ""))
EXPORT.goal("within 512 MiB", to="", at_most=512, figures=("memory_mib", ""))
IMPORT = row("many-import", "import of 1,000,000 small files from a manifest, verified", each="paths")
IMPORT.goal("at most 30 us a file", to="", at_most=30, figures=("us_each", ""))
IMPORT.goal("within 512 MiB", to="", at_most=512, figures=("memory_mib", ""))
IMPORT.goal("holds the write lock for at most 50 ms", to="", at_most=50, figures=("longest lock_ms", ""))
AUDIT = row("many-audit", "audit of 1,000,000 files, without content", each="paths")
AUDIT.goal("at most 3 us a file", to="", at_most=3, figures=("us_each", ""))
AUDIT.goal("within 256 MiB", to="", at_most=256, figures=("memory_mib", ""))

# --- a write in stores of different sizes -----------------------------------------------------


def _writes_at(share: float) -> Prepare:
    """A store that stays from round to round: filling it takes too long."""

    def prepare(bench: Bench, _: Path) -> Timed:
        paths = max(4, round(bench.scale.paths * share))
        store = bench.once(f"store of {paths}", lambda place: _filled(place, paths))

        def write(number: int) -> float:
            start = time.perf_counter()
            store.write_file(path_of(number), os.urandom(1024))
            return time.perf_counter() - start

        def work() -> Figures:
            times = [write(random.randrange(paths)) for _ in range(bench.scale.writes)]
            return {"median_us": statistics.median(times) * 1e6}

        return work

    return prepare


for _name, _share in ((FEW, 0.001), ("10,000 paths", 0.01), ("100,000 paths", 0.1), ("1,000,000 paths", 1)):
    LATENCY.contestant(_name, DURABLE)(_writes_at(_share))


@LATENCY.contestant("bare SQLite commits", "durable: WAL, synchronous=FULL")
def _commits(bench: Bench, place: Path) -> Timed:
    connection = open_sqlite(place)

    def commit() -> float:
        start = time.perf_counter()
        commit_rows(connection, [os.urandom(1024)])
        return time.perf_counter() - start

    return lambda: {"median_us": statistics.median(commit() for _ in range(bench.scale.writes)) * 1e6}


def path_of(number: int) -> str:
    return f"{number // 1000:05}/{number % 1000:03}"


def _filled(place: Path, paths: int) -> LocalCasStore:
    store = LocalCasStore(place / "store")
    store.write_files((path_of(number), b"%d" % number) for number in range(paths))
    return store


# --- all of them, each in a process of its own ------------------------------------------------


def _source(bench: Bench) -> tuple[Path, FileIndexManifestRef]:
    """A closed store that holds all blobs and their manifest, pinned, and whose index names them."""

    def make(place: Path) -> tuple[Path, FileIndexManifestRef]:
        with _filled(place, bench.scale.paths) as store:
            return place / "store", store.export_file_index_manifest(pin=True)

    return bench.once("all paths", make)


def _emptied(bench: Bench) -> tuple[Path, FileIndexManifestRef]:
    """The same with an empty index."""

    def make(place: Path) -> tuple[Path, FileIndexManifestRef]:
        source, ref = _source(bench)
        shutil.copytree(source, place / "store")
        in_child("empty", place / "store")
        return place / "store", ref

    return bench.once("no paths", make)


@EXPORT.contestant(OURS, DURABLE)
def _export(bench: Bench, _: Path) -> Timed:
    return start_step("export", _source(bench)[0]).run


@IMPORT.contestant(OURS, DURABLE)
def _import(bench: Bench, place: Path) -> Timed:
    source, ref = _emptied(bench)
    shutil.copytree(source, place / "store")
    return start_step("import_", place / "store", str(ref)).run


@AUDIT.contestant(OURS, "checksums of all entries")
def _audit(bench: Bench, _: Path) -> Timed:
    return start_step("audit", _source(bench)[0]).run


@AUDIT.contestant("distfs, iter_files", "")
def _iterate(bench: Bench, _: Path) -> Timed:
    return start_step("iterate", _source(bench)[0]).run


@AUDIT.contestant("distfs, list_files", "")
def _list(bench: Bench, _: Path) -> Timed:
    return start_step("list_", _source(bench)[0]).run
