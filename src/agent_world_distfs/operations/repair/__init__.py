"""Repair: every stored byte is read, and what is not right is fetched from a source that has it.

First a plan, from reading alone: which blobs are missing or wrong, and which source has them. Then, blob by
blob: the damaged bytes get a name in the quarantine, and the good ones are stored like any content. Damaged
bytes that no source can replace are removed, so that they are missing rather than wrong; storing the same
content at any later time heals them. If interrupted, run it again: what was repaired is found to be right.
"""

from agent_world_distfs.operations.repair.mending import repair
from agent_world_distfs.operations.repair.sources import OpenedSource, TreeSource

__all__ = ["OpenedSource", "TreeSource", "repair"]
