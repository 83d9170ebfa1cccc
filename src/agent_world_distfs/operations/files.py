"""Changes of single paths and pins, each for the inside of one write transaction."""

from __future__ import annotations

from collections.abc import Iterable

from agent_world_distfs.clock import now_ms
from agent_world_distfs.engine.conditions import check_expected
from agent_world_distfs.engine.reading import find_stored
from agent_world_distfs.errors import BlobMissingError, BlobNotFoundError, PathNotFoundError
from agent_world_distfs.protocols import BlobBrief, BlobFiles, BlobRow, CatalogReader, CatalogWriter
from agent_world_distfs.records import Expected, FileMetadata


def name_blob(tx: CatalogWriter, path: str, expected: Expected, blob: BlobRow | BlobBrief) -> FileMetadata:
    """Make ``path`` name a blob that is stored, if it holds what is expected."""
    if expected is not None:
        check_expected(path, expected, tx.stat_file(path))
    return tx.set_file(path, blob, now_ms())


def remove_path(tx: CatalogWriter, path: str, expected: Expected) -> bool:
    """Remove ``path`` if it holds what is expected; False if it was not there."""
    if expected is not None:
        check_expected(path, expected, tx.stat_file(path))
    return tx.remove_file(path)


def remove_paths(tx: CatalogWriter, paths: Iterable[str]) -> int:
    """Remove paths; returns how many were there."""
    return sum(tx.remove_file(path) for path in paths)


def link_path(
    tx: CatalogWriter, blobs: BlobFiles, path: str, content_hash: str, expected: Expected
) -> FileMetadata:
    """Make ``path`` name a stored blob by its hash."""
    return name_blob(tx, path, expected, _stored(tx, blobs, content_hash))


def copy_path(
    tx: CatalogWriter, blobs: BlobFiles, source: str, target: str, expected: Expected
) -> FileMetadata:
    """Make ``target`` hold what ``source`` holds; the condition is on ``target``."""
    held = tx.stat_file(source)
    if held is None:
        raise PathNotFoundError(source)
    if find_stored(tx, blobs, held.content_hash) is None:
        raise BlobMissingError(held.content_hash, source)
    return link_path(tx, blobs, target, held.content_hash, expected)


def move_path(
    tx: CatalogWriter, blobs: BlobFiles, source: str, target: str, expected: Expected
) -> FileMetadata:
    """The same, and ``source`` is gone; onto itself it only counts as a write."""
    moved = copy_path(tx, blobs, source, target, expected)
    if source != target:
        tx.remove_file(source)
    return moved


def pin_blob(tx: CatalogWriter, blobs: BlobFiles, content_hash: str) -> None:
    """Pin a stored blob."""
    tx.add_pin(_stored(tx, blobs, content_hash))


def _stored(tx: CatalogReader, blobs: BlobFiles, content_hash: str) -> BlobBrief:
    row = find_stored(tx, blobs, content_hash)
    if row is None:
        raise BlobNotFoundError(content_hash)
    return row
