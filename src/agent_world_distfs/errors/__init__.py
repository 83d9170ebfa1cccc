"""Every error a caller can see, grouped by what the caller does next.

The first level says what to do (look elsewhere, read again, repair, fix the call, ...); handlers catch that.
Instances carry values, not sentences: the values are ``args``, so that an error can be pickled and copied,
and ``__str__`` makes the sentence. An error never holds content, only paths, hashes and sizes.
"""

from agent_world_distfs.errors.base import WorldError
from agent_world_distfs.errors.conflicts import (
    ConflictError,
    FileConflictError,
    IndexConflictError,
    InputConflictError,
    SnapshotExistsError,
    TransactionConflictError,
)
from agent_world_distfs.errors.corrupt import (
    BlobHashMismatchError,
    BlobMissingError,
    CatalogError,
    CorruptError,
    ManifestError,
)
from agent_world_distfs.errors.incompatible import IncompatibleStoreError, StoreMovedError
from agent_world_distfs.errors.invalid import (
    BlobHashInvalidError,
    HistoryExpiredError,
    HistoryNotKeptError,
    InvalidInputError,
    PathInvalidError,
    StoreClosedError,
)
from agent_world_distfs.errors.not_found import (
    BlobNotFoundError,
    NotFoundError,
    PathNotFoundError,
    SnapshotNotFoundError,
    TransactionForgottenError,
)
from agent_world_distfs.errors.outcome import OutcomeUnknownError
from agent_world_distfs.errors.storage import (
    StorageError,
    StorageFullError,
    StorageIOError,
    StorageReadOnlyError,
)
from agent_world_distfs.errors.unavailable import (
    ForkedStoreError,
    LeaseExpiredError,
    StoreBusyError,
    UnavailableError,
)

__all__ = [
    "BlobHashInvalidError",
    "BlobHashMismatchError",
    "BlobMissingError",
    "BlobNotFoundError",
    "CatalogError",
    "ConflictError",
    "CorruptError",
    "FileConflictError",
    "ForkedStoreError",
    "HistoryExpiredError",
    "HistoryNotKeptError",
    "IncompatibleStoreError",
    "IndexConflictError",
    "InputConflictError",
    "InvalidInputError",
    "LeaseExpiredError",
    "ManifestError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PathInvalidError",
    "PathNotFoundError",
    "SnapshotExistsError",
    "SnapshotNotFoundError",
    "StorageError",
    "StorageFullError",
    "StorageIOError",
    "StorageReadOnlyError",
    "StoreBusyError",
    "StoreClosedError",
    "StoreMovedError",
    "TransactionConflictError",
    "TransactionForgottenError",
    "UnavailableError",
    "WorldError",
]
