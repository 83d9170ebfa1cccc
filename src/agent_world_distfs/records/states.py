"""Past states of a store: changes, settings of what is kept, snapshots."""

from __future__ import annotations

from dataclasses import dataclass

from agent_world_distfs.records.entries import FileIndexManifestRef, FileMetadata


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction did to one path, or, with the empty path, an import of a whole index.

    ``seq``: the number of the transaction; they ascend in the order in which transactions can be seen.
    ``ordinal``: counts the changes of one transaction, from 0. ``before``, ``after``: the entry of the
    path; None where there was no file; both None for an import. ``at_ms``: when it was committed, by
    the system clock, which may go back. ``actor``, ``message``, ``session_id``: may be empty.
    ``imported``, ``replaced``: manifests of what the index became, and of what it was, if known.
    """

    seq: int
    ordinal: int
    transaction_id: str
    path: str
    before: FileMetadata | None
    after: FileMetadata | None
    at_ms: int
    actor: str = ""
    message: str = ""
    session_id: str = ""
    imported: FileIndexManifestRef | None = None
    replaced: FileIndexManifestRef | None = None

    @property
    def is_import(self) -> bool:
        """Whether the whole index was replaced."""
        return not self.path


@dataclass(frozen=True, slots=True)
class FileDifference:
    """A path whose content differs between two states of the index; None where there is no file."""

    path: str
    before: FileMetadata | None
    after: FileMetadata | None


@dataclass(frozen=True, slots=True)
class LogRange:
    """How far back the change log reaches.

    ``first_seq``: the changes since are known, and the state at it, unless a later import replaced a whole
    index while no history was kept. ``last_seq``: that of the last transaction.
    ``kept_from_seq``: states from it on can be read with their contents; None: none can.
    """

    first_seq: int
    last_seq: int
    kept_from_seq: int | None


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The settings of a store, the same for every process that has it open.

    ``keep_history``: whether overwritten or deleted contents are kept. The others: the limits of
    ``expire_history`` when it is given no bounds; None is no limit.
    """

    keep_history: bool = False
    history_max_age_ms: int | None = None
    history_max_transactions: int | None = None
    history_max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of the index kept by name. ``created_at_ms``: by the system clock.

    ``manifest``: what an export of that state gives; it and all that it names are kept as long as the
    snapshot.
    """

    name: str
    manifest: FileIndexManifestRef
    created_at_ms: int
    total_files: int
    message: str = ""


State = int | str
"""A state of the index: the number of the transaction that led to it, or the name of a snapshot."""
