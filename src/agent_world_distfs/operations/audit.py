"""The audit: comparing index and bytes.

It looks at the store in short snapshots, shard by shard and window by window, while others write. So whatever
it finds may have changed since it looked: each finding is checked again in a fresh snapshot before it is
reported. What a living process is storing is not a finding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_world_distfs.engine.orphans import SHARDS, Unnamed, UnnamedBlob, find_unnamed
from agent_world_distfs.engine.reading import is_corrupt
from agent_world_distfs.engine.retained import history_hashes
from agent_world_distfs.engine.scrubbing import Budget, Portion, Rounds, read_rounds, write_rounds
from agent_world_distfs.engine.snapshot_losses import lost_in_snapshots, not_stored, snapshots_naming
from agent_world_distfs.engine.writable import require_writable
from agent_world_distfs.errors import BlobHashMismatchError, BlobMissingError, BlobNotFoundError, CatalogError
from agent_world_distfs.hashing import hash_function
from agent_world_distfs.protocols import BlobBrief, BlobFiles, Catalog, CatalogReader
from agent_world_distfs.records import FileIndexAuditReport, Progress

_NOTHING = Unnamed([], [], [], is_proven=False)


@dataclass(slots=True)
class _Findings:
    missing: set[str] = field(default_factory=set)
    dangling: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    corrupt: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    """Named by the history, bytes not stored."""
    lost_in_snapshots: set[str] = field(default_factory=set)
    senseless: set[str] = field(default_factory=set)
    """Manifests of snapshots that are whole and no manifests."""
    page_damage: tuple[str, ...] = ()
    verified_bytes: int = 0
    is_verified: bool = False
    verified_since_ms: int | None = None


def audit(
    catalog: Catalog, blobs: BlobFiles, budget: Budget | None, progress: Progress | None
) -> FileIndexAuditReport:
    """Compare index and bytes; with a ``budget`` also hash bytes (progress in bytes), all if it has no limit.

    A limited portion goes on where the last one ended. Where the catalog is damaged so that it cannot be
    read to its end, that is the only finding.
    """
    if budget is not None and budget.is_limited:
        require_writable(catalog)
    try:
        return _audit(catalog, blobs, budget, progress)
    except CatalogError as error:
        damage, is_verified = (error.reason,), budget is not None and not budget.is_limited
        return FileIndexAuditReport(
            total_indexed_files=0,
            total_pins=0,
            missing_file_blob_hashes=(),
            dangling_pin_hashes=(),
            orphan_blob_hashes=(),
            index_damage=damage,
            is_verified=is_verified,
        )


def _audit(
    catalog: Catalog, blobs: BlobFiles, budget: Budget | None, progress: Progress | None
) -> FileIndexAuditReport:
    rounds = Rounds() if budget is None or not budget.is_limited else read_rounds(catalog)
    total_files, total_pins = catalog.read(lambda tx: (tx.count_files(), len(tx.list_pins())))
    found, gone = _Findings(), list[BlobBrief]()
    for shard in SHARDS:
        gone.extend(_look_at_shard(catalog, blobs, shard, found))
    if gone:
        catalog.read(lambda tx: _confirm_missing(tx, gone, found))
    if budget is not None:
        _hash(catalog, blobs, budget, rounds, found, progress)
    unnamed, damage = _look_at_names(catalog, blobs, found)
    bad = found.missing | found.damaged | found.corrupt | found.lost_in_snapshots | found.senseless
    damaged_snapshots = () if damage else snapshots_naming(catalog, blobs, bad)
    return FileIndexAuditReport(
        total_indexed_files=total_files,
        total_pins=total_pins,
        missing_file_blob_hashes=tuple(sorted(found.missing)),
        dangling_pin_hashes=tuple(sorted(found.dangling)),
        orphan_blob_hashes=_hashes(unnamed.orphans),
        damaged_blob_hashes=tuple(sorted(found.damaged)),
        corrupt_blob_hashes=tuple(sorted(found.corrupt)),
        index_damage=damage,
        is_verified=found.is_verified,
        history_blob_hashes=_hashes(unnamed.in_history),
        missing_history_blob_hashes=tuple(sorted(found.forgotten)),
        verified_bytes=found.verified_bytes,
        verified_since_ms=found.verified_since_ms,
        snapshot_blob_hashes=_hashes(unnamed.in_snapshots),
        missing_snapshot_blob_hashes=tuple(sorted(found.lost_in_snapshots)),
        damaged_snapshots=damaged_snapshots,
    )


def _hashes(blobs: list[UnnamedBlob]) -> tuple[str, ...]:
    return tuple(each.content_hash for each in blobs)


# --- what no path names -------------------------------------------------------------------------


def _look_at_names(catalog: Catalog, blobs: BlobFiles, found: _Findings) -> tuple[Unnamed, tuple[str, ...]]:
    """What nothing names, and all damage of the catalog. With damage nothing can be told of names.

    The rows are all looked at once: by the search for orphans, if there are any.
    """
    kept = _Findings()
    doubt: tuple[str, ...] = ()
    try:
        unnamed = _look_at_unnamed(catalog, blobs, kept)
    except CatalogError as error:
        unnamed, doubt = _NOTHING, (error.reason,)
    row_damage = () if unnamed.is_proven else catalog.read(lambda tx: tuple(tx.find_damage())) or doubt
    if row_damage or found.page_damage:
        return _NOTHING, (*row_damage, *found.page_damage)
    found.lost_in_snapshots |= kept.lost_in_snapshots
    found.senseless |= kept.senseless
    found.forgotten |= kept.forgotten
    found.corrupt |= kept.corrupt
    return unnamed, ()


def _look_at_unnamed(catalog: Catalog, blobs: BlobFiles, found: _Findings) -> Unnamed:
    """Orphans, and what is kept without a name; none of it if what keeps cannot be read: a finding."""
    lost, rotten, senseless = lost_in_snapshots(catalog, blobs)
    found.lost_in_snapshots.update(lost)
    found.corrupt.update(rotten)
    found.senseless.update(senseless)
    try:
        if forgotten := not_stored(catalog, blobs, history_hashes(catalog, blobs)):
            # Or taken, since it has expired?
            found.forgotten.update(forgotten & not_stored(catalog, blobs, history_hashes(catalog, blobs)))
        return find_unnamed(catalog, blobs)
    except BlobMissingError as error:  # a manifest
        if error.content_hash not in lost:
            found.forgotten.add(error.content_hash)
    except BlobHashMismatchError as error:
        found.corrupt.add(error.expected)
    return _NOTHING


# --- rows and files -----------------------------------------------------------------------------


def _look_at_shard(catalog: Catalog, blobs: BlobFiles, shard: str, found: _Findings) -> list[BlobBrief]:
    """Returns the rows whose file seems to be gone."""
    rows = catalog.read(lambda tx: tx.list_shard(shard))
    forms = blobs.list_shard(shard)
    gone = []
    for row in rows:
        form = forms.get(row.content_hash)
        if form is None:
            # The file before the row, which is looked at later: a row that is there then was there now.
            if blobs.stat(row.content_hash) is None:
                gone.append(row)
        elif not form.is_regular or form.size_bytes != row.size_bytes:
            _confirm_damaged(catalog, blobs, row, found)
    known = {row.content_hash for row in rows}
    found.damaged.update(name for name, form in forms.items() if not form.is_regular and name not in known)
    return gone


def _confirm_missing(tx: CatalogReader, rows: list[BlobBrief], found: _Findings) -> None:
    paths = tx.paths_naming({row.blob_id for row in rows})
    for row in rows:
        if tx.find_brief(row.content_hash) != row:
            continue  # taken meanwhile
        if row.blob_id in paths:
            found.missing.add(row.content_hash)
        if tx.is_pinned(row.content_hash):
            found.dangling.add(row.content_hash)


def _confirm_damaged(catalog: Catalog, blobs: BlobFiles, row: BlobBrief, found: _Findings) -> None:
    if catalog.read(lambda tx: tx.find_brief(row.content_hash)) != row:
        return
    form = blobs.stat(row.content_hash)
    if form is not None and (not form.is_regular or form.size_bytes != row.size_bytes):
        found.damaged.add(row.content_hash)


# --- bytes --------------------------------------------------------------------------------------


def _hash(
    catalog: Catalog,
    blobs: BlobFiles,
    budget: Budget,
    rounds: Rounds,
    found: _Findings,
    progress: Progress | None,
) -> None:
    hash_bytes = hash_function(catalog.hash_algorithm)
    portion, began_ms, is_first = Portion(catalog, budget, rounds), rounds.began_ms, rounds.after == 0
    done = 0
    for row in portion:
        is_whole = row.payload is None or hash_bytes(row.payload) == row.content_hash
        if row.payload is None or not is_whole:
            _confirm_corrupt(catalog, blobs, row.content_hash, found)
        done += row.size_bytes
        if progress is not None:
            progress(min(done, portion.total_bytes), portion.total_bytes)
    found.verified_bytes, found.is_verified = done, portion.is_all
    if is_first or rounds.began_ms != began_ms:  # once a round, since it reads the whole catalog
        found.page_damage = catalog.read(lambda tx: tuple(tx.check_pages()))
    if budget.is_limited:
        write_rounds(catalog, rounds)  # last: what an interrupt leaves out, the next portion does
        found.verified_since_ms = rounds.verified_since_ms


def _confirm_corrupt(catalog: Catalog, blobs: BlobFiles, content_hash: str, found: _Findings) -> None:
    try:
        if is_corrupt(catalog, blobs, content_hash):
            found.corrupt.add(content_hash)
    except (BlobNotFoundError, BlobMissingError, CatalogError):
        return  # gone by now, or reported as missing or damaged already
