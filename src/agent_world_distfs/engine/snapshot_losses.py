"""What snapshots name and the store no longer holds.

Each snapshot is compared with the one before it, and bytes are looked up only where they differ: most of what
snapshots name they have in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

from agent_world_distfs.engine.reading import find_stored
from agent_world_distfs.engine.retained import manifest_entries
from agent_world_distfs.engine.states import merged
from agent_world_distfs.errors import BlobHashMismatchError, BlobMissingError, ManifestError
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogReader
from agent_world_distfs.records import BlobStat, Snapshot

WINDOW = 500
"""Blobs looked up in one snapshot of the catalog."""


class Losses(NamedTuple):
    """Hashes that snapshots name: ``lost``, not stored; and those of manifests that cannot be read.

    ``rotten``: their bytes are others. ``senseless``: their bytes are right, and no manifest, since the index
    was damaged when it was kept: its entries are not checked then.
    """

    lost: set[str]
    rotten: set[str]
    senseless: set[str]


def named_by(
    catalog: Catalog, blobs: BlobFiles, snapshot: Snapshot, previous: Snapshot | None
) -> Iterator[BlobStat]:
    """A snapshot's manifest, and what it names that ``previous`` does not name in the same place.

    Raises:
        BlobMissingError, BlobHashMismatchError: one of the two manifests is gone, or corrupt.
        ManifestError: it is whole, and no manifest.
    """
    yield BlobStat(snapshot.manifest.content_hash, snapshot.manifest.size_bytes)
    before = () if previous is None else manifest_entries(catalog, blobs, previous.manifest)
    for each in merged(before, manifest_entries(catalog, blobs, snapshot.manifest)):
        if each.after is not None:
            yield BlobStat(each.after.content_hash, each.after.size_bytes)


def not_stored(catalog: Catalog, blobs: BlobFiles, names: Iterable[str]) -> set[str]:
    """Those that have no row, or no bytes."""
    left, missing = iter(names), set[str]()
    while window := set(islice(left, WINDOW)):
        missing.update(catalog.read(partial(_without_bytes, blobs, window)))
    return missing


def _without_bytes(blobs: BlobFiles, names: set[str], tx: CatalogReader) -> list[str]:
    return [name for name in names if find_stored(tx, blobs, name) is None]


def lost_in_snapshots(catalog: Catalog, blobs: BlobFiles) -> Losses:
    """What all snapshots name, each looked up twice."""
    lost, rotten, senseless = Losses(set(), set(), set())
    previous: Snapshot | None = None
    for snapshot in catalog.read(lambda tx: tx.list_snapshots()):
        try:
            found = _lost_in(catalog, blobs, snapshot, previous)
            if found:
                found &= _lost_in(catalog, blobs, snapshot, None)
            if not found or is_there(catalog, snapshot):  # else it was dropped meanwhile
                lost.update(found)
        except BlobHashMismatchError as error:
            rotten.add(error.expected)
            found = {error.expected}
        except ManifestError:  # this one's: that of the previous one has been read to its end
            found = {snapshot.manifest.content_hash}
            senseless |= found
        previous = None if found else snapshot
    return Losses(lost, rotten, senseless)


def is_there(catalog: Catalog, snapshot: Snapshot) -> bool:
    """Whether the snapshot has not been dropped meanwhile, and what it names collected."""
    return catalog.read(lambda tx: tx.find_snapshot(snapshot.name)) == snapshot


def _lost_in(catalog: Catalog, blobs: BlobFiles, snapshot: Snapshot, previous: Snapshot | None) -> set[str]:
    names = (blob.content_hash for blob in named_by(catalog, blobs, snapshot, previous))
    try:
        return not_stored(catalog, blobs, names)
    except BlobMissingError as error:
        if previous is not None and error.content_hash != snapshot.manifest.content_hash:
            return _lost_in(catalog, blobs, snapshot, None)  # the previous one was dropped meanwhile
        return {error.content_hash}


def snapshots_naming(catalog: Catalog, blobs: BlobFiles, hashes: set[str]) -> tuple[str, ...]:
    """The names of snapshots that name one of the blobs, or whose manifest is one, or none; oldest first."""
    if not hashes:
        return ()
    snapshots = catalog.read(lambda tx: tx.list_snapshots())
    return tuple(each.name for each in snapshots if _names_any(catalog, blobs, each, hashes))


def _names_any(catalog: Catalog, blobs: BlobFiles, snapshot: Snapshot, hashes: set[str]) -> bool:
    try:
        return any(blob.content_hash in hashes for blob in named_by(catalog, blobs, snapshot, None))
    except (BlobMissingError, BlobHashMismatchError, ManifestError):
        return is_there(catalog, snapshot)
