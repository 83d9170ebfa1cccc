"""What the pages of a damaged catalog hold, sorted by the look of it; nothing is believed yet."""

from __future__ import annotations

from dataclasses import fields

from agent_world_distfs.catalog.commits import Commit, Deed
from agent_world_distfs.catalog.pages import Record
from agent_world_distfs.records import HashAlgorithm

STATE, DEED = len(fields(Commit)), len(fields(Deed))
"""How many values of the row of a commit are its state, and how many what it did."""


class Found:
    """Records by the table that they look like."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.algorithm: HashAlgorithm | None = None
        self.commits: list[Record] = []
        self.blobs: list[Record] = []
        self.files: list[Record] = []
        self.pins: list[Record] = []
        self.snapshots: list[Record] = []
        self.settings: list[Record] = []
        self.schema: dict[str, str] = {}

    def sort_in(self, record: Record) -> None:
        """Put a record to those that it looks like; one that looks like none is left out."""
        if record.rowid is None:
            self._sort_in_index(record)
        else:
            self._sort_in_table(record)

    def _sort_in_index(self, record: Record) -> None:
        match record.values:
            case (int(), str(), int(), int(), bytes()):
                self.files.append(record)
            case (str(), bytes(), int(), int(), int(), str(), bytes()):
                self.snapshots.append(record)
            case (str(), str(), bytes()) if not record.is_free:
                self.settings.append(record)

    def _sort_in_table(self, record: Record) -> None:
        match record.values:
            case (None, bytes(), int(), bytes(), bytes() | None):
                self.blobs.append(record)
            case (None, bytes()):
                self.pins.append(record)
            case (None, str() as algorithm, bytes() as key):
                self.keys.append(key)
                if algorithm in {each.value for each in HashAlgorithm}:
                    self.algorithm = HashAlgorithm(algorithm)
            case (str(), str() as name, str(), int(), str() as sql):
                self.schema[name] = sql
            case (None, bytes(), *_) if len(record.values) == STATE + DEED + 2:
                self.commits.append(record)
