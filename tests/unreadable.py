"""Files that the disk cannot read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

CALLS = ("rename", "stat", "open", "pread")


class BadDisk:
    """Reading one of the files of ``inodes`` fails, wherever blobs are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inodes = set[int]()
        self._held: list[BinaryIO] = []
        self.code = errno.EIO
        self.fails_at = "pread"
        self._read, self._open, self._stat = os.pread, os.open, os.stat
        monkeypatch.setattr(os, "pread", self._pread)
        monkeypatch.setattr(os, "open", self._open_file)
        monkeypatch.setattr(os, "stat", self._look)
        self._rename_file = os.rename
        monkeypatch.setattr(os, "rename", self._rename)

    def lose(self, file: Path) -> None:
        """Make a file unreadable, under whatever name; ``fails_at`` a call, and at those after it."""
        self._held.append(file.open("rb"))  # or its number might be used again
        self.inodes.add(file.stat().st_ino)

    def close(self) -> None:
        for file in self._held:
            file.close()

    def _pread(self, descriptor: int, size: int, position: int) -> bytes:
        if os.fstat(descriptor).st_ino in self.inodes:
            raise OSError(self.code, os.strerror(self.code))
        return self._read(descriptor, size, position)

    def _open_file(self, path: Any, *args: Any, **kwargs: Any) -> int:
        if self.fails_at in CALLS[:3]:
            self._fail_for(path)
        return self._open(path, *args, **kwargs)

    def _look(self, path: Any, **kwargs: Any) -> os.stat_result:
        if self.fails_at in CALLS[:2]:
            self._fail_for(path)
        return self._stat(path, **kwargs)

    def _rename(self, old: Any, new: Any, **kwargs: Any) -> None:
        if self.fails_at in CALLS[:1]:
            self._fail_for(old)
            self._fail_for(new)
        self._rename_file(old, new, **kwargs)

    def _fail_for(self, path: Any) -> None:
        is_blob = isinstance(path, str) and "/blobs/" in path and os.path.lexists(path)
        if is_blob and os.lstat(path).st_ino in self.inodes:
            raise OSError(self.code, os.strerror(self.code), path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[BadDisk]:
    """The disk of the test."""
    disk = BadDisk(monkeypatch)
    yield disk
    disk.close()
