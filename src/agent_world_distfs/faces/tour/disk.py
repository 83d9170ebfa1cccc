"""The directory that is toured, as the disk has it. Only read, and walked without help of the store."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from io import FileIO
from typing import Self

SLACK_NS = 2_000_000_000
"""How far the clock of a file system may be behind ours."""


class Disk:
    """A directory, entered by its descriptor; paths are below it. A symlink is never a file of it."""

    def __init__(self, directory: str) -> None:
        self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def walk(self, is_left_out: Callable[[str], bool] = lambda path: False) -> Iterator[tuple[str, bool]]:
        """Each path, and whether it is a regular file: the others cannot be stored, or not be listed.

        What is left out is not entered either.
        """
        pending = [""]
        while pending:
            below = pending.pop()
            entries = self._list(below)
            if entries is None:
                yield below, False
                continue
            for name, mode in entries:
                path = f"{below}/{name}" if below else name
                if is_left_out(path):
                    continue
                if stat.S_ISDIR(mode):
                    pending.append(path)
                else:
                    yield path, stat.S_ISREG(mode)

    def _list(self, below: str) -> list[tuple[str, int]] | None:
        try:
            descriptor = os.open(below or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root)
        except OSError:
            return None
        try:
            names = sorted(os.listdir(descriptor))
            return [(name, _mode(name, descriptor)) for name in names]
        finally:
            os.close(descriptor)

    def open(self, path: str) -> FileIO:
        """A regular file to read; an OSError if it cannot be read, or is none any more."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would make us wait
        descriptor = os.open(path, flags, dir_fd=self._root)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return FileIO(descriptor)
        os.close(descriptor)
        raise FileNotFoundError(path)

    def is_touched(self, path: str, since_ns: int) -> bool:
        """Whether the file, or its name, was changed since; so it was if it is gone."""
        try:
            status = os.stat(path, dir_fd=self._root, follow_symlinks=False)
        except OSError:
            return True
        return status.st_ctime_ns >= since_ns - SLACK_NS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)


def _mode(name: str, directory: int) -> int:
    """The kind of what is there; of what is gone already, none that can be stored."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except OSError:
        return 0


def as_told(path: str) -> str:
    """A path as reports of left out paths tell it: bytes that are no text are shown as escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")
