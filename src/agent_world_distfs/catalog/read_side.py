"""The reading half of the SQLite catalog: a snapshot for each query, no lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import apsw

from agent_world_distfs.catalog.checksums import Checksums, sum_up
from agent_world_distfs.catalog.failures import MALFORMED, translate
from agent_world_distfs.catalog.pool import Loan, ReaderPool
from agent_world_distfs.catalog.reader import SqliteReader
from agent_world_distfs.catalog.schema import check_schema
from agent_world_distfs.catalog.stillness import Stillness
from agent_world_distfs.errors import (
    CatalogError,
    ForkedStoreError,
    StoreClosedError,
    WorldError,
)
from agent_world_distfs.presence import Presence
from agent_world_distfs.protocols import BlobRow, IndexState
from agent_world_distfs.records import FileMetadata, HashAlgorithm

T = TypeVar("T")


def _require(presence: Presence, path: str, timeout_s: float) -> None:
    try:
        presence.require()
    except OSError as error:
        raise translate(error, path, timeout_s) from error


class ReadSide:
    """Questions to the catalog."""

    def __init__(self, path: str, *, timeout_s: float, read_only: bool, immutable: bool) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._read_only = read_only
        self._require_present = partial(_require, Presence(path), path, timeout_s)
        # Nothing here may lead back to the catalog: forgotten, it is to be closed at once.
        self._readers = ReaderPool(
            path, read_only=read_only, immutable=immutable, require_present=self._require_present
        )
        self._stillness = Stillness(path) if immutable else None
        self._is_closed = False
        self._pid = os.getpid()
        try:
            self.hash_algorithm, self._checksums = self._recognise()
            self._readers.key = self._checksums.key
        except BaseException:
            self._readers.close(may_checkpoint=False)
            raise

    def _recognise(self) -> tuple[HashAlgorithm, Checksums]:
        try:
            loan = self._readers.take()
            try:
                check_schema(loan.connection, os.path.dirname(self._path))
                row = loan.connection.execute("SELECT checksum_key, hash_algorithm FROM store").fetchone()
            finally:
                self._readers.give_back(loan)
        except WorldError:
            raise
        except (apsw.Error, *MALFORMED) as error:
            raise translate(error, self._path, self._timeout_s) from error
        if row is None or row[1] not in [algorithm.value for algorithm in HashAlgorithm]:
            raise CatalogError("the row of the store is gone or names no known hash algorithm")
        return HashAlgorithm(row[1]), Checksums(row[0])

    @property
    def checksum_key(self) -> bytes:
        """What the checksums of this store, and of its backups, are made with."""
        return self._checksums.key

    def read(self, query: Callable[[SqliteReader], T]) -> T:
        """See ``Catalog.read``."""

        def ask(loan: Loan) -> T:
            loan.connection.execute("BEGIN")
            reader = SqliteReader(loan.connection, self._checksums)
            try:
                return query(reader)
            finally:
                reader.close()

        return self._ask(ask)

    def find_file(self, path: str) -> tuple[FileMetadata, BlobRow] | None:
        """See ``Catalog.find_file``."""
        return self._ask(lambda loan: loan.lookup.find_file(self._checksums, path))

    def stat_file(self, path: str) -> FileMetadata | None:
        """See ``Catalog.stat_file``."""
        return self._ask(lambda loan: loan.lookup.stat_file(self._checksums, path))

    def mark(self) -> object:
        """See ``Catalog.mark``. SQLite counts changes for each connection, and so the mark names it."""
        self.require_present()  # whoever waits for changes of a store that was moved would wait for ever
        return self._ask(lambda loan: (loan.connection, loan.connection.pragma("data_version")))

    def _ask(self, question: Callable[[Loan], T]) -> T:
        self._check_usable()
        try:
            loan = self._readers.take()
            try:
                answer = question(loan)
            finally:
                self._readers.give_back(loan)
        except CatalogError:
            self.require_present()
            self._require_stillness()
            raise
        except WorldError:
            self._require_stillness()
            raise
        except (apsw.Error, *MALFORMED) as error:
            self.require_present()
            self._require_stillness()
            raise translate(error, self._path, self._timeout_s) from error
        self._require_stillness()
        return answer

    def require_present(self) -> None:
        """Raise unless this very catalog still stands at its location; see ``Presence``."""
        self._require_present()

    def _require_same(self) -> None:
        """Raise if what is at the location has another key: what a write finds there is no damage then."""
        self._ask(lambda _: None)

    def _require_stillness(self) -> None:
        if self._stillness is not None:
            self._stillness.require()

    def digest_of(self, files: Iterable[FileMetadata]) -> IndexState:
        """See ``Catalog.digest_of``."""
        checksum_of = self._checksums.file
        checksums = (
            checksum_of(file.path, bytes.fromhex(file.content_hash), file.size_bytes, file.updated_at_ms)
            for file in files
        )
        return IndexState(*sum_up(checksums))

    def _check_usable(self) -> None:
        if self._is_closed:
            raise StoreClosedError
        if self._pid != os.getpid():
            raise ForkedStoreError
