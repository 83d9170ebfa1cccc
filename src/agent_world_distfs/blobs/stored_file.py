"""The file of a blob, open for reading."""

from __future__ import annotations

import io
import os


class StoredFile(io.FileIO):
    """Reads at a position of its own: a forked child shares that of the descriptor."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes, which is a number; none at the end."""
        part = os.pread(self.fileno(), size or 0, self._position)
        self._position += len(part)
        return part

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Only to a position from the start."""
        assert whence == io.SEEK_SET
        self._position = offset
        return offset
