"""The catalog of a copy: one snapshot, whose blobs are kept until they are copied."""

from __future__ import annotations

from collections.abc import Mapping

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.copying.target import Target
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.engine.orphans import SHARDS
from agent_world_distfs.engine.retained import kept_hashes
from agent_world_distfs.engine.scrubbing import SETTING
from agent_world_distfs.errors import (
    BlobHashMismatchError,
    BlobMissingError,
    CatalogError,
    StorageFullError,
    UnavailableError,
)
from agent_world_distfs.protocols import BlobBrief, CatalogReader

_ATTEMPTS = 10
_CHUNK = 300


def copy_catalog(
    catalog: SqliteCatalog, blobs: DirectoryBlobs, place: Target, lease: Lease | None
) -> tuple[SqliteCatalog, set[str], bool]:
    """The copy of one snapshot; the blobs that are lost here; whether the others are kept.

    They are not without a lease, nor on a full disk, which must be no reason to make no copy. What was
    overwritten and collected since the snapshot is no loss: then a newer one is taken.

    Raises:
        UnavailableError: that happens again and again.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        path = place.new_catalog()
        _write_copy(catalog, path, {SETTING: place.verified})
        copy = place.open_catalog(path)
        try:
            _require_sound(copy)
            missing, lease = _keep_all(copy, lease)
            named = find_named(copy, blobs, missing)
            if not named or attempt == _ATTEMPTS:
                require_lost(catalog, copy, named)
                return copy, missing, lease is not None
        except BaseException:
            copy.close()
            raise
        copy.close()
    raise AssertionError("the last attempt returns")


def _require_sound(copy: SqliteCatalog) -> None:
    """No damaged catalog takes the place of a good copy."""
    damage = copy.read(lambda tx: next(tx.find_damage(), None))
    if damage is not None:
        raise CatalogError(damage)


def _write_copy(catalog: SqliteCatalog, path: str, own_settings: Mapping[str, str | None]) -> None:
    catalog.read(lambda tx: tx.copy_to(path, own_settings))


def _keep_all(copy: SqliteCatalog, lease: Lease | None) -> tuple[set[str], Lease | None]:
    """What is missing, and the lease, if it keeps all else."""
    missing: set[str] = set()
    if lease is None:
        return missing, None
    for shard in SHARDS:
        names = [row.content_hash for row in list_rows(copy, shard)]
        for start in range(0, len(names), _CHUNK):
            try:
                missing.update(lease.keep(names[start : start + _CHUNK]))
            except StorageFullError:
                return set(), None
    return missing, lease


def require_lost(catalog: SqliteCatalog, copy: SqliteCatalog, missing: set[str]) -> None:
    """Make sure that what was found missing is lost here, and not collected since the snapshot.

    A collection drops the row before it takes the bytes, and ids are never reused: bytes of a row that is
    still there are lost.

    Raises:
        UnavailableError: it was collected.
    """

    def find_ids(tx: CatalogReader) -> dict[str, int]:
        return {name: row.blob_id for name in missing if (row := tx.find_brief(name)) is not None}

    if copy.read(find_ids) != catalog.read(find_ids):
        raise UnavailableError("what is copied was overwritten and collected meanwhile: retry")


def list_rows(copy: SqliteCatalog, shard: str) -> list[BlobBrief]:
    """The rows of large blobs whose hashes begin with ``shard``."""
    return copy.read(lambda tx: tx.list_shard(shard))


def find_named(copy: SqliteCatalog, blobs: DirectoryBlobs, hashes: set[str]) -> set[str]:
    """Those that a path, a pin, a snapshot or the history names; manifests are read from ``blobs``."""
    if not hashes:
        return set()
    unnamed = copy.read(lambda tx: {blob.content_hash for blob in tx.list_unnamed_blobs(frozenset())})
    named = hashes - unnamed
    try:
        named.update(name for name in kept_hashes(copy, blobs) if name in hashes)
    except BlobMissingError as error:  # a manifest: what else it names there is no telling
        named.add(error.content_hash)
    except BlobHashMismatchError as error:
        named.add(error.expected)
    return named & hashes
