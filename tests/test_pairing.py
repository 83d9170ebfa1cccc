"""Two states of the index, side by side, in every way in which few paths can stand in them."""

from __future__ import annotations

from itertools import product

import pytest

from agent_world_distfs.engine.pairing import paired
from agent_world_distfs.protocols import PathChange
from agent_world_distfs.records import FileMetadata

PATHS = ("a", "a/b", "b", "é", "\U00010000")
HELD = (None, "0" * 64, "1" * 64)


def state(held: tuple[str | None, ...]) -> list[FileMetadata]:
    return [
        FileMetadata(path, name, 1, 2) for path, name in zip(PATHS, held, strict=True) if name is not None
    ]


@pytest.mark.parametrize("before", [*product(HELD, repeat=2)])
def test_each_path_of_either_comes_once_with_what_both_hold(before: tuple[str | None, ...]) -> None:
    for others in product(HELD[:2], repeat=3):
        for after in product(HELD[:2], repeat=5):
            old = {file.path: file for file in state((*before, *others))}
            new = {file.path: file for file in state(after)}
            expected = [
                PathChange(path, old.get(path), new.get(path)) for path in PATHS if path in {*old, *new}
            ]
            assert list(paired(old.values(), new.values())) == expected
