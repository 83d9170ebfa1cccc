"""What a transaction has read, and whether that still holds.

Every query uses a fresh snapshot, so that a transaction keeps none open: an open snapshot keeps the WAL from
being truncated, and a transaction may last as long as a person thinks. Still all answers are of one state.
Each new snapshot is compared with the one before by its sequence number; where something was committed in
between, and it touches what was read so far, the conflict is raised at once. If not, all that was read before
holds in the new snapshot as well, so that the new snapshot is the one state of which everything was read. A
transaction that only reads ends with that.

What was committed in between is looked up in the change log, so that the cost depends on what others did, not
on what was read. If the change log does not say (an import; more than is kept), all inputs are compared.

An input has changed if its metadata has, the time included: the transaction has seen it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator

from agent_world_distfs.errors import InputConflictError, TransactionConflictError
from agent_world_distfs.protocols import BlobRow, CatalogReader
from agent_world_distfs.records import FileMetadata


class Inputs:
    """The paths and listings that were read, as they hold in the snapshot ``_sequence``."""

    def __init__(self) -> None:
        self._sequence: int | None = None
        self._paths: dict[str, FileMetadata | None] = {}
        self._listings: dict[str, dict[str, FileMetadata]] = {}
        self.conflicts: weakref.WeakSet[TransactionConflictError] = weakref.WeakSet()  # that were raised

    @property
    def are_any(self) -> bool:
        """Whether anything was read."""
        return self._sequence is not None

    # --- reading -------------------------------------------------------------------------------

    def stat(self, tx: CatalogReader, path: str) -> FileMetadata | None:
        """The entry of ``path``."""
        self.renew(tx)
        self._paths[path] = found = tx.stat_file(path)
        return found

    def find(self, tx: CatalogReader, path: str) -> tuple[FileMetadata, BlobRow] | None:
        """The same with its blob."""
        self.renew(tx)
        found = tx.find_file(path)
        self._paths[path] = None if found is None else found[0]
        return found

    def list_files(self, tx: CatalogReader, prefix: str) -> list[FileMetadata]:
        """The entries with a prefix."""
        self.renew(tx)
        found = list(tx.iter_files(prefix))
        self._listings[prefix] = {file.path: file for file in found}
        return found

    # --- comparing -----------------------------------------------------------------------------

    def renew(self, tx: CatalogReader) -> None:
        """From now on all that was read is of the snapshot ``tx``.

        Raises:
            TransactionConflictError: some of it is not so there.
        """
        self._sequence = self.check(tx)

    def check(self, tx: CatalogReader) -> int:
        """The sequence number of ``tx``, where everything holds that was read; nothing else is changed.

        So it can be asked inside a write, whose ``tx`` may be rolled back, with what neighbours did before
        in the same group: a number of theirs, remembered, would stand for other transactions by then.

        Raises:
            TransactionConflictError: some of it is not so there.
        """
        last = tx.log_state().last
        if self._sequence is not None and last != self._sequence:
            conflicts = tuple(self._conflicts(tx, self._sequence, last))
            if conflicts:
                conflict = TransactionConflictError(conflicts)
                self.conflicts.add(conflict)
                raise conflict
        return last

    def _conflicts(self, tx: CatalogReader, since: int, last: int) -> Iterator[InputConflictError]:
        changed = changed_paths(tx, since, last)
        yield from self._changed_paths(tx, self._paths if changed is None else changed & self._paths.keys())
        for prefix, files in self._listings.items():
            if changed is None:
                suspects = {*files, *(file.path for file in tx.iter_files(prefix))}
            else:
                suspects = {path for path in changed if path.startswith(prefix)}
            yield from _changed_listing(tx, prefix, files, suspects)

    def _changed_paths(self, tx: CatalogReader, suspects: Iterable[str]) -> Iterator[InputConflictError]:
        for path in sorted(suspects):
            actual = tx.stat_file(path)
            if actual != self._paths[path]:
                yield InputConflictError(path, self._paths[path], actual)


def _changed_listing(
    tx: CatalogReader, prefix: str, files: dict[str, FileMetadata], suspects: Iterable[str]
) -> Iterator[InputConflictError]:
    for path in sorted(suspects):
        actual = tx.stat_file(path)
        if actual != files.get(path):
            yield InputConflictError(path, files.get(path), actual, prefix)


def changed_paths(tx: CatalogReader, since: int, last: int) -> set[str] | None:
    """The paths that the transactions after ``since`` changed; None: the change log does not say."""
    if since < tx.log_state().floor:
        return None
    changed: set[str] = set()
    for transaction in tx.iter_transactions(since, last):
        if transaction.imported is not None:
            return None
        changed.update(change.path for change in transaction.changes)
    return changed
