"""What others know of a damaged catalog, and what is left of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_world_distfs.catalog.commits import Commit
from agent_world_distfs.records import FileMetadata, HashAlgorithm, Snapshot

Blob = tuple[bytes, int]
"""Content hash and size."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the index."""

    content_hash: bytes
    size_bytes: int
    updated_at_ms: int
    checksum: bytes


@dataclass(slots=True)
class Hints:
    """What others know: keys of copies of this store; blobs, entries, pins and snapshots that it may have."""

    keys: list[bytes] = field(default_factory=list)
    blobs: set[Blob] = field(default_factory=set)
    files: list[FileMetadata] = field(default_factory=list)
    pins: set[bytes] = field(default_factory=set)
    snapshots: list[Snapshot] = field(default_factory=list)


@dataclass(slots=True)
class Salvage:
    """What a new catalog can be made of. ``payloads``: where the bytes of inline blobs stand.

    ``former_blobs``: rows of pages that are not in use, which may be needed all the same.
    ``commit``: the last state that is known. ``lost_files``: how many more entries there were, None if
    nothing tells; ``doubtful_paths``: what they may have been. ``lost_pins``, ``lost_snapshots``: the same
    of these. ``is_index_proven``: the entries are exactly those of the last state; ``is_proven``: so are pins
    and snapshots.
    """

    key: bytes | None
    algorithm: HashAlgorithm | None
    commit: Commit | None = None
    highest_sequence: int = 0
    highest_blob_id: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    pins: set[bytes] = field(default_factory=set)
    snapshots: list[Snapshot] = field(default_factory=list)
    blobs: dict[bytes, int] = field(default_factory=dict)
    former_blobs: dict[bytes, int] = field(default_factory=dict)
    payloads: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    damaged_settings: set[str] = field(default_factory=set)
    schema: dict[str, str] = field(default_factory=dict)
    lost_files: int | None = None
    doubtful_paths: set[str] = field(default_factory=set)
    lost_pins: int | None = None
    lost_snapshots: int | None = None
    is_index_proven: bool = False
    is_proven: bool = False
