"""Files that the disk cannot read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest


class BadDisk:
    """Reading one of the files of ``inodes`` fails, wherever blobs are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inodes = set[int]()
        self._held: list[BinaryIO] = []
        self.code = errno.EIO
        self._read = os.pread
        monkeypatch.setattr(os, "pread", self._pread)

    def lose(self, file: Path) -> None:
        """Make a file unreadable, under whatever name."""
        self._held.append(file.open("rb"))  # or its number might be used again
        self.inodes.add(file.stat().st_ino)

    def close(self) -> None:
        for file in self._held:
            file.close()

    def _pread(self, descriptor: int, size: int, position: int) -> bytes:
        if os.fstat(descriptor).st_ino in self.inodes:
            raise OSError(self.code, os.strerror(self.code))
        return self._read(descriptor, size, position)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[BadDisk]:
    """The disk of the test."""
    disk = BadDisk(monkeypatch)
    yield disk
    disk.close()
