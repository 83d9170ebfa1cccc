"""A new catalog from what was salvaged of a damaged one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import apsw

from agent_world_distfs.catalog.checksums import Checksums, sum_up
from agent_world_distfs.catalog.commits import INSERT_COMMIT, NO_DEED, Commit
from agent_world_distfs.catalog.pages import PageFile
from agent_world_distfs.catalog.salvage import Salvage, payload_of
from agent_world_distfs.catalog.schema import write_catalog
from agent_world_distfs.catalog.snapshots import ADD_SNAPSHOT, snapshot_row
from agent_world_distfs.records import HashAlgorithm

LOST_AT = "index_lost_at"
"""The setting of a store whose catalog was built anew and not proven: by which transaction."""

_FIRST_GENERATION = 1
_MANY_COMMITS = 1 << 40
"""More than can have been lost: what has been committed since must have another number."""


@dataclass(frozen=True, slots=True)
class Materials:
    """``pages``: those that the salvage read. ``stored``: large blobs whose files are whole and durable.

    ``notes``: further settings.
    """

    salvage: Salvage
    pages: PageFile
    algorithm: HashAlgorithm
    stored: dict[bytes, int]
    notes: dict[str, str]


def rebuild_catalog(path: str, materials: Materials) -> None:
    """Write it to ``path``, where nothing is yet; flushed, closed, without a WAL.

    A blob that is named and has neither bytes in the old catalog nor a file gets a row without bytes:
    it is missing, and known to be. The change log begins anew, and so does a history that is kept.
    """
    write_catalog(path, _Builder(materials).fill)


class _Builder:
    def __init__(self, materials: Materials) -> None:
        self._from, self._salvage = materials, materials.salvage
        self._key = self._salvage.key or secrets.token_bytes(32)
        self._checksums = Checksums(self._key)
        known = self._salvage.commit
        self._next_id = max(1, self._salvage.highest_blob_id + 1, 0 if known is None else known.next_blob_id)
        self._ids: dict[bytes, int] = {}
        before = int(self._salvage.settings.get(LOST_AT, 0))  # all commits since may be lost
        self._sequence = max(self._salvage.highest_sequence, before) + 1
        if not self._salvage.is_proven:
            self._sequence += _MANY_COMMITS

    def fill(self, connection: apsw.Connection) -> None:
        algorithm = self._from.algorithm.value
        connection.execute("INSERT INTO store VALUES (1, ?, ?)", (algorithm, self._key))
        for raw, size_bytes in sorted(self._blobs().items()):
            self._add_blob(connection, raw, size_bytes)
        self._add_files(connection)
        pins = [(self._ids[raw], self._checksums.pin(raw)) for raw in sorted(self._salvage.pins)]
        connection.executemany("INSERT INTO pins VALUES (?, ?)", pins)
        named = self._salvage.settings | self._from.notes
        if not self._salvage.is_proven:
            named[LOST_AT] = str(self._sequence)
        settings = [(*each, self._checksums.setting(*each)) for each in named.items()]
        connection.executemany("INSERT INTO settings VALUES (?, ?, ?)", settings)
        snapshots = [snapshot_row(each, self._checksums) for each in self._salvage.snapshots]
        connection.executemany(ADD_SNAPSHOT, snapshots)
        state = self._state(sum_up(row[-1] for row in pins), sum_up(row[-1] for row in snapshots))
        connection.execute(INSERT_COMMIT, (*state.row(self._checksums), *NO_DEED))

    def _blobs(self) -> dict[bytes, int]:
        """All that get a row: those that had one, those that are named, and what else is stored."""
        salvage = self._salvage
        named = {entry.content_hash: entry.size_bytes for entry in salvage.entries.values()}
        sizes = salvage.former_blobs | self._from.stored | salvage.blobs
        pinned = {raw: sizes.get(raw, 0) for raw in salvage.pins}
        return self._from.stored | salvage.blobs | pinned | named

    def _add_blob(self, connection: apsw.Connection, raw: bytes, size_bytes: int) -> None:
        place = self._salvage.payloads.get(raw)
        payload = None if place is None else payload_of(self._from.pages, place)
        if payload is not None:
            size_bytes = len(payload)
        checksum = self._checksums.blob(raw, size_bytes, is_inline=payload is not None)
        row = (self._next_id, raw, size_bytes, checksum, payload)
        connection.execute("INSERT INTO blobs VALUES (?, ?, ?, ?, ?)", row)
        self._ids[raw] = self._next_id
        self._next_id += 1

    def _add_files(self, connection: apsw.Connection) -> None:
        rows = (
            (_FIRST_GENERATION, path, self._ids[entry.content_hash], entry.updated_at_ms, entry.checksum)
            for path, entry in sorted(self._salvage.entries.items())
        )
        connection.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?)", rows)

    def _state(self, pins: tuple[int, bytes], snapshots: tuple[int, bytes]) -> Commit:
        salvage, known = self._salvage, self._salvage.commit
        total_files, digest = sum_up(entry.checksum for entry in salvage.entries.values())
        return Commit(
            sequence=self._sequence,
            nonce=secrets.token_bytes(8),
            moved_to=None if known is None else known.moved_to,
            epoch=0 if known is None else known.epoch,
            next_blob_id=self._next_id,
            generation=_FIRST_GENERATION,
            total_files=total_files,
            digest=digest,
            total_pins=pins[0],
            pin_digest=pins[1],
            total_snapshots=snapshots[0],
            snapshot_digest=snapshots[1],
            history_from=None if known is None or known.history_from is None else self._sequence,
            log_floor=self._sequence,
        )
