"""Bugs of repairs and backups."""

from __future__ import annotations

from agent_world_distfs.copying import target
from agent_world_distfs.recovering import telling
from seeded.patching import replace


def forget_what_a_dead_repair_lost() -> None:
    """Nobody reads what a new catalog tells of how it was made."""
    replace(telling, "read_told", lambda catalog: {})


def overwrite_what_a_repair_lost() -> None:
    """A backup from before a repair that lost part of the index is like any other."""
    replace(target, "LOST_AT", "nothing is lost")
