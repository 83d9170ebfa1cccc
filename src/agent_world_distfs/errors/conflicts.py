"""Read again and retry: somebody else was first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_world_distfs.errors.base import WorldError

if TYPE_CHECKING:
    from agent_world_distfs.records import Absent, FileIndexManifestRef, FileMetadata, Snapshot


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
