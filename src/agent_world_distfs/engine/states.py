"""States of the index, whichever way one is named: by the number of a transaction, or as a snapshot.

A state with a number is made from the change log, and costs what has happened since. A snapshot is read from
its manifest, from the first entry on, in bounded memory: it costs what the index had.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from agent_world_distfs.engine import past
from agent_world_distfs.engine.changes import check_seq
from agent_world_distfs.engine.file_spool import FileSpool
from agent_world_distfs.engine.pairing import paired
from agent_world_distfs.engine.past import content_of
from agent_world_distfs.engine.snapshots import find_snapshot, opened_snapshot
from agent_world_distfs.paths import check_name
from agent_world_distfs.protocols import BlobFiles, Catalog
from agent_world_distfs.records import FileDifference, FileMetadata, State


def file_at(catalog: Catalog, blobs: BlobFiles, path: str, state: State) -> FileMetadata | None:
    """The entry of a path in a state."""
    if not isinstance(state, str):
        return past.file_at(catalog, blobs, path, state)
    with opened_snapshot(catalog, blobs, check_name(state)) as snapshot:
        return snapshot.find(path)


def files_at(catalog: Catalog, blobs: BlobFiles, state: State, prefix: str) -> list[FileMetadata]:
    """The entries with a prefix in a state, ascending by the bytes of the path."""
    if not isinstance(state, str):
        return past.files_at(catalog, blobs, state, prefix)
    with opened_snapshot(catalog, blobs, check_name(state)) as snapshot:
        return list(snapshot.entries(prefix))


def differences(
    catalog: Catalog, blobs: BlobFiles, state_a: State, state_b: State | None, prefix: str
) -> Iterator[FileDifference]:
    """The paths whose content differs between two states, ascending; None: the index of now.

    That there are such states is made sure of at once. With a number, and no snapshot, the differences are
    found at once, too. Snapshots are read, and the index of now is copied out to compare it with one, when
    the first difference is asked for.
    """
    for state in (state_a, state_b):
        if isinstance(state, str):
            find_snapshot(catalog, check_name(state))
    states = (state_a,) if state_b is None else (state_a, state_b)
    numbers = [check_seq(state) for state in states if not isinstance(state, str)]
    if isinstance(state_a, str) or isinstance(state_b, str):
        past.known_last(catalog, *numbers)
        return _merged(catalog, blobs, state_a, state_b, prefix)
    last = past.known_last(catalog, *numbers)
    until = last if state_b is None else state_b
    return iter(past.differences(catalog, blobs, state_a, until, prefix))


def _merged(
    catalog: Catalog, blobs: BlobFiles, state_a: State, state_b: State | None, prefix: str
) -> Iterator[FileDifference]:
    with ExitStack() as stack:

        def entries(state: State | None) -> Iterable[FileMetadata]:
            if state is None:
                return stack.enter_context(FileSpool(catalog, prefix))
            if isinstance(state, str):
                return stack.enter_context(opened_snapshot(catalog, blobs, state)).entries(prefix)
            return past.files_at(catalog, blobs, state, prefix)

        yield from merged(entries(state_a), entries(state_b))


def merged(before: Iterable[FileMetadata], after: Iterable[FileMetadata]) -> Iterator[FileDifference]:
    """The paths whose content differs; both ascend by the bytes of the path."""
    for pair in paired(before, after):
        if content_of(pair.before) != content_of(pair.after):
            yield FileDifference(*pair)
