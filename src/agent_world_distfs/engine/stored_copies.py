"""Using an already stored copy instead of storing another."""

from __future__ import annotations

from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.engine.reading import is_corrupt
from agent_world_distfs.errors import BlobNotFoundError, CorruptError
from agent_world_distfs.protocols import BlobFiles, Catalog


def keep_whole(catalog: Catalog, blobs: BlobFiles, lease: Lease, content_hash: str) -> bool:
    """Keep a blob if it is stored and hashes right; else its bytes have to be stored (again)."""
    return not lease.keep([content_hash]) and is_whole(catalog, blobs, content_hash)


def is_whole(catalog: Catalog, blobs: BlobFiles, content_hash: str) -> bool:
    """Whether the blob's stored bytes, all of which are read, hash right."""
    try:
        return not is_corrupt(catalog, blobs, content_hash)
    except (CorruptError, BlobNotFoundError):
        return False
