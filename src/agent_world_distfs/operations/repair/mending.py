"""Planning a repair, and carrying it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain

from agent_world_distfs.engine.intake import Intake
from agent_world_distfs.engine.other_stores import Bounded
from agent_world_distfs.engine.paging import iter_index
from agent_world_distfs.engine.snapshot_losses import snapshots_naming
from agent_world_distfs.engine.writable import require_writable
from agent_world_distfs.errors import (
    BlobHashMismatchError,
    CorruptError,
    NotFoundError,
    StorageIOError,
    WorldError,
)
from agent_world_distfs.hashing import hash_stream, require_hash
from agent_world_distfs.operations.repair.examining import (
    BadBlob,
    find_bad_blobs,
    find_rowless_blobs,
    look_again,
)
from agent_world_distfs.operations.repair.sources import Source
from agent_world_distfs.protocols import BlobFiles, BlobRow, Catalog
from agent_world_distfs.records import Progress, Readable, RepairReport


@dataclass(slots=True)
class _Outcome:
    repaired: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    quarantined: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)


def repair(
    catalog: Catalog,
    blobs: BlobFiles,
    sources: Sequence[Source],
    *,
    dry_run: bool,
    progress: Progress | None,
) -> RepairReport:
    """Read every blob and repair those that are missing or wrong, from the first source that has them."""
    if not dry_run:
        require_writable(catalog)
    outcome = _Outcome()
    for bad in chain(find_bad_blobs(catalog, blobs, progress), find_rowless_blobs(catalog, blobs)):
        with bad:
            take = _try_bytes(catalog, bad) if dry_run else _take_bytes(catalog, blobs, bad, outcome)
            if _mend(sources, bad, take, outcome):
                outcome.repaired.add(bad.content_hash)
                continue
            still = _still_bad(catalog, blobs, bad) if sources else bad
            if still is not None:
                with still:
                    outcome.lost.add(still.content_hash)
                    if not dry_run:
                        _set_aside(catalog, blobs, still, outcome)
    return _report(catalog, blobs, outcome, dry_run=dry_run)


def _still_bad(catalog: Catalog, blobs: BlobFiles, bad: BadBlob) -> BadBlob | None:
    """Asking may have taken long: what was healed or collected meanwhile is not lost."""
    if bad.row.blob_id:
        return look_again(catalog, blobs, bad.row)
    return bad if catalog.read(lambda tx: tx.find_brief(bad.content_hash)) is None else None


# --- bytes --------------------------------------------------------------------------------------

Take = Callable[[Readable], None]
"""What to do with what a source gives; it raises BlobHashMismatchError if that is something else.

Any other error of it is not the source's, but that of the store: a full disk, a damaged catalog.
"""


def _ask(sources: Sequence[Source], bad: BadBlob, take: Take, outcome: _Outcome) -> bool:
    """A source that fails is passed over like one that lies: the next may be whole."""
    for source in sources:
        try:
            with _opened(source, bad) as stream:
                if stream is not None:
                    take(stream)
                    return True
        except _SourceFailedError as failed:
            outcome.refused.add(f"{source.name}: {bad.content_hash}{failed}")
        except BlobHashMismatchError:
            outcome.refused.add(f"{source.name}: {bad.content_hash}")
    return False


def _mend(sources: Sequence[Source], bad: BadBlob, take: Take, outcome: _Outcome) -> bool:
    """The same; where the disk has lost the very entry of a file, nothing may be able to take its place."""
    try:
        return _ask(sources, bad, take, outcome)
    except StorageIOError as error:
        if not bad.is_unopened:
            raise
        outcome.refused.add(f"this store: {bad.content_hash} ({error})")
        return False


class _SourceFailedError(Exception):
    """A source is damaged, or could not be read; the store is not to blame."""


class _SourceStream:
    """Reads from a source, so that its errors can be told from those of what takes the bytes."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        with _failing():
            return self._stream.read(size)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except CorruptError as error:
        raise _SourceFailedError("") from error
    except (WorldError, OSError) as error:
        raise _SourceFailedError(f" ({error})") from error


