"""Every error a caller can see, grouped by what the caller does next.

The first level says what to do (look elsewhere, read again, repair, fix the call, ...); handlers catch that.
Instances carry values, not sentences: the values are ``args``, so that an error can be pickled and copied,
and ``__str__`` makes the sentence. An error never holds content, only paths, hashes and sizes.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_world_distfs.records import Absent, FileIndexManifestRef, FileMetadata, Snapshot


class WorldError(Exception):
    """Anything that this package refuses or fails to do."""


# --- look elsewhere ---------------------------------------------------------------------------


class NotFoundError(WorldError, FileNotFoundError):
    """What was asked for is not here. Also a FileNotFoundError with errno, strerror and filename."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(errno.ENOENT, sentence, name)

    def __str__(self) -> str:
        return f"{self.strerror}: {self.filename}"

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError pickles errno, text and name; the constructors here take other values.
        return (type(self), self._values(), self.__dict__)

    def _values(self) -> tuple[str, ...]:
        return (self.filename, self.strerror or "")


class BlobNotFoundError(NotFoundError):
    """No blob of this hash is stored."""

    def __init__(self, content_hash: str) -> None:
        super().__init__(content_hash, "no such blob")
        self.content_hash = content_hash

    def _values(self) -> tuple[str, ...]:
        return (self.content_hash,)


class PathNotFoundError(NotFoundError):
    """The index has no file at this path."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "no such path")
        self.path = path

    def _values(self) -> tuple[str, ...]:
        return (self.path,)

    def __str__(self) -> str:
        return f"no such path: {self.path!r}"


class SnapshotNotFoundError(NotFoundError):
    """The store keeps no snapshot of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "no such snapshot")
        self.name = name

    def _values(self) -> tuple[str, ...]:
        return (self.name,)

    def __str__(self) -> str:
        return f"no such snapshot: {self.name!r}"


class TransactionForgottenError(NotFoundError):
    """Whether the transaction was committed is no longer known: it is older than what is kept."""

    def __init__(self, transaction_id: str) -> None:
        super().__init__(transaction_id, "no such transaction among those that are kept")
        self.transaction_id = transaction_id

    def _values(self) -> tuple[str, ...]:
        return (self.transaction_id,)


# --- read again, retry ------------------------------------------------------------------------


class ConflictError(WorldError):
    """Somebody else was first: read again, decide again."""

    @property
    def conflicts(self) -> tuple[ConflictError, ...]:
        """Each input that changed, one error each; never empty."""
        return (self,)


class FileConflictError(ConflictError):
    """The path does not hold what was expected.

    ``actual`` is what it holds, read in the transaction that refused; None where there is no file.
    """

    def __init__(self, path: str, expected: str | Absent, actual: FileMetadata | None) -> None:
        super().__init__(path, expected, actual)
        self.path = path
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        actual = "no file" if self.actual is None else self.actual.content_hash
        return f"{self.path!r} holds {actual}, expected {self.expected}: read it again and retry"


class IndexConflictError(ConflictError):
    """The index does not match ``expected_current``."""

    def __init__(self, expected: FileIndexManifestRef, actual: FileIndexManifestRef) -> None:
        super().__init__(expected, actual)
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return f"the index is {self.actual}, expected {self.expected}: read it again and retry"


class SnapshotExistsError(ConflictError):
    """A snapshot of this name already exists: ``actual``."""

    def __init__(self, name: str, actual: Snapshot) -> None:
        super().__init__(name, actual)
        self.name = name
        self.actual = actual

    def __str__(self) -> str:
        return f"there is a snapshot {self.name!r} already, of {self.actual.manifest}: take another name"


class InputConflictError(ConflictError):
    """What a transaction has read of ``path`` has changed since.

    ``expected`` is what it read, ``actual`` what is there now; None: no file. ``prefix`` is that of the
    listing in which it was read, None if the path itself was read.
    """

    def __init__(
        self, path: str, expected: FileMetadata | None, actual: FileMetadata | None, prefix: str | None = None
    ) -> None:
        super().__init__(path, expected, actual, prefix)
        self.path = path
        self.expected = expected
        self.actual = actual
        self.prefix = prefix

    def __str__(self) -> str:
        actual = "no file" if self.actual is None else self.actual.content_hash
        expected = "no file" if self.expected is None else self.expected.content_hash
        return f"{self.path!r} holds {actual}, the transaction has read {expected}: run it again"


CONFLICTS_TOLD = 10
"""How many a message names: nobody reads half a megabyte about a transaction over thousands of files."""


class TransactionConflictError(ConflictError):
    """Inputs of a transaction changed before it could commit; all of them are listed."""

    def __init__(self, conflicts: tuple[ConflictError, ...]) -> None:
        super().__init__(conflicts)
        self._conflicts = conflicts

    @property
    def conflicts(self) -> tuple[ConflictError, ...]:
        return self._conflicts

    def __str__(self) -> str:
        told = [str(conflict) for conflict in self._conflicts[:CONFLICTS_TOLD]]
        others = len(self._conflicts) - len(told)
        return "; ".join([*told, f"and {others} more"] if others else told)


