"""Planning a repair, and carrying it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import IO

from agent_world_distfs.engine.intake import Intake
from agent_world_distfs.engine.paging import iter_index
from agent_world_distfs.engine.snapshot_losses import snapshots_naming
from agent_world_distfs.engine.writable import require_writable
from agent_world_distfs.errors import CatalogError, CorruptError, NotFoundError
from agent_world_distfs.hashing import hash_stream, require_hash
from agent_world_distfs.operations.repair.examining import (
    BadBlob,
    find_bad_blobs,
    find_rowless_blobs,
    look_again,
)
from agent_world_distfs.operations.repair.sources import Source
from agent_world_distfs.protocols import BlobFiles, Catalog
from agent_world_distfs.records import Progress, RepairReport


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
            if _ask(sources, bad, take, outcome):
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

Take = Callable[[IO[bytes]], None]
"""What to do with what a source gives; it raises CorruptError if that is something else."""


def _ask(sources: Sequence[Source], bad: BadBlob, take: Take, outcome: _Outcome) -> bool:
    for source in sources:
        try:
            stream = source.open(bad.content_hash, bad.row.size_bytes)
            if stream is None:
                continue
            with closing(stream):
                take(stream)
            return True
        except NotFoundError:
            continue
        except _OwnCatalogError as error:
            raise error.cause from None
        except CorruptError:
            outcome.refused.add(f"{source.name}: {bad.content_hash}")
    return False


class _OwnCatalogError(Exception):
    """The catalog that is being repaired is damaged; the source is not to blame."""

    def __init__(self, cause: CatalogError) -> None:
        super().__init__(cause)
        self.cause = cause


def _try_bytes(catalog: Catalog, bad: BadBlob) -> Take:
    def take(stream: IO[bytes]) -> None:
        require_hash(bad.content_hash, hash_stream(stream, catalog.hash_algorithm))

    return take


def _take_bytes(catalog: Catalog, blobs: BlobFiles, bad: BadBlob, outcome: _Outcome) -> Take:
    def take(stream: IO[bytes]) -> None:
        try:
            _keep_aside(catalog, blobs, bad, outcome)
            Intake(catalog, blobs).store_stream(stream, lambda _, row: row, bad.content_hash)
        except CatalogError as error:
            raise _OwnCatalogError(error) from error

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
