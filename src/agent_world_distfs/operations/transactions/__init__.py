"""Transactions over several files: everything read is checked, everything written comes at once.

A transaction holds no lock and no snapshot. It remembers what it has read (``inputs`` says how that is
of one state) and what it wants to write. At its end one write of the catalog, under the write lock,
compares what was read with what is there, and makes all changes or none.

**Serializable.** The transaction takes effect at its commit: then nobody else writes, and all that it
has read is so, or it does not commit. Plain writes change the same index under the same lock, so that
they stand before or after. A listing is an input as a whole, so that nothing can appear in it. One that
changes nothing takes effect at its last read.

**Content.** Small content waits in memory and is stored in the commit. Large content is stored when it
is written, under a lease, so that no collection takes it before the commit names it, and the lock is not
held for it.
"""

from agent_world_distfs.operations.transactions.transaction import Transaction

__all__ = ["Transaction"]
