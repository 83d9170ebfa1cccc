"""Repair: every stored byte is read, and what is not right is fetched from whoever has it.

First a plan, from reading alone: which blobs are gone or wrong, and who has them. Then, blob by blob:
the damaged bytes are given a name in the quarantine, the right ones come in as any content does. Bytes
that nobody has are taken out of the way, so that they are missing rather than wrong; storing the same
content at any later time heals them. Interrupted, run it again: what was mended is found right.
"""

from agent_world_distfs.operations.repair.mending import repair
from agent_world_distfs.operations.repair.sources import OpenedSource, TreeSource

__all__ = ["OpenedSource", "TreeSource", "repair"]
