"""The interfaces: what a caller may rely on (``BlobStore``, ``FileStore``), what a backend must offer.

A store is a *catalog* (paths, pins, one row per blob, the bytes of small blobs; transactional) and
*blob storage* (the bytes of large blobs, one object each). Everything that decides about data is
written once, over the protocols here, and runs on every backend.
"""

from agent_world_distfs.protocols.blobs import BlobFiles, Incoming, IncomingBatch
from agent_world_distfs.protocols.catalog import Catalog, Turn
from agent_world_distfs.protocols.rows import (
    BlobBrief,
    BlobRow,
    Doubted,
    IndexState,
    LoggedTransaction,
    LogState,
    PathChange,
    StoredForm,
)
from agent_world_distfs.protocols.stores import BlobStore, FileStore
from agent_world_distfs.protocols.transactions import CatalogReader, CatalogWriter

__all__ = [
    "BlobBrief",
    "BlobFiles",
    "BlobRow",
    "BlobStore",
    "Catalog",
    "CatalogReader",
    "CatalogWriter",
    "Doubted",
    "FileStore",
    "Incoming",
    "IncomingBatch",
    "IndexState",
    "LogState",
    "LoggedTransaction",
    "PathChange",
    "StoredForm",
    "Turn",
]
