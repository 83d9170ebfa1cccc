"""The commits that a damaged catalog still has, and what its change log says of the last ones."""

from __future__ import annotations

from collections.abc import Iterator

from agent_world_distfs.catalog.change_format import PART_BYTES, decode_changes
from agent_world_distfs.catalog.checksums import Checksums
from agent_world_distfs.catalog.commits import Commit
from agent_world_distfs.catalog.failures import MALFORMED
from agent_world_distfs.catalog.pages import Record
from agent_world_distfs.catalog.salvage.found import STATE, Found
from agent_world_distfs.catalog.salvage.proving import prove_commit, prove_deed
from agent_world_distfs.catalog.salvage.results import Blob
from agent_world_distfs.protocols import PathChange
from agent_world_distfs.records import FileMetadata

_LONGEST_CHANGE = 4_096 + 256


class Logged:
    """Commits by their numbers, those that are right; and what became of each path last."""

    def __init__(self, found: Found, checksums: Checksums) -> None:
        self._checksums = checksums
        self.commits: dict[int, tuple[Commit, Record]] = {
            record.rowid or 0: (commit, record)
            for record in found.commits
            if (commit := prove_commit(record, checksums)) is not None
        }
        self.changes: dict[str, FileMetadata | None] = dict(self._last_changes())

    def _last_changes(self) -> Iterator[tuple[str, FileMetadata | None]]:
        """What became of each path last, as far back as the change log is unbroken. Older ones come first."""
        steps: list[list[PathChange]] = []
        sequence = max(self.commits, default=-1)
        while sequence in self.commits:
            changes = self._changes_of(self.commits[sequence][1])
            if changes is None:
                break
            steps.append(changes)
            sequence -= 1
        for changes in reversed(steps):
            for change in changes:
                yield change.path, change.after

    def _changes_of(self, record: Record) -> list[PathChange] | None:
        """None where they are not known, or not all of them."""
        if record.values[STATE + 1] is None:
            return []
        deed = prove_deed(record, self._checksums)
        if deed is None or deed.imported is not None or len(deed.changes) + _LONGEST_CHANGE > PART_BYTES:
            return None
        try:
            return list(decode_changes(deed.changes))
        except MALFORMED:
            return None

    def blobs(self) -> set[Blob]:
        """Those that the last changes named."""
        files = (file for file in self.changes.values() if file is not None)
        return {(bytes.fromhex(file.content_hash), file.size_bytes) for file in files}
