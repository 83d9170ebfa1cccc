"""Copies of a whole store, beside its writers: backups, and stores from backups.

A copy is a store itself: the catalog of one snapshot, and the large blobs that it has rows for. First the
catalog is copied under another name, then the blobs of it are leased here, so that no collection takes them,
and brought there; last the catalog takes its name. So there is never half of one; until then an older
copy stays what it was. What is there already is not copied again, so cut off or repeated it goes on.

``backup.json`` beside the catalog says of which store it is a copy, and which states of the index a copying
has put there: what somebody else has changed since is not overwritten.
"""

from agent_world_distfs.copying.target import RESTORING, finish_restore
from agent_world_distfs.copying.whole_store import copy_store

__all__ = ["RESTORING", "copy_store", "finish_restore"]
