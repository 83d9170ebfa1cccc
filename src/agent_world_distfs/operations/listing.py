"""Listings of the index, each of one snapshot."""

from __future__ import annotations

from collections.abc import Iterator

from agent_world_distfs.engine.file_spool import FileSpool
from agent_world_distfs.protocols import Catalog
from agent_world_distfs.records import FileMetadata


def iter_index(catalog: Catalog, prefix: str) -> Iterator[FileMetadata]:
    """The entries with a prefix, in bounded memory; the snapshot is taken at the first step."""
    with FileSpool(catalog, prefix) as spool:
        yield from spool
