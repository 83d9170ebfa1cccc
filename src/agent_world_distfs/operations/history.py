"""Past states of the index, and what changed: queries of the change log."""

from __future__ import annotations

from collections.abc import Iterator

from agent_world_distfs.engine.changes import concerns, iter_changes, require_kept
from agent_world_distfs.engine.past import known_last
from agent_world_distfs.engine.reading import read_hash
from agent_world_distfs.engine.snapshots import opened_snapshot, reading
from agent_world_distfs.engine.states import file_at
from agent_world_distfs.errors import BlobMissingError, BlobNotFoundError, PathNotFoundError
from agent_world_distfs.paths import check_name
from agent_world_distfs.protocols import BlobFiles, Catalog
from agent_world_distfs.records import Change, LogRange, State


def log_range(catalog: Catalog) -> LogRange:
    """How far back the change log reaches."""
    state = catalog.read(lambda tx: tx.log_state())
    return LogRange(state.floor, state.last, None if state.history_from is None else state.kept_after)


def list_changes(catalog: Catalog, since: int | None, prefix: str) -> Iterator[Change]:
    """Changes from ``since`` to now, which is when this is called; None: from the first that is known."""
    since = log_range(catalog).first_seq if since is None else since
    return iter_changes(catalog, since, known_last(catalog, since), lambda change: concerns(change, prefix))


def path_history(catalog: Catalog, path: str) -> Iterator[Change]:
    """The changes of one path, and the imports."""
    since = log_range(catalog).first_seq
    last = known_last(catalog, since)
    return iter_changes(catalog, since, last, lambda change: change.is_import or change.path == path)


def read_at(catalog: Catalog, blobs: BlobFiles, path: str, state: State) -> bytes:
    """The content that a path had in a state, verified."""
    if not isinstance(state, str):
        return _read_after(catalog, blobs, path, state)
    with opened_snapshot(catalog, blobs, check_name(state)) as opened, reading(catalog, opened.snapshot):
        file = opened.find(path)
        if file is None:
            raise PathNotFoundError(path)
        return read_hash(catalog, blobs, file.content_hash)


def _read_after(catalog: Catalog, blobs: BlobFiles, path: str, seq: int) -> bytes:
    require_kept(catalog.read(lambda tx: tx.log_state()), seq)
    file = file_at(catalog, blobs, path, seq)
    if file is None:
        raise PathNotFoundError(path)
    try:
        return read_hash(catalog, blobs, file.content_hash)
    except BlobNotFoundError as error:
        require_kept(catalog.read(lambda tx: tx.log_state()), seq)  # expired meanwhile?
        raise BlobMissingError(file.content_hash, path) from error
