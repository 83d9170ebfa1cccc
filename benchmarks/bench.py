"""Where everything is measured: the corpus, fresh directories, and what is made once and used by many.

No mass of files is deleted before the end: a file system that searches for inodes freed a moment ago
makes files up to ten times slower.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

MIB = 1 << 20
SETTLED_S = 3
"""What is older than this may be taken for unchanged by its times, by the store and by git."""


@dataclass(frozen=True)
class Scale:
    """How much of everything. ``seconds``: how long the works go on that have no other end."""

    files: int = 10_000
    medium_files: int = 2_000
    large_mib: int = 1_024
    writes: int = 2_000
    paths: int = 1_000_000
    seconds: float = 3.0

    def times(self, factor: float) -> Scale:
        """So much of it, and of nothing none."""
        sizes = ("files", "medium_files", "large_mib", "writes", "paths")
        smaller = {name: max(4, round(getattr(self, name) * factor)) for name in sizes}
        return replace(self, **smaller, seconds=self.seconds * factor)


class Bench:
    """One place to work in, with what the rows share."""

    def __init__(self, place: Path, scale: Scale) -> None:
        self.scale = scale
        self.place = place
        self._made: dict[str, object] = {}
        self._directories = 0
        with contextlib.suppress(FileNotFoundError):  # ext4: spread directories; elsewhere it fails
            subprocess.run(["chattr", "+T", place], capture_output=True, check=False)

    def fresh_directory(self) -> Path:
        self._directories += 1
        directory = self.place / f"work-{self._directories}"
        directory.mkdir()
        return directory

    def once(self, key: str, make: Callable[[Path], T]) -> T:
        """What ``make`` returned when it was first asked for; it gets a directory of its own."""
        if key not in self._made:
            self._made[key] = make(self.fresh_directory())
        return self._made[key]  # type: ignore[return-value]

    # --- the corpus: noise, no two files alike -------------------------------------------------

    @property
    def small(self) -> Path:
        """A tree of files of 1 KiB, a hundred to a directory."""
        return self.once("small", lambda place: settled(make_tree(place, self.scale.files, 1024)))

    @property
    def medium(self) -> Path:
        """A tree of files of 64 KiB."""
        return self.once("medium", lambda place: make_tree(place, self.scale.medium_files, 64 << 10))

    @property
    def large(self) -> Path:
        """One file."""
        return self.once("large", lambda place: make_file(place / "large", self.scale.large_mib))

    @property
    def shuffled(self) -> list[str]:
        """The paths of the small tree, in an order that is the same each time."""
        paths = sorted(path for path, _ in files_of(self.small))
        random.Random(1).shuffle(paths)
        return paths


def make_tree(root: Path, count: int, size_bytes: int) -> Path:
    for number in range(count):
        directory = root / str(number // 100)
        if number % 100 == 0:
            directory.mkdir(parents=True)
        (directory / str(number)).write_bytes(os.urandom(size_bytes))
    os.sync()
    return root


def settled(root: Path) -> Path:
    time.sleep(SETTLED_S)
    return root


def make_file(path: Path, size_mib: int) -> Path:
    with path.open("wb") as file:
        for _ in range(size_mib):
            file.write(os.urandom(MIB))
    os.sync()
    return path


def files_of(root: Path) -> Iterator[tuple[str, Path]]:
    """Path below the root, and where it is."""
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            yield path.relative_to(root).as_posix(), path
