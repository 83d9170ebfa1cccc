"""How much is stored, and what names it.

Beside writers the parts are of slightly different moments. Every content's hash is held in memory.
"""

from __future__ import annotations

from agent_world_distfs.engine.orphans import find_unnamed
from agent_world_distfs.engine.paging import iter_index
from agent_world_distfs.engine.retained import snapshot_hashes
from agent_world_distfs.protocols import BlobFiles, Catalog
from agent_world_distfs.records import UsageReport


def usage(catalog: Catalog, blobs: BlobFiles, prefix: str) -> UsageReport:
    """What the files below a string prefix take, and what else the store holds."""
    inside: dict[str, int] = {}
    outside: set[str] = set()
    total_files = logical_bytes = 0
    for file in iter_index(catalog):
        if file.path.startswith(prefix):
            total_files, logical_bytes = total_files + 1, logical_bytes + file.size_bytes
            inside[file.content_hash] = file.size_bytes
        else:
            outside.add(file.content_hash)
    pins = {pin.content_hash: pin.size_bytes for pin in catalog.read(lambda tx: tx.list_pins())}
    exclusive = (inside.keys() - outside - pins.keys()).difference(snapshot_hashes(catalog, blobs))
    unnamed = find_unnamed(catalog, blobs)
    strays = [orphan for orphan in unnamed.orphans if orphan.row is None]
    return UsageReport(
        prefix=prefix,
        total_files=total_files,
        total_blobs=len(inside),
        logical_bytes=logical_bytes,
        unique_bytes=sum(inside.values()),
        exclusive_bytes=sum(inside[name] for name in exclusive),
        pinned_bytes=sum(pins[name] for name in pins.keys() - inside.keys() - outside),
        history_bytes=sum(blob.size_bytes for blob in unnamed.in_history),
        snapshot_bytes=sum(blob.size_bytes for blob in unnamed.in_snapshots),
        orphan_bytes=sum(blob.size_bytes for blob in unnamed.orphans),
        stored_bytes=catalog.read(lambda tx: tx.total_bytes()) + sum(stray.size_bytes for stray in strays),
    )
