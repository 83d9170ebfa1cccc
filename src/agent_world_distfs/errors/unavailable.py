"""Wait and retry."""

from __future__ import annotations

from agent_world_distfs.errors.base import WorldError


class UnavailableError(WorldError):
    """Not now: wait, or remove the obstacle, and retry."""


class StoreBusyError(UnavailableError, TimeoutError):
    """The lock was not free within ``timeout_s`` seconds."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return f"the store was locked by others for {self.timeout_s:g} s: retry later"


class LeaseExpiredError(UnavailableError):
    """The lease that kept unnamed blobs safe is gone; start over."""

    def __str__(self) -> str:
        return "the lease has ended: what it protected may be gone, start over"


class ForkedStoreError(UnavailableError):
    """This process was forked while a store was in use, and cannot use it; start a new process.

    Where the fork could not be prepared for, no store can be opened here as long as a connection of the
    parent is open: SQLite would take its locks for this process's own.
    """

    def __str__(self) -> str:
        return "it was in use during a fork that could not be prepared for: start a new process to use it"
