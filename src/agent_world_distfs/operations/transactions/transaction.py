"""A transaction: what it has read, what it wants to write, and its end."""

from __future__ import annotations

import io
import os
from types import TracebackType
from typing import NamedTuple, Self

from agent_world_distfs.clock import now_ms
from agent_world_distfs.engine import reading
from agent_world_distfs.engine.conditions import check_expected, check_form
from agent_world_distfs.engine.full_disk import removing
from agent_world_distfs.engine.intake import INLINE_MAX_BYTES, settle_inline
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.errors import (
    BlobMissingError,
    BlobNotFoundError,
    ForkedStoreError,
    InvalidInputError,
    LeaseExpiredError,
    OutcomeUnknownError,
    PathNotFoundError,
    TransactionConflictError,
    WorldError,
)
from agent_world_distfs.hashing import as_bytes, hash_function
from agent_world_distfs.operations.transactions.alone import OneThread, alone
from agent_world_distfs.operations.transactions.inputs import Inputs
from agent_world_distfs.paths import check_prefix, normalize_path
from agent_world_distfs.protocols import BlobBrief, BlobFiles, BlobRow, Catalog, CatalogWriter
from agent_world_distfs.records import Data, Expected, FileMetadata


class Planned(NamedTuple):
    """What a path shall hold. ``payload``: None where it is stored already.

    ``moved_from``: the path that keeps the bytes until the commit; None where the lease does.
    """

    file: FileMetadata
    payload: bytes | None
    moved_from: str | None


