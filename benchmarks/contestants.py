"""Who is compared at what: each a function that gets a fresh directory and returns what is timed.

``settings`` says what of it is durable when the timed part has ended: figures of different promises stand
side by side, and are no race.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Timed = Callable[[], object]
MIB = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """What all of them work on. ``small``, ``medium``: directories; ``large``: a file."""

    small: Path
    medium: Path
    large: Path
    writes: int


@dataclass(frozen=True)
class Contestant:
    """One way to do a work. ``prepare``: from the corpus and an empty directory to what is timed."""

    work: str
    name: str
    settings: str
    prepare: Callable[[Corpus, Path], Timed]


FOUND: list[Contestant] = []
DURABLE = "durable"
UNFLUSHED = "no flush"


def contestant(
    work: str, name: str, settings: str, *, needs: str = ""
) -> Callable[[Callable[[Corpus, Path], Timed]], Callable[[Corpus, Path], Timed]]:
    """Enters one, where what it needs is installed: a module, or a command with ``$`` before it."""

    def enter(prepare: Callable[[Corpus, Path], Timed]) -> Callable[[Corpus, Path], Timed]:
        is_command = needs.startswith("$")
        found = shutil.which(needs[1:]) if is_command else not needs or importlib.util.find_spec(needs)
        if found:
            FOUND.append(Contestant(work, name, settings, prepare))
        return prepare

    return enter


def files_of(root: Path) -> Iterator[tuple[str, Path]]:
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            yield path.relative_to(root).as_posix(), path


def flush_file_system(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(descriptor)


def run(*command: str | Path, cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)


def open_cache(place: Path) -> Any:
    import diskcache

    return diskcache.Cache(str(place / "cache"), eviction_policy="none", cull_limit=0, size_limit=1 << 40)


def fill_cache(cache: Any, tree: Path) -> None:
    with cache.transact():
        for path, file in files_of(tree):
            cache.set(path, file.read_bytes())