@contextmanager
def _opened(source: Source, bad: BadBlob) -> Iterator[Readable | None]:
    with _failing():
        try:
            stream = source.open(bad.content_hash, bad.row.size_bytes)
        except NotFoundError:
            stream = None
    if stream is None:
        yield None
        return
    with closing(stream):
        yield _bounded(_SourceStream(stream), bad.row)


def _bounded(stream: Readable, row: BlobRow) -> Readable:
    """A size of 0 says that it may not be known."""
    return Bounded(stream, row.content_hash, row.size_bytes) if row.size_bytes else stream


def _try_bytes(catalog: Catalog, bad: BadBlob) -> Take:
    def take(stream: Readable) -> None:
        require_hash(bad.content_hash, hash_stream(stream, catalog.hash_algorithm))

    return take


def _take_bytes(catalog: Catalog, blobs: BlobFiles, bad: BadBlob, outcome: _Outcome) -> Take:
    def take(stream: Readable) -> None:
        _keep_aside(catalog, blobs, bad, outcome)
        Intake(catalog, blobs).store_stream(stream, lambda _, row: row, bad.content_hash)

    return take


# --- what was there -----------------------------------------------------------------------------


def _keep_aside(catalog: Catalog, blobs: BlobFiles, bad: BadBlob, outcome: _Outcome) -> None:
    if bad.actual is None:
        return

    def keep() -> None:
        name = blobs.keep_aside(bad.content_hash, bad.label, bad.damaged)
        if name is not None:
            outcome.quarantined.add(name)

    _under_the_lock(catalog, keep)


def _set_aside(catalog: Catalog, blobs: BlobFiles, bad: BadBlob, outcome: _Outcome) -> None:
    """Take wrong bytes out of the way. Inline ones stay in their row, where no read believes them.

    Nothing but the very file that was read, and is still open, loses its name. A put that gives whole bytes
    that name at this very moment verifies under the write lock, later, that they have it, and restores it.
    """
    if bad.actual is None or bad.is_inline:
        return

    free: list[Callable[[], None]] = []

    def take() -> None:
        name = blobs.keep_aside(bad.content_hash, bad.label, bad.damaged)
        if name is not None:
            outcome.quarantined.add(name)
            if bad.damaged is not None:
                free.append(blobs.remove([bad.content_hash]))

    _under_the_lock(catalog, take)
    for finish in free:
        finish()


def _under_the_lock(catalog: Catalog, work: Callable[[], None]) -> None:
    """Once: a change of the catalog may be made again, and what is done to files cannot be taken back."""
    catalog.write_then(lambda _: None, lambda _: work())


# --- the report ---------------------------------------------------------------------------------


def _report(catalog: Catalog, blobs: BlobFiles, outcome: _Outcome, *, dry_run: bool) -> RepairReport:
    pins = catalog.read(lambda tx: {pin.content_hash for pin in tx.list_pins()}) if outcome.lost else set()
    return RepairReport(
        repaired_blob_hashes=tuple(sorted(outcome.repaired)),
        lost_blob_hashes=tuple(sorted(outcome.lost)),
        lost_paths=_paths_of(catalog, outcome.lost),
        lost_pin_hashes=tuple(sorted(outcome.lost & pins)),
        quarantined=tuple(sorted(outcome.quarantined)),
        refused_blobs=tuple(sorted(outcome.refused)),
        index_damage=catalog.read(lambda tx: tuple(tx.find_damage())),
        is_dry_run=dry_run,
        lost_snapshots=snapshots_naming(catalog, blobs, outcome.lost),
    )


def _paths_of(catalog: Catalog, content_hashes: set[str]) -> tuple[str, ...]:
    if not content_hashes:
        return ()
    return tuple(file.path for file in iter_index(catalog) if file.content_hash in content_hashes)