class Transaction(OneThread):
    """Reads one consistent state and its own writes; made by ``transaction`` of a store, used with ``with``.

    Leaving the block commits all or nothing; an exception in it gives everything up. For one thread at a
    time: beside a call of another thread, a call and the end of the block are InvalidInputError.

    Any call, and the end of the block, may raise TransactionConflictError: something that was read has
    been changed by others. The transaction cannot commit then (unless it is changed back); leave the
    block and begin another.

    Before the block and after it every call is InvalidInputError; in a forked child, ForkedStoreError. The
    end of the block may also raise OutcomeUnknownError, with ``transaction_id``: ask ``was_committed``.

    Contents of more than 8 KiB are stored when they are written, smaller ones wait in memory for the commit.
    ``updated_at_ms`` of what the transaction itself wrote is the time of the call; the index gets the time
    of the commit.
    """

    def __init__(self, catalog: Catalog, blobs: BlobFiles, *, actor: str = "", message: str = "") -> None:
        super().__init__()
        self._catalog = catalog
        self._blobs = blobs
        self._description = {"actor": actor, "message": message}
        self._inputs = Inputs()
        self._plan: dict[str, Planned | None] = {}
        self._lease: Lease | None = None
        self._hash_bytes = hash_function(catalog.hash_algorithm)
        self._pid = os.getpid()
        self._is_open = False
        self._is_over = False
        self.transaction_id: str | None = None
        """What the commit is known by; None before it, and if nothing was changed.

        After an interrupt of the end of the block (KeyboardInterrupt, MemoryError) ask ``was_committed``.
        """
        self.sequence: int | None = None
        """Its number in the change log; None as well if the outcome of the commit is unknown."""

    # --- reading -------------------------------------------------------------------------------

    @alone
    def stat_file(self, path: str) -> FileMetadata | None:
        """The entry of ``path``, None if there is none."""
        return self._stat(normalize_path(path))

    def _stat(self, path: str) -> FileMetadata | None:
        if path in self._plan:
            planned = self._plan[path]
            return None if planned is None else planned.file
        return self._catalog.read(lambda tx: self._inputs.stat(tx, path))

    def read_file(self, path: str) -> bytes:
        """The content of ``path``, verified.

        Raises:
            PathNotFoundError: no file there; that it was absent is an input of the transaction, too.
            BlobMissingError, BlobHashMismatchError: its bytes are gone, or corrupt.
            LeaseExpiredError: so are those that the transaction itself wrote.
        """
        return self.read_file_with_metadata(path)[1]

    @alone
    def read_file_with_metadata(self, path: str) -> tuple[FileMetadata, bytes]:
        """The entry of ``path`` and its content; otherwise as ``read_file``."""
        path = normalize_path(path)
        if path not in self._plan:
            return reading.read_found(self._catalog, self._blobs, path, self._find)
        planned = self._plan[path]
        if planned is None:
            raise PathNotFoundError(path)
        if planned.payload is not None:
            return planned.file, planned.payload
        return planned.file, self._read_stored(planned)

    def _read_stored(self, planned: Planned) -> bytes:
        try:
            return reading.read_hash(self._catalog, self._blobs, planned.file.content_hash)
        except BlobNotFoundError:  # it was named, or leased, when it was planned
            self._catalog.read(self._inputs.renew)  # the likely reason: somebody changed what was moved
            raise _loss(planned) from None

    def _find(self, path: str) -> tuple[FileMetadata, BlobRow] | None:
        return self._catalog.read(lambda tx: self._inputs.find(tx, path))

    @alone
    def list_files(self, *, prefix: str = "") -> list[FileMetadata]:
        """Entries with the string prefix, ascending by the UTF-8 bytes of the path.

        The listing is an input as a whole: if anybody adds, changes or removes one of them before the
        commit, that is a conflict.
        """
        check_prefix(prefix)
        found = self._catalog.read(lambda tx: self._inputs.list_files(tx, prefix))
        files = {file.path: file for file in found}
        for path, planned in self._plan.items():
            if planned is None:
                files.pop(path, None)
            elif path.startswith(prefix):
                files[path] = planned.file
        return sorted(files.values(), key=lambda file: file.path.encode())

    # --- writing -------------------------------------------------------------------------------

    def write_file(self, path: str, data: Data) -> FileMetadata:
        """Make ``path`` hold ``data`` at the commit, whatever it holds then."""
        return self.write_file_if_match(path, None, data)

    @alone
    def write_file_if_match(self, path: str, expected_content_hash: Expected, data: Data) -> FileMetadata:
        """The same if ``path`` holds what is expected, here and at the commit.

        Raises:
            FileConflictError: it holds something else.
        """
        path = normalize_path(path)
        self._require(path, check_form(expected_content_hash))
        data = as_bytes(data)
        planned = self._store(path, data)
        self._plan[path] = planned
        return planned.file

    def _store(self, path: str, data: bytes) -> Planned:
        if len(data) <= INLINE_MAX_BYTES:
            return Planned(FileMetadata(path, self._hash_bytes(data), len(data), now_ms()), data, None)
        if self._lease is None:
            self._lease = Lease(self._catalog, self._blobs)
        stat = self._lease.put_stream(io.BytesIO(data))
        return Planned(FileMetadata(path, stat.content_hash, stat.size_bytes, now_ms()), None, None)

    def delete_file(self, path: str) -> bool:
        """Remove ``path`` at the commit; False if it is not there, which is an input then."""
        return self.delete_file_if_match(path, None)

    @alone
    def delete_file_if_match(self, path: str, expected_content_hash: Expected) -> bool:
        """The same if ``path`` holds what is expected; False if it was expected absent, and is.

        Raises:
            FileConflictError: it holds something else.
        """
        path = normalize_path(path)
        self._require(path, check_form(expected_content_hash))
        is_there = self._stat(path) is not None
        if is_there:
            self._plan[path] = None
        return is_there

    @alone
    def rename_file(
        self, source: str, target: str, *, expected_content_hash: Expected = None
    ) -> FileMetadata:
        """Make ``target`` hold what ``source`` holds, and ``source`` nothing. The condition is on ``target``.

        Raises:
            PathNotFoundError: there is no ``source``.
            FileConflictError: ``target`` holds something else than expected.
        """
        source, target = normalize_path(source), normalize_path(target)
        expected = check_form(expected_content_hash)
        held = self._stat(source)
        if held is None:
            raise PathNotFoundError(source)
        self._require(target, expected)
        planned = self._plan.get(source) or Planned(held, None, source)
        moved = FileMetadata(target, held.content_hash, held.size_bytes, now_ms())
        self._plan[source] = None
        self._plan[target] = planned._replace(file=moved)
        return moved

    def _require(self, path: str, expected: Expected) -> None:
        if expected is not None:
            check_expected(path, expected, self._stat(path))

    def has_raised(self, conflict: TransactionConflictError) -> bool:
        """Whether the conflict is this transaction's, and not of another one inside its block."""
        return conflict in self._inputs.conflicts

    # --- the end -------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._is_open:
            state = "has ended" if self._is_over else "has not begun: use it with 'with'"
            raise InvalidInputError(f"the transaction {state}")
        if self._pid != os.getpid():
            raise ForkedStoreError

    def __enter__(self) -> Self:
        if self._is_open or self._is_over:
            raise InvalidInputError("the transaction has begun before: begin another")
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._alone(self._commit)
        finally:
            self._is_open, self._is_over = False, True
            self._plan.clear()
            if self._lease is not None:
                self._lease.__exit__(kind, error, trace)

    def _commit(self) -> None:
        if not self._plan:
            return
        if self._inputs.are_any:  # compared as far as that goes without the lock, which others wait for
            self._catalog.read(self._inputs.renew)
        try:
            if any(self._plan.values()):
                self._catalog.write(self._apply)
            else:  # on a full disk there is room for that
                removing(self._catalog, self._blobs, lambda: self._catalog.write(self._apply))
        except OutcomeUnknownError as unknown:
            self.transaction_id, self.sequence = unknown.transaction_id, None
            raise
        except WorldError:  # it was not made
            self.transaction_id = self.sequence = None
            raise
        except BaseException:  # an interrupt: who knows whether before or after the commit
            self.sequence = None
            raise

    def _apply(self, tx: CatalogWriter) -> None:
        self._inputs.check(tx)
        rows = {path: planned and self._row(tx, planned) for path, planned in self._plan.items()}
        tx.describe(**self._description)
        now, has_changed = now_ms(), False
        for path, row in rows.items():
            if row is None:
                has_changed |= tx.remove_file(path)
            else:
                tx.set_file(path, row, now)
                has_changed = True
        self.transaction_id, self.sequence = (tx.transaction_id, tx.sequence) if has_changed else (None, None)

    def _row(self, tx: CatalogWriter, planned: Planned) -> BlobRow | BlobBrief:
        if planned.payload is not None:
            return settle_inline(tx, planned.file.content_hash, planned.payload)
        row = reading.find_stored(tx, self._blobs, planned.file.content_hash)
        if row is not None:
            return row
        raise _loss(planned)


def _loss(planned: Planned) -> WorldError:
    if planned.moved_from is not None:
        return BlobMissingError(planned.file.content_hash, planned.moved_from)
    return LeaseExpiredError()  # somebody took this process for dead
