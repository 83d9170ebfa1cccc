"""A store of the Rust original, read and never changed.

The directory::

    files_index.json            {"version": 1, "files": {PATH: {"path": PATH, "content_hash": HASH,
                                                                "size_bytes": 1, "updated_at_ms": 2}}}
    pins.json                   {"pins": [HASH]}
    blobs/HASH.blob             flat

Either JSON file may be missing, which means empty. A blob is plain, or packed::

    0   "O7CBLOB1"
    8   length of the content, 8 bytes, little-endian
    16  hash of the content, 64 hexadecimal characters
    80  the content, zstd

A plain blob may begin with the same eight bytes. Packed is a blob whose header names the very hash
that the file goes by; a plain blob cannot hold its own hash there, since that would be a fixed point
of the hash function. So the header decides what trying both ways and seeing which one verifies
would decide, without reading anything twice.

The original takes no lock and flushes nothing, and an index is written apart from its blobs: what is
read at one moment may be in between. Two equal snapshots, before and after the work, show that it
held still. Nothing here writes, follows a symlink inside the store or waits for a fifo.
"""

from agent_world_distfs.operations.original.adopt import adopt
from agent_world_distfs.operations.original.content import (
    find_algorithm,
    open_original_blob,
    require_algorithm,
)
from agent_world_distfs.operations.original.snapshot import read_snapshot

__all__ = [
    "adopt",
    "find_algorithm",
    "open_original_blob",
    "read_snapshot",
    "require_algorithm",
]
