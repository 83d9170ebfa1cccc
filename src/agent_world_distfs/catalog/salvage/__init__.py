"""What is left of a damaged catalog: the rows that their checksums prove, wherever they stand.

See decision 14 for what is believed and why. Entries are sought in tiers, the safest first, and the
first set whose number and digest are those of the last commit is the index, exactly.
"""

from agent_world_distfs.catalog.salvage.reading import payload_of, salvage
from agent_world_distfs.catalog.salvage.results import Hints, Salvage

__all__ = ["Hints", "Salvage", "payload_of", "salvage"]
