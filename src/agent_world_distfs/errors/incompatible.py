"""Open it differently."""

from __future__ import annotations

from typing import Any

from agent_world_distfs.errors.base import WorldError


class IncompatibleStoreError(WorldError):
    """This location cannot be opened as it is, or not with these options."""

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(location, reason)
        self.location = location
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.location}: {self.reason}"


class StoreMovedError(IncompatibleStoreError):
    """The store has moved to ``location``."""

    def __init__(self, location: str) -> None:
        super().__init__(location, "the store has moved there")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.location,), self.__dict__)
