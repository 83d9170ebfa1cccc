"""Ask before any retry."""

from __future__ import annotations

from agent_world_distfs.errors.base import WorldError


class OutcomeUnknownError(WorldError):
    """The outcome of the commit is unknown. Ask ``was_committed`` before any retry."""

    def __init__(self, transaction_id: str) -> None:
        super().__init__(transaction_id)
        self.transaction_id = transaction_id

    def __str__(self) -> str:
        return (
            f"the commit of transaction {self.transaction_id} failed while it was being flushed; "
            "it may or may not hold: ask was_committed before you retry"
        )
