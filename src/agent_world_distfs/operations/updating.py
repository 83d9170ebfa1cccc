"""Updating one path: read, change and write, retried until it commits.

An updater takes the turn of its path at once if it is free, and insists on it, so that updaters of one path
queue and their changes, which may be slow, are not made in vain. They can then lose only to plain writers
and to transactions. Before that they give way, for a moment, to a transaction that has lost more than once,
maybe to them: it would never get through beside frequent updates of what it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from agent_world_distfs.engine import reading
from agent_world_distfs.engine.conditions import check_expected
from agent_world_distfs.engine.retrying import (
    TRANSACTIONS,
    Call,
    Lost,
    give_way,
    has_held,
    persist,
    require_run,
)
from agent_world_distfs.errors import FileConflictError, OutcomeUnknownError, PathNotFoundError
from agent_world_distfs.hashing import as_bytes
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogWriter
from agent_world_distfs.records import ABSENT, Absent, Data, Expected, FileMetadata, Retry

Edit = Callable[[bytes | None], Data | Absent]
"""From what a path holds, None if there is no file, to what it shall hold; ABSENT: no file."""


class Writer(Protocol):
    """How a path is written: the bytes, or None to remove it, if it holds what is expected.

    ``written`` is called inside the transaction with what the path will hold.
    """

    def __call__(
        self, data: bytes | None, expected: Expected, written: Callable[[FileMetadata | None], None]
    ) -> None:
        """Do it."""
        ...


class Update:
    """One call of ``update_file``, which may take several attempts."""

    def __init__(self, catalog: Catalog, blobs: BlobFiles, path: str, change: Edit, write: Writer) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._path = path
        self._change = change
        self._write = write
        self._written: FileMetadata | None = None

    def run(self, place: str, retry: Retry) -> FileMetadata | None:
        """The metadata that stand now; None: no file."""
        turn = self._catalog.turn(f"path {self._path}", insists=True)
        call = Call(place, self._path, f"an update of {self._path!r}")

        def work() -> FileMetadata | None:
            if not call.is_nested:
                give_way(self._catalog.turn(TRANSACTIONS, insists=False), retry)
            turn.take()
            return persist(lambda: self._attempt(retry), turn, retry, waits=not call.is_nested)

        return call.around(turn, work)

    def _attempt(self, retry: Retry) -> FileMetadata | Lost | None:
        before, content = self._read()
        after = wanted(require_run(self._change(content)))
        expected: Expected = ABSENT if before is None else before.content_hash
        try:
            if after == content:
                self._confirm(expected)
            else:
                self._write(after, expected, self._note)
        except FileConflictError as conflict:
            return Lost(conflict)
        except OutcomeUnknownError as unknown:
            if not has_held(self._catalog, unknown, retry):
                return Lost(unknown)
        return self._written

    def _read(self) -> tuple[FileMetadata | None, bytes | None]:
        try:
            return reading.read_path(self._catalog, self._blobs, self._path)
        except PathNotFoundError:
            return None, None

    def _confirm(self, expected: Expected) -> None:
        """Nothing to write; still, what is there must be durable, and as found, before it is returned."""

        def confirm(tx: CatalogWriter) -> None:
            found = tx.stat_file(self._path)
            check_expected(self._path, expected, found)
            self._written = found  # somebody may have written the same bytes again

        self._catalog.write(confirm)

    def _note(self, written: FileMetadata | None) -> None:
        self._written = written


def wanted(changed: object) -> bytes | None:
    """What a change gave, as bytes; None for ABSENT.

    Raises:
        TypeError: it is neither, None for one: a forgotten ``return`` must not delete.
    """
    if changed is ABSENT:
        return None
    if changed is None:
        raise TypeError("change returned None: return the new content, or ABSENT to delete the file")
    return as_bytes(changed)  # type: ignore[arg-type]  # it checks
