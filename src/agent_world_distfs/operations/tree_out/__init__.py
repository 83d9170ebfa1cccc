"""Checkout of the index, or of a directory of it, to a real directory: all or nothing.

Everything is written to ``TARGET.staging-<id>/tree``, beside the target and so on its file system,
verified and flushed, and then renamed to the target. The staging directory is private to the user,
every step in it is one name below a descriptor, nothing is opened that is there already: a symlink
that somebody plants is never followed. A checkout that is killed leaves ``TARGET.staging-*``, which
is harmless and can be removed.

A target that is not empty is replaced only on demand, by two renames: it becomes
``TARGET.before-<id>``, the new one takes its place. Killed between the two, the target is missing
and both are there.

What is written is one snapshot of the index. Its blobs are leased until they are written, so that overwriting
and collecting meanwhile does no harm; a read-only store cannot lease, and there a blob may be gone when its
turn comes, which is an error.
"""

from agent_world_distfs.operations.tree_out.writing import checkout

__all__ = ["checkout"]
