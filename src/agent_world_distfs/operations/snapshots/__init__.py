"""States of the index kept by name.

**What is on the disk.** A row of ``snapshots``: a name, the hash and size of a manifest, when, why. The
manifest is a blob like any other, byte for byte what an export gives, so that snapshots of one and the same
index share it. Nothing is written per file. The rows are few; number and digest of them are in the state of
the store, so that a lost row is detected.

**What it keeps.** The manifest, and all that it names, although no path, pin or lease does. No row leads
there: a collection reads the manifests of all snapshots (``engine.retained``) after it has searched for what
nothing names, as it does with a history, and spares what they name.

**Why creating one is safe.** The manifest is written outside of the lock, from one look S at the index. The
transaction C that adds the row must not name what is gone, or is about to be taken. Let b be a blob that
an entry of S names.

- The entry is in the index at C. So b is stored. A collection that looks before C has found it named, or it
  was named since, and its recorder has it: the recorder was there before the look. One that looks after C
  reads the row after its look, and in the row's manifest b; or the snapshot has been dropped by then.
- The entry was changed or removed between S and C. Then the change log between S and C has it. C verifies,
  under the lock, that b is stored, and notifies the recorders, as of any name. A collection without a
  recorder at C looks after C. If b is already gone, or the change log does not reach back to S, a new S is
  taken.

The common case is that nothing has changed: the digest of the index at C is that of S. If there are more
changes than can be processed quickly, the blobs of S are leased first, one small transaction after the other,
and C verifies that the lease still exists: then it keeps b, and its recorders know.

The manifest itself is stored, or found, in the transaction C.

**What a crash leaves.** Before C: at worst a file without a row, which the next collection removes. The row
is there whole or not at all.

**Dropping.** One transaction removes the row. What only it kept becomes orphans. A reader of the snapshot may
find bytes gone; it checks whether the snapshot still exists, and reports that it was dropped. If a drop that
was not yet flushed is lost, the snapshot comes back whole: a collection that relies on the drop has flushed
the WAL up to its own commit before it touches any bytes.

**Restoring** is an import of the manifest, or, of a part, one transaction of ordinary changes.
"""

from agent_world_distfs.operations.snapshots.creating import create_snapshot
from agent_world_distfs.operations.snapshots.dropping import drop_snapshots, prune_snapshots
from agent_world_distfs.operations.snapshots.restoring import restore_part
from agent_world_distfs.operations.snapshots.rules import Keep, choose

__all__ = ["Keep", "choose", "create_snapshot", "drop_snapshots", "prune_snapshots", "restore_part"]
