"""What one agent has seen: for tool calls that cannot carry the versions they are based on."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import TypeVar

from agent_world_distfs.engine import reading
from agent_world_distfs.engine.conditions import check_expected
from agent_world_distfs.engine.intake import Intake
from agent_world_distfs.errors import OutcomeUnknownError, PathNotFoundError
from agent_world_distfs.hashing import as_bytes
from agent_world_distfs.operations import files
from agent_world_distfs.paths import normalize_path
from agent_world_distfs.protocols import BlobFiles, BlobRow, Catalog, CatalogReader, CatalogWriter
from agent_world_distfs.records import ABSENT, Absent, Data, FileMetadata

T = TypeVar("T")

Version = str | Absent
Seen = tuple[Version, ...]
"""What a path may hold that is no conflict: one version; more after commits of unknown outcome."""


class AgentSession:
    """Remembers what it has read of each path, and changes a path only if it still holds that.

    A path that it has never read counts as seen absent: it may be created, and unread content is not
    overwritten, removed or moved. After a change the session knows its own version; after a conflict it does
    not: read again. ``stat_file`` shows that a file is there, but not what is in it: the session learns from
    it only that a file is absent. After OutcomeUnknownError it goes on from what it wrote or from what it had
    seen before, whichever is there.

    Any number of threads may use it; it holds nothing that must be closed. The change log records
    ``session_id`` with each of its changes.
    """

    def __init__(
        self,
        catalog: Catalog,
        blob_files: BlobFiles,
        intake: Intake,
        remove: Callable[[Callable[[CatalogWriter], bool]], bool],
        actor: str,
    ) -> None:
        self._catalog = catalog
        self._blobs = blob_files
        self._intake = intake
        self._remove = remove
        self._seen: dict[str, Seen] = {}
        self.actor = actor
        self.session_id = secrets.token_hex(8)

    # --- reading -------------------------------------------------------------------------------

    def read_file(self, path: str) -> bytes:
        """The content of ``path``, which the session then knows.

        Raises:
            PathNotFoundError: there is no such file, which the session then knows.
        """
        return self.read_file_with_metadata(path)[1]

    def read_file_with_metadata(self, path: str) -> tuple[FileMetadata, bytes]:
        """As ``read_file``, with the entry."""
        path = normalize_path(path)
        try:
            file, data = reading.read_path(self._catalog, self._blobs, path)
        except PathNotFoundError:
            self._seen[path] = (ABSENT,)
            raise
        self._seen[path] = (file.content_hash,)
        return file, data

    def stat_file(self, path: str) -> FileMetadata | None:
        """The entry of ``path``, None if there is none."""
        path = normalize_path(path)
        file = self._catalog.stat_file(path)
        if file is None:
            self._seen[path] = (ABSENT,)
        return file

    # --- writing -------------------------------------------------------------------------------

    def write_file(self, path: str, data: Data) -> FileMetadata:
        """Make ``path`` hold ``data`` if it holds what the session has seen there.

        Raises:
            FileConflictError: it holds something else, ``actual``; nothing is changed.
        """
        path = normalize_path(path)
        return self._write(path, self._seen_at(path), data)

    def overwrite_file(self, path: str, data: Data) -> FileMetadata:
        """Make ``path`` hold ``data``, whatever it held before."""
        return self._write(normalize_path(path), None, data)

    def _write(self, path: str, seen: Seen | None, data: Data) -> FileMetadata:
        after: dict[str, Version] = {}

        def name(tx: CatalogWriter, row: BlobRow) -> FileMetadata:
            self._sign(tx)
            after[path] = row.content_hash
            expected = None if seen is None else _expected(tx, path, seen)
            return files.name_blob(tx, path, expected, row)

        return self._make(lambda: self._intake.store(as_bytes(data), name), after)

    def delete_file(self, path: str) -> bool:
        """Remove ``path`` if it holds what the session has seen there; False if there was and is no file.

        Raises:
            FileConflictError: it holds something else.
        """
        path = normalize_path(path)
        seen = self._seen_at(path)

        def remove(tx: CatalogWriter) -> bool:
            self._sign(tx)
            return files.remove_path(tx, path, _expected(tx, path, seen))

        return self._make(lambda: self._remove(remove), {path: ABSENT})

    def rename_file(self, source: str, target: str) -> FileMetadata:
        """Make ``target`` hold what ``source`` holds, and remove ``source``, if both are as seen.

        Raises:
            PathNotFoundError: there is no ``source``, as seen.
            FileConflictError: one of them holds something else.
        """
        source, target = normalize_path(source), normalize_path(target)
        seen_source, seen_target = self._seen_at(source), self._seen_at(target)
        after: dict[str, Version] = {}

        def move(tx: CatalogWriter) -> FileMetadata:
            self._sign(tx)
            check_expected(source, _expected(tx, source, seen_source), tx.stat_file(source))
            moved = files.move_path(tx, self._blobs, source, target, _expected(tx, target, seen_target))
            after.update({source: ABSENT, target: moved.content_hash})
            return moved

        return self._make(lambda: self._catalog.write(move), after)

    # --- what was seen ---------------------------------------------------------------------------

    def _seen_at(self, path: str) -> Seen:
        return self._seen.get(path, (ABSENT,))

    def _make(self, change: Callable[[], T], after: Mapping[str, Version]) -> T:
        """Commit ``change``, and remember what it leaves there, ``after``."""
        try:
            result = change()
        except OutcomeUnknownError:
            self._seen |= {path: (*self._seen_at(path), version) for path, version in after.items()}
            raise
        self._seen |= {path: (version,) for path, version in after.items()}
        return result

    def _sign(self, tx: CatalogWriter) -> None:
        tx.describe(actor=self.actor, session=self.session_id)


def _expected(tx: CatalogReader, path: str, seen: Seen) -> Version:
    """Which of the versions is there; the last if none is, which is a conflict then."""
    if len(seen) > 1:
        file = tx.stat_file(path)
        held: Version = ABSENT if file is None else file.content_hash
        if held in seen:
            return held
    return seen[-1]
