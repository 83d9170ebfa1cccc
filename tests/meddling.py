"""Files that somebody changes while an import reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO, Self

import pytest

from agent_world_distfs.operations.tree_in import carrying, regular


class Meddled:
    """A file that somebody changes while it is read: after the first bytes, before the last."""

    def __init__(self, source: BinaryIO, meddle: Callable[[], object]) -> None:
        self._source = source
        self._meddle = meddle

    def read(self, size: int) -> bytes:
        data = self._source.read((size + 1) // 2)
        self._meddle()
        return data + self._source.read(size - len(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()


def meddle_with(
    monkeypatch: pytest.MonkeyPatch, name: bytes, meddle: Callable[[], object], times: int | None = None
) -> None:
    """Change a file each of the first ``times`` times that it is read."""
    left = [times]
    genuine = regular.open_regular

    def open_regular(directory: int, wanted: bytes) -> Any:
        source = genuine(directory, wanted)
        if wanted != name or left[0] == 0 or source is None:
            return source
        left[0] = None if left[0] is None else left[0] - 1
        return Meddled(source, meddle)

    monkeypatch.setattr(carrying, "open_regular", open_regular)
