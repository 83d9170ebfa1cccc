"""How much is stored, and what names it.

The index is read from page to page, so that the log can be cut meanwhile; beside writers the parts are of
slightly different moments. Every content's hash is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent_world_distfs.engine.orphans import find_unnamed
from agent_world_distfs.engine.retained import snapshot_hashes
from agent_world_distfs.protocols import BlobFiles, Catalog
from agent_world_distfs.records import FileMetadata, UsageReport

PAGE = 1_000
"""Entries looked at in one snapshot."""


def usage(catalog: Catalog, blobs: BlobFiles, prefix: str) -> UsageReport:
    """What the files below a string prefix take, and what else the store holds."""
    inside: dict[str, int] = {}
    outside: set[str] = set()
    total_files = logical_bytes = 0
    for file in _iter_files(catalog):
        if file.path.startswith(prefix):
            total_files, logical_bytes = total_files + 1, logical_bytes + file.size_bytes
            inside[file.content_hash] = file.size_bytes
        else:
            outside.add(file.content_hash)
    pins = {pin.content_hash: pin.size_bytes for pin in catalog.read(lambda tx: tx.list_pins())}
    exclusive = (inside.keys() - outside - pins.keys()).difference(snapshot_hashes(catalog, blobs))
    orphans, in_history, in_snapshots = find_unnamed(catalog, blobs)
    return UsageReport(
        prefix,
        total_files,
        len(inside),
        logical_bytes,
        sum(inside.values()),
        sum(inside[name] for name in exclusive),
        sum(size for name, size in pins.items() if name not in inside and name not in outside),
        sum(blob.size_bytes for blob in in_history),
        sum(blob.size_bytes for blob in in_snapshots),
        sum(blob.size_bytes for blob in orphans),
        catalog.read(lambda tx: tx.total_bytes()) + sum(o.size_bytes for o in orphans if o.row is None),
    )


def _iter_files(catalog: Catalog) -> Iterator[FileMetadata]:
    last = ""
    while page := _page(catalog, last):
        yield from page
        last = page[-1].path


def _page(catalog: Catalog, start_after: str) -> list[FileMetadata]:
    return catalog.read(lambda tx: list(tx.iter_files("", start_after, PAGE)))
