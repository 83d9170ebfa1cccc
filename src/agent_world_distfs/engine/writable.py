"""Whether a store may be written."""

from __future__ import annotations

from agent_world_distfs.protocols import Catalog


def require_writable(catalog: Catalog) -> None:
    """Raise if nothing may be written here: before long work, and before a session leaves files in the store.

    An empty transaction tells: it takes the write lock and commits nothing.

    Raises:
        StorageReadOnlyError, StoreMovedError: nothing may be written.
        StoreBusyError: others held the write lock for too long, so that this cannot be determined.
    """
    catalog.write(lambda _: None)
