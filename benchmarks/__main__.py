"""The store beside its peers and its limits: the same corpus, interleaved rounds, medians with ratios.

    python -m benchmarks [--rows import,again] [--rounds 5] [--scale 1] [--keep --write]

Peers take part where they are installed; a line says of each that is missing what it needs. They are no
requirements of the project: the dependency group ``bench`` has those for Python, Debian has ``git``,
``borgbackup`` and ``restic``, npm has ``cacache`` (found through ``NODE_PATH``).

    python -m venv peers && peers/bin/pip install . --group bench && peers/bin/python -m benchmarks

``--keep`` puts the raw figures of each row into docs/benchmarks/figures.json (``--results`` names another
file) as soon as the row is done, ``--resume`` leaves out the rows that are there, and ``--write`` makes the
page docs/benchmarks.md, between its marks, and the plots from them; ``--rows none`` measures nothing.
A figure of a busy machine is none: ``--calm 1.5`` waits before each row until the load is less, for ten
minutes at the most.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import benchmarks.rows  # noqa: F401  # enters them
from benchmarks import page, plots
from benchmarks.bench import Bench, Scale
from benchmarks.contest import ROWS, Row
from benchmarks.results import Result, describe_system, load, save

CALM_WAIT_S = 600


def main() -> None:
    options = parsed()
    results = load(options.results) if options.results.exists() else {}
    scale = Scale().times(options.scale)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as name:
        bench = Bench(Path(name), scale)
        for row in chosen(options.rows):
            if options.resume and is_there(results.get(row.key), scale, options.rounds):
                continue
            results[row.key] = measure(row, bench, options)
            print(page.row_text(row, results[row.key]), flush=True)
            if options.keep:
                save(results, options.results)
    print(page.goals_text(ROWS, results))
    if options.write:
        page.write(ROWS, results, plots.draw(ROWS, results, page.PLACE))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", default="", help=f"of {', '.join(ROWS)}; or none; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="0.01: a hundredth of everything")
    parser.add_argument("--directory", default=None, help="its file system is what is measured")
    parser.add_argument("--results", type=Path, default=page.PLACE / "figures.json", help="raw figures")
    parser.add_argument("--keep", action="store_true", help="keep the raw figures")
    parser.add_argument("--resume", action="store_true", help="leave out rows that are there")
    parser.add_argument("--write", action="store_true", help="write page and plots from what is kept")
    parser.add_argument("--calm", type=float, default=float("inf"), metavar="LOAD", help="wait for less load")
    return parser.parse_args()


def chosen(names: str) -> list[Row]:
    if names == "none":
        return []
    unknown = set(filter(None, names.split(","))) - set(ROWS)
    if unknown:
        sys.exit(f"no such rows: {', '.join(sorted(unknown))}")
    return [row for row in ROWS.values() if not names or row.key in names.split(",")]


def is_there(result: Result | None, scale: Scale, rounds: int) -> bool:
    return result is not None and result.scale == asdict(scale) and result.rounds >= rounds


def measure(row: Row, bench: Bench, options: argparse.Namespace) -> Result:
    wait_for_calm(options.calm)
    load_before = os.getloadavg()[0]
    print(f"{row.key}: {row.title}; load {load_before:.2f}", flush=True)
    missing = {one.name: one.missing for one in row.contestants if one.missing}
    for name, needs in missing.items():
        print(f"  without {name}: {needs.lstrip('$')} is not installed", flush=True)
    samples = row.measure(bench, options.rounds)
    load_after = os.getloadavg()[0]
    system = describe_system(bench.place)
    return Result(options.rounds, asdict(bench.scale), (load_before, load_after), system, missing, samples)


def wait_for_calm(most: float) -> None:
    end = time.monotonic() + CALM_WAIT_S
    while os.getloadavg()[0] >= most and time.monotonic() < end:
        time.sleep(5)


if __name__ == "__main__":
    main()
