"""What a catalog and blob storage say about what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from agent_world_distfs.records import FileMetadata


@dataclass(frozen=True, slots=True)
class BlobRow:
    """One blob of the catalog. ``blob_id``: never used for another blob, not even after this is dropped.

    ``payload``: the bytes of an inline blob; None where the bytes are in blob storage.
    """

    blob_id: int
    content_hash: str
    size_bytes: int
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class BlobBrief:
    """A blob row without its bytes."""

    blob_id: int
    content_hash: str
    size_bytes: int
    is_inline: bool


@dataclass(frozen=True, slots=True)
class IndexState:
    """Distinguishes two states of the index without reading them: how many entries, and their digest.

    ``digest`` is keyed by the store: comparable within it, meaningless outside.
    """

    total_files: int
    digest: bytes


class PathChange(NamedTuple):
    """What happened to one path; None: no entry."""

    path: str
    before: FileMetadata | None
    after: FileMetadata | None


@dataclass(frozen=True, slots=True)
class LoggedTransaction:
    """A transaction that changed the index, as the change log knows it.

    ``imported``, ``replaced``: references (``HASH:SIZE``) of the manifest that an import made the index,
    "" if it is not known, and of what the index was before; both None for all but imports, which have
    no ``changes``. ``changes``: in the order in which they were made; to be gone through once, inside
    the call that the reader was handed to.
    """

    sequence: int
    transaction_id: str
    at_ms: int
    actor: str
    message: str
    session: str
    imported: str | None
    replaced: str | None
    changes: Iterator[PathChange]


@dataclass(frozen=True, slots=True)
class LogState:
    """How far back the change log reaches: transactions after ``floor`` and up to ``last`` are known.

    ``history_from``: the transaction since which overwritten contents are kept; None: they are not.
    """

    last: int
    floor: int
    history_from: int | None

    @property
    def kept_after(self) -> int:
        """States of the index from this number on are kept with their contents; only if any are."""
        return max(self.floor, self.history_from or 0)

    def keeps(self, sequence: int) -> bool:
        """Whether what transaction ``sequence`` made old is kept, with the manifests of an import."""
        return self.history_from is not None and sequence > self.kept_after


@dataclass(frozen=True, slots=True)
class Doubted:
    """What seems to stand for nothing: ids of blobs without a name, hashes of blobs without a row."""

    unnamed: set[int]
    rowless: set[str]


@dataclass(frozen=True, slots=True)
class StoredForm:
    """What stands under a blob's name. ``identity`` distinguishes two objects of the same name."""

    size_bytes: int
    identity: int
    is_regular: bool
