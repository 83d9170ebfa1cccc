"""The store beside its peers and its limits: the same corpus, interleaved rounds, medians with ratios.

    python benchmarks/compare.py [--rounds 5] [--files 10000] [--directory DIR] [--only WORK] [--write]

Peers take part where they are installed: git, and in the environment that runs this, dulwich, diskcache
and hashfs. They are no requirements of the project: put them into an environment of their own,

    python -m venv peers && peers/bin/pip install . dulwich diskcache hashfs
    peers/bin/python benchmarks/compare.py

Every run gets a fresh directory, nothing is deleted before the end (a file system that searches for
inodes freed a moment ago makes files up to ten times slower), everything is flushed before each timed
part, and each round takes the contestants in another order. ``--write`` puts the tables into
docs/benchmarks.md, between its marks.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import at_files  # noqa: F401  # enters its contestants
import at_trees  # noqa: F401
from contestants import FOUND, Contestant, Corpus

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- compare: begin -->\n", "<!-- compare: end -->\n"
MIB = 1 << 20
SETTLED_S = 3
"""What is older than this may be taken for unchanged by its times, by the store and by git."""

OURS = "distfs"
Figures = dict[str, dict[str, list[float]]]
"""Seconds by work and contestant."""


def make_corpus(place: Path, options: argparse.Namespace) -> Corpus:
    """Files of noise, no two alike, in directories of a hundred."""
    for name, count, size in (
        ("small", options.files, 1024),
        ("medium", options.medium_files, 64 << 10),
    ):
        for number in range(count):
            directory = place / name / str(number // 100)
            if number % 100 == 0:
                directory.mkdir(parents=True)
            (directory / str(number)).write_bytes(os.urandom(size))
    with (place / "large").open("wb") as file:
        for _ in range(options.large_mib):
            file.write(os.urandom(MIB))
    return Corpus(place / "small", place / "medium", place / "large", options.writes)


def measure(corpus: Corpus, place: Path, contestants: list[Contestant], rounds: int) -> Figures:
    figures: Figures = {}
    for number in range(rounds):
        order = list(contestants)
        random.Random(number).shuffle(order)
        for index, one in enumerate(order):
            directory = place / f"{number}-{index}"
            directory.mkdir()
            work = one.prepare(corpus, directory)
            os.sync()
            start = time.perf_counter()
            work()
            seconds = time.perf_counter() - start
            figures.setdefault(one.work, {}).setdefault(one.name, []).append(seconds)
        print(f"round {number + 1} of {rounds} is over", flush=True)
    return figures


def tables(figures: Figures, contestants: list[Contestant]) -> str:
    """One for each work. The ratio: the time of the store to that of the contestant; below 1 it is ahead."""
    lines = []
    for work in dict.fromkeys(one.work for one in contestants):
        ours = statistics.median(figures[work][OURS])
        lines += [f"### {work[0].upper()}{work[1:]}", ""]
        lines += ["| contestant | settings | median | least to most | store to it |", "|---|---|---|---|---|"]
        for one in (one for one in contestants if one.work == work):
            times = figures[work][one.name]
            median, spread = statistics.median(times), f"{shown(min(times))} to {shown(max(times))}"
            lines.append(
                f"| {one.name} | {one.settings} | {shown(median)} | {spread} | {ours / median:.2f} |"
            )
        lines.append("")
    return "\n".join(lines)


def shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def described(place: Path, options: argparse.Namespace) -> str:
    """What ran where."""
    kind = subprocess.run(
        ["stat", "--file-system", "--format=%T", place], capture_output=True, text=True, check=False
    ).stdout.strip()
    peers = [f"{name} {found}" for name in ("dulwich", "diskcache", "hashfs") if (found := version_of(name))]
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    machine = f"{os.cpu_count()} cores, {kind or 'unknown file system'}, {platform.system()}"
    sizes = (
        f"{options.files:,} files of 1 KiB, {options.medium_files:,} of 64 KiB, "
        f"one of {options.large_mib:,} MiB, {options.writes:,} single writes"
    )
    system = f"{machine} {platform.release().split('-')[0]}"
    return (
        f"`python benchmarks/compare.py`: {sizes}; {options.rounds} rounds. {system}, "
        f"Python {platform.python_version()}, {', '.join([git, *peers])}.\n"
    )


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def write_page(text: str) -> None:
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{text}{END}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=10_000, help="small ones, of 1 KiB")
    parser.add_argument("--medium-files", type=int, default=2_000, help="of 64 KiB")
    parser.add_argument("--large-mib", type=int, default=1_024)
    parser.add_argument("--writes", type=int, default=1_000)
    parser.add_argument(
        "--directory", default=None, help="where to work; its file system is what is measured"
    )
    parser.add_argument("--only", default="", help="only works whose name contains this")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args()
    contestants = [one for one in FOUND if options.only in one.work]
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        place = Path(name)
        subprocess.run(["chattr", "+T", name], capture_output=True, check=False)  # ext4: spread directories
        corpus = make_corpus(place, options)
        time.sleep(SETTLED_S)
        figures = measure(corpus, place, contestants, options.rounds)
        text = described(place, options) + "\n" + tables(figures, contestants)
    print(text)
    if options.write:
        write_page(text)


if __name__ == "__main__":
    main()
