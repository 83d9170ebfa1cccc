"""Past states of the index: the current one, with the changes since undone.

A change says what was there before it, so the state at a ``seq`` is, for each path, the first ``before`` of
the changes after it, or the current entry for a path without one. The first import after it ends the search:
its manifest says what the index was then. So the cost depends on how much has happened since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent_world_distfs.engine.changes import changes_of, check_seq, iter_changes, require_known
from agent_world_distfs.engine.retained import manifest_entries
from agent_world_distfs.errors import BlobMissingError, HistoryExpiredError
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogReader
from agent_world_distfs.records import Change, FileDifference, FileMetadata

Entries = dict[str, FileMetadata]


def file_at(catalog: Catalog, blobs: BlobFiles, path: str, seq: int) -> FileMetadata | None:
    """The entry of a path after transaction ``seq``."""

    def current(tx: CatalogReader) -> list[FileMetadata]:
        file = tx.stat_file(path)
        return [] if file is None else [file]

    return _state_at(catalog, blobs, seq, lambda each: each == path, current).get(path)


def files_at(catalog: Catalog, blobs: BlobFiles, seq: int, prefix: str) -> list[FileMetadata]:
    """The entries with a prefix after transaction ``seq``, ascending by the bytes of the path."""
    state = _state_at(
        catalog, blobs, seq, lambda each: each.startswith(prefix), lambda tx: tx.iter_files(prefix)
    )
    return sorted(state.values(), key=lambda file: file.path.encode())


def _state_at(
    catalog: Catalog,
    blobs: BlobFiles,
    seq: int,
    is_wanted: Callable[[str], bool],
    current: Callable[[CatalogReader], Iterable[FileMetadata]],
) -> Entries:
    before: dict[str, FileMetadata | None] = {}

    def take_back(changes: Iterable[Change]) -> Change | None:
        """Returns the import at which the search ends."""
        for change in changes:
            if change.is_import:
                return change
            before.setdefault(change.path, change.before)
        return None

    def take_back_rest(tx: CatalogReader) -> Change | Entries:
        """In one snapshot what has happened since, and what is there now."""
        state = tx.log_state()
        require_known(state, last)
        for transaction in tx.iter_transactions(last, state.last):
            wanted = (each for each in changes_of(transaction) if each.is_import or is_wanted(each.path))
            if (found := take_back(wanted)) is not None:
                return found
        return _by_path(current(tx))

    last = known_last(catalog, seq)
    rows = iter_changes(catalog, seq, last, lambda each: each.is_import or is_wanted(each.path))
    found = take_back(rows) or catalog.read(take_back_rest)
    if isinstance(found, Change):
        found = _replaced_by(catalog, blobs, found, seq, is_wanted)
    return _by_path(file for path in found | before for file in [before.get(path, found.get(path))] if file)


def known_last(catalog: Catalog, *seqs: int) -> int:
    """The last transaction, if the change log reaches back to each of ``seqs``."""
    for seq in seqs:
        check_seq(seq)
    state = catalog.read(lambda tx: tx.log_state())
    for seq in seqs:
        require_known(state, seq)
    return state.last


def _by_path(files: Iterable[FileMetadata]) -> Entries:
    return {file.path: file for file in files}


def _replaced_by(
    catalog: Catalog, blobs: BlobFiles, change: Change, seq: int, is_wanted: Callable[[str], bool]
) -> Entries:
    def require_kept() -> None:
        state = catalog.read(lambda tx: tx.log_state())
        if not state.keeps(change.seq):
            raise HistoryExpiredError(seq, max(change.seq, state.floor))

    if change.replaced is None:
        raise HistoryExpiredError(seq, change.seq)
    require_kept()  # or its bytes are there, if at all, until the next prune
    try:
        entries = manifest_entries(catalog, blobs, change.replaced)
        return _by_path(file for file in entries if is_wanted(file.path))
    except BlobMissingError:
        require_kept()  # expired meanwhile?
        raise


def differences(
    catalog: Catalog, blobs: BlobFiles, seq_a: int, seq_b: int, prefix: str = ""
) -> list[FileDifference]:
    """The paths whose content differs between two states, either of which may be the older."""
    known_last(catalog, seq_a, seq_b)
    if seq_a > seq_b:
        turned = differences(catalog, blobs, seq_b, seq_a, prefix)
        return [FileDifference(each.path, each.after, each.before) for each in turned]
    old: dict[str, FileMetadata | None] = {}
    new: dict[str, FileMetadata | None] = {}
    for change in iter_changes(
        catalog, seq_a, seq_b, lambda each: each.is_import or each.path.startswith(prefix)
    ):
        if change.is_import:
            old = dict(_by_path(files_at(catalog, blobs, seq_a, prefix)))
            new = dict(_by_path(files_at(catalog, blobs, seq_b, prefix)))
            break
        old.setdefault(change.path, change.before)
        new[change.path] = change.after
    paths = sorted(old.keys() | new.keys(), key=str.encode)
    found = (FileDifference(path, old.get(path), new.get(path)) for path in paths)
    return [each for each in found if content_of(each.before) != content_of(each.after)]


def content_of(file: FileMetadata | None) -> str | None:
    """What a path holds; None for no file."""
    return None if file is None else file.content_hash
