"""Removing on a full disk: it has to write to the WAL before it frees anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from agent_world_distfs.errors import StorageFullError
from agent_world_distfs.protocols import BlobFiles, Catalog

T = TypeVar("T")


def removing(catalog: Catalog, blobs: BlobFiles, remove: Callable[[], T]) -> T:
    """Run ``remove``, a short step; on a full disk once more, with the reserve free and the WAL empty.

    What the WAL holds by then already has its room in the database, so that it can be copied there.
    """
    try:
        return remove()
    except StorageFullError:
        with blobs.spare_space():
            catalog.truncate_wal()
            return remove()
