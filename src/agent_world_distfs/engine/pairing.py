"""Two states of the index, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent_world_distfs.protocols import PathChange
from agent_world_distfs.records import FileMetadata


def paired(before: Iterable[FileMetadata], after: Iterable[FileMetadata]) -> Iterator[PathChange]:
    """Each path that either has, also where both hold the same; all ascend by the bytes of the path."""
    old, new = iter(before), iter(after)
    mine, theirs = next(old, None), next(new, None)
    while mine is not None or theirs is not None:
        if theirs is None or (mine is not None and mine.path.encode() < theirs.path.encode()):
            assert mine is not None
            yield PathChange(mine.path, mine, None)
            mine = next(old, None)
        elif mine is None or theirs.path.encode() < mine.path.encode():
            yield PathChange(theirs.path, None, theirs)
            theirs = next(new, None)
        else:
            yield PathChange(mine.path, mine, theirs)
            mine, theirs = next(old, None), next(new, None)
