"""What a change demands of a path."""

from __future__ import annotations

from agent_world_distfs.errors import FileConflictError
from agent_world_distfs.hashing import check_hash
from agent_world_distfs.records import ABSENT, Absent, Expected, FileMetadata


def check_form(expected: Expected) -> Expected:
    """Return ``expected`` if a path can be expected to hold it."""
    if expected is None or expected is ABSENT:
        return expected
    if isinstance(expected, Absent | str):
        return check_hash(expected)
    raise TypeError(f"expected_content_hash is a hash, ABSENT or None, not {type(expected).__name__}")


def check_expected(path: str, expected: Expected, actual: FileMetadata | None) -> None:
    """Raise FileConflictError unless the path holds what is expected; None expects nothing."""
    if expected is None:
        return
    if expected is ABSENT:
        if actual is not None:
            raise FileConflictError(path, expected, actual)
    elif actual is None or actual.content_hash != expected:
        raise FileConflictError(path, expected, actual)
