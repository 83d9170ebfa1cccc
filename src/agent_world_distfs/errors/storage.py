"""Fix the disk."""

from __future__ import annotations

from agent_world_distfs.errors.base import WorldError


class StorageError(WorldError):
    """The storage below the store failed; nothing was acknowledged."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class StorageFullError(StorageError):
    """No space is left, or a quota or size limit is reached.

    A limit on the size of files that a commit itself runs into is OutcomeUnknownError: what the log holds
    beyond the limit may be just what was to be written there.
    """


class StorageReadOnlyError(StorageError):
    """The store, or the file system below it, is not writable."""


class StorageIOError(StorageError):
    """The device or file system reported an input or output error."""
