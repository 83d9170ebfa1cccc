"""Fix the call."""

from __future__ import annotations

from agent_world_distfs.errors.base import WorldError


class InvalidInputError(WorldError, ValueError):
    """The call itself is wrong; nothing was done."""


class BlobHashInvalidError(InvalidInputError):
    """Not a content hash: that is 64 lowercase hexadecimal characters."""

    def __init__(self, content_hash: str) -> None:
        super().__init__(content_hash)
        self.content_hash = content_hash

    def __str__(self) -> str:
        return f"not a content hash (64 lowercase hexadecimal characters): {self.content_hash[:80]!r}"


class PathInvalidError(InvalidInputError):
    """The path cannot be a store path; ``reason`` says why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        shown = self.path if len(self.path) <= 80 else self.path[:80] + "..."
        return f"invalid path {shown!r}: {self.reason}"


class HistoryExpiredError(InvalidInputError):
    """The history since ``seq`` is no longer completely known; from ``first_seq`` on it is.

    A caller that follows the changes has a gap: list the files, and continue from the ``seq`` of that moment.
    Not a NotFoundError: a forgotten state does not mean that a file was not there.
    """

    def __init__(self, seq: int, first_seq: int) -> None:
        super().__init__(seq, first_seq)
        self.seq = seq
        self.first_seq = first_seq

    def __str__(self) -> str:
        return f"the history from {self.seq} on is not completely known, only from {self.first_seq} on"


class HistoryNotKeptError(InvalidInputError):
    """The store does not keep overwritten or deleted contents: see its setting ``keep_history``."""

    def __str__(self) -> str:
        return "the store does not keep old contents: turn its setting keep_history on, for what comes then"


class StoreClosedError(InvalidInputError):
    """The store was closed; open it again."""

    def __str__(self) -> str:
        return "the store is closed"
