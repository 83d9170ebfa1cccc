"""What all methods of a store build on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from agent_world_distfs.engine.full_disk import removing
from agent_world_distfs.engine.intake import Intake
from agent_world_distfs.engine.other_stores import named_by, require_algorithm
from agent_world_distfs.errors import InvalidInputError
from agent_world_distfs.protocols import BlobFiles, BlobRow, BlobStore, Catalog, CatalogWriter
from agent_world_distfs.records import BlobStat, HashAlgorithm

T = TypeVar("T")

_transaction_id = re.compile(r"(0|[1-9][0-9]{0,18})-[0-9a-f]{16}", re.ASCII)


class StoreBase:
    """A catalog and blob storage, joined."""

    def __init__(self, location: str, catalog: Catalog, blob_files: BlobFiles) -> None:
        self.location = location
        self._catalog = catalog
        self._blobs = blob_files
        self._intake = Intake(catalog, blob_files)

    @property
    def hash_algorithm(self) -> HashAlgorithm:
        """The function that names the blobs of this store."""
        return self._catalog.hash_algorithm

    def _remove(self, change: Callable[[CatalogWriter], T]) -> T:
        return removing(self._catalog, self._blobs, lambda: self._catalog.write(change))

    def _require_algorithm(self, source: BlobStore) -> None:
        require_algorithm(named_by(source), self.hash_algorithm)


def stat_row(_: CatalogWriter, row: BlobRow) -> BlobStat:
    """What to return when a blob was stored and nothing was named."""
    return BlobStat(row.content_hash, row.size_bytes)


def check_text(text: str, name: str) -> str:
    """Return ``text`` if the change log can hold it: invalid text must not be reported as catalog damage."""
    if not isinstance(text, str):
        raise TypeError(f"{name} is a str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{name} is not representable as UTF-8 (lone surrogate)") from None
    return text


def check_transaction_id(text: str) -> str:
    """Return ``text`` if it can be the id of a transaction of some store."""
    if not isinstance(text, str):
        raise TypeError(f"a transaction id is a str, not {type(text).__name__}")
    match = _transaction_id.fullmatch(text)
    if match is None or int(match[1]) >= 1 << 63:
        raise InvalidInputError(f"not the id of a transaction, such as 12-0123456789abcdef: {text[:80]!r}")
    return text