# --- distrust this copy, repair ---------------------------------------------------------------


class CorruptError(WorldError):
    """What is stored is not what was stored: distrust this copy, repair it."""


class BlobHashMismatchError(CorruptError):
    """Bytes do not hash to their name."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(expected, actual)
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return f"the bytes hash to {self.actual}, expected {self.expected}"


class BlobMissingError(CorruptError):
    """The bytes of a blob that something names are gone. ``path`` names it; None if no path does.

    Not a FileNotFoundError: code that handles that by creating the file again would hide the loss.
    """

    def __init__(self, content_hash: str, path: str | None) -> None:
        super().__init__(content_hash, path)
        self.content_hash = content_hash
        self.path = path

    def __str__(self) -> str:
        named_by = "a pin, a snapshot or the history" if self.path is None else repr(self.path)
        return f"the bytes of blob {self.content_hash}, named by {named_by}, are gone from the store"


class CatalogError(CorruptError):
    """The catalog is damaged, or is not the database it should be."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the catalog is damaged: {self.reason}"


class ManifestError(CorruptError):
    """The bytes are not a manifest in the one canonical form, or it states something untrue."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not a valid manifest: {self.reason}"


# --- fix the call -----------------------------------------------------------------------------


class InvalidInputError(WorldError, ValueError):
    """The call itself is wrong; nothing was done."""


class BlobHashInvalidError(InvalidInputError):
    """Not a content hash: that is 64 lowercase hexadecimal characters."""

    def __init__(self, content_hash: str) -> None:
        super().__init__(content_hash)
        self.content_hash = content_hash

    def __str__(self) -> str:
        return f"not a content hash (64 lowercase hexadecimal characters): {self.content_hash[:80]!r}"


class PathInvalidError(InvalidInputError):
    """The path cannot be a store path; ``reason`` says why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        shown = self.path if len(self.path) <= 80 else self.path[:80] + "..."
        return f"invalid path {shown!r}: {self.reason}"


class HistoryExpiredError(InvalidInputError):
    """The history since ``seq`` is no longer completely known; from ``first_seq`` on it is.

    A caller that follows the changes has a gap: list the files, and continue from the ``seq`` of that moment.
    Not a NotFoundError: a forgotten state does not mean that a file was not there.
    """

    def __init__(self, seq: int, first_seq: int) -> None:
        super().__init__(seq, first_seq)
        self.seq = seq
        self.first_seq = first_seq

    def __str__(self) -> str:
        return f"the history since {self.seq} is not known any more, only since {self.first_seq}"


class HistoryNotKeptError(InvalidInputError):
    """The store does not keep overwritten or deleted contents: see its setting ``keep_history``."""

    def __str__(self) -> str:
        return "the store does not keep old contents: turn its setting keep_history on, for what comes then"


class StoreClosedError(InvalidInputError):
    """The store was closed; open it again."""

    def __str__(self) -> str:
        return "the store is closed"


# --- open it differently ----------------------------------------------------------------------


class IncompatibleStoreError(WorldError):
    """This location cannot be opened as it is, or not with these options."""

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(location, reason)
        self.location = location
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.location}: {self.reason}"


class StoreMovedError(IncompatibleStoreError):
    """The store has moved to ``location``."""

    def __init__(self, location: str) -> None:
        super().__init__(location, "the store has moved there")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.location,), self.__dict__)


# --- fix the disk -----------------------------------------------------------------------------


class StorageError(WorldError):
    """The storage below the store failed; nothing was acknowledged."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class StorageFullError(StorageError):
    """No space is left, or a quota or size limit is reached."""


class StorageReadOnlyError(StorageError):
    """The store, or the file system below it, is not writable."""


class StorageIOError(StorageError):
    """The device or file system reported an input or output error."""


# --- wait, retry ------------------------------------------------------------------------------


class UnavailableError(WorldError):
    """Not now: wait, or remove the obstacle, and retry."""


class StoreBusyError(UnavailableError, TimeoutError):
    """The lock was not free within ``timeout_s`` seconds."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return f"the store was locked by others for {self.timeout_s:g} s: retry later"


class LeaseExpiredError(UnavailableError):
    """The lease that kept unnamed blobs safe is gone; start over."""

    def __str__(self) -> str:
        return "the lease has ended: what it protected may be gone, start over"


class ForkedStoreError(UnavailableError):
    """This store object went through a fork that it could not prepare for; reopen the store."""

    def __str__(self) -> str:
        return "this store was open during a fork that it could not prepare for: reopen it"


# --- ask, never blindly retry -----------------------------------------------------------------


class OutcomeUnknownError(WorldError):
    """The outcome of the commit is unknown. Ask ``was_committed`` before any retry."""

    def __init__(self, transaction_id: str) -> None:
        super().__init__(transaction_id)
        self.transaction_id = transaction_id

    def __str__(self) -> str:
        return (
            f"the commit of transaction {self.transaction_id} failed while it was being flushed; "
            "it may or may not hold: ask was_committed before you retry"
        )
