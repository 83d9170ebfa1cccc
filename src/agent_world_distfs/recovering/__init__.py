"""A store that is repaired from outside, because it cannot be opened or its catalog contradicts itself.

All of it happens while nobody has the store open, as the exclusive lock on ``locks/handles`` makes sure.
"""

from agent_world_distfs.recovering.repairing import repair_store
from agent_world_distfs.recovering.restoring import restore_backup

__all__ = ["repair_store", "restore_backup"]
