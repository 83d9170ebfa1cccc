"""Importing a real directory: all of its content first, then every name in one commit.

The content is stored under a lease, small files many to a transaction. Then one transaction names all of it,
and for a mirror removes what the directory does not have: nobody sees half of a tree, and a process that dies
before that leaves blobs that the next collection removes. What fits into memory of a tree of up to 10,000
files, all of it read, needs no lease: that one transaction stores it, too.

Each file is stored as it was at one moment: if it changed while it was read, as far as its size and
times show, it is read again. The tree as a whole is not frozen: files are read one after another.

What an earlier import has read is not read again if it is unchanged, as far as five of its attributes
show: see ``remembered``. Such content is not leased; whether it is stored is asked in the transaction that
names it, and what is not is read after all.

A directory that holds a store is left out. SQLite's locks are POSIX locks, which a process loses
when it closes any descriptor of the file: reading a store that this very process has open would
open its database to others.
"""

from agent_world_distfs.operations.tree_in.carrying import TreeOptions, import_tree
from agent_world_distfs.operations.tree_in.scan import scan_tree

__all__ = ["TreeOptions", "import_tree", "scan_tree"]
