"""The audit: what index and bytes say of each other.

Looks at the store in short snapshots, shard by shard and window by window, while others write. So
whatever it finds may have changed since it looked: each finding is checked again in a fresh
snapshot before it is reported. What a living process is bringing in is no finding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from agent_world_distfs.engine.kept import kept_hashes
from agent_world_distfs.engine.orphans import SHARDS, find_unnamed
from agent_world_distfs.engine.reading import find_stored, verify_hash
from agent_world_distfs.errors import BlobHashMismatchError, BlobMissingError, BlobNotFoundError, CatalogError
from agent_world_distfs.hashing import hash_function
from agent_world_distfs.protocols import BlobBrief, BlobFiles, BlobRow, Catalog, CatalogReader
from agent_world_distfs.records import FileIndexAuditReport, Progress

VERIFY_WINDOW = 500
"""Blob rows read with their bytes in one snapshot."""


@dataclass(slots=True)
class _Findings:
    missing: set[str] = field(default_factory=set)
    dangling: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)
    corrupt: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    """Named by the history, bytes not stored."""


def audit(
    catalog: Catalog, files: BlobFiles, *, verify: bool, progress: Progress | None
) -> FileIndexAuditReport:
    """Compare index and bytes; with ``verify`` also hash every byte (progress in bytes).

    Where the catalog is damaged so that it cannot be read to its end, that is the only finding.
    """
    try:
        return _audit(catalog, files, verify=verify, progress=progress)
    except CatalogError as error:
        return FileIndexAuditReport(0, 0, (), (), (), index_damage=(error.reason,), is_verified=verify)


def _audit(
    catalog: Catalog, files: BlobFiles, *, verify: bool, progress: Progress | None
) -> FileIndexAuditReport:
    total_files, total_pins, damage = catalog.read(lambda tx: _look_at_catalog(tx, verify=verify))
    found, gone = _Findings(), list[BlobBrief]()
    for shard in SHARDS:
        gone.extend(_look_at_shard(catalog, files, shard, found))
    if gone:
        catalog.read(lambda tx: _confirm_missing(tx, gone, found))
    if verify:
        _hash_all(catalog, files, found, progress)
    orphans, kept = ((), ()) if damage else _look_at_unnamed(catalog, files, found)
    return FileIndexAuditReport(
        total_files,
        total_pins,
        tuple(sorted(found.missing)),
        tuple(sorted(found.dangling)),
        orphans,
        tuple(sorted(found.damaged)),
        tuple(sorted(found.corrupt)),
        damage,
        verify,
        kept,
        tuple(sorted(found.forgotten)),
    )


def _look_at_catalog(tx: CatalogReader, *, verify: bool) -> tuple[int, int, tuple[str, ...]]:
    damage = list(tx.find_damage())
    if verify:
        damage.extend(tx.check_pages())
    return tx.count_files(), len(tx.list_pins()), tuple(damage)


# --- what no path names -------------------------------------------------------------------------


def _look_at_unnamed(
    catalog: Catalog, files: BlobFiles, found: _Findings
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Orphans, and what only the history names; neither if that cannot be read, which is a finding."""
    try:
        if forgotten := _not_stored(catalog, files):  # or taken, since it has expired?
            found.forgotten.update(forgotten.intersection(_not_stored(catalog, files)))
        orphans, kept = find_unnamed(catalog, files)
    except BlobMissingError as error:  # a manifest
        found.forgotten.add(error.content_hash)
        return (), ()
    except BlobHashMismatchError as error:
        found.corrupt.add(error.expected)
        return (), ()
    return tuple(each.content_hash for each in orphans), tuple(each.content_hash for each in kept)


def _not_stored(catalog: Catalog, files: BlobFiles) -> set[str]:
    names, missing = kept_hashes(catalog, files), set[str]()
    while window := set(islice(names, VERIFY_WINDOW)):
        missing.update(catalog.read(partial(_without_bytes, files, window)))
    return missing


def _without_bytes(files: BlobFiles, names: set[str], tx: CatalogReader) -> list[str]:
    return [name for name in names if find_stored(tx, files, name) is None]


# --- rows and files -----------------------------------------------------------------------------


def _look_at_shard(catalog: Catalog, files: BlobFiles, shard: str, found: _Findings) -> list[BlobBrief]:
    """Returns the rows whose file seems to be gone."""
    rows = catalog.read(lambda tx: tx.list_shard(shard))
    forms = files.list_shard(shard)
    gone = []
    for row in rows:
        form = forms.get(row.content_hash)
        if form is None:
            # The file before the row, which is looked at later: a row that is there then was there now.
            if files.stat(row.content_hash) is None:
                gone.append(row)
        elif not form.is_regular or form.size_bytes != row.size_bytes:
            _confirm_damaged(catalog, files, row, found)
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


def _confirm_damaged(catalog: Catalog, files: BlobFiles, row: BlobBrief, found: _Findings) -> None:
    if catalog.read(lambda tx: tx.find_brief(row.content_hash)) != row:
        return
    form = files.stat(row.content_hash)
    if form is not None and (not form.is_regular or form.size_bytes != row.size_bytes):
        found.damaged.add(row.content_hash)


# --- bytes --------------------------------------------------------------------------------------


def _hash_all(catalog: Catalog, files: BlobFiles, found: _Findings, progress: Progress | None) -> None:
    hash_bytes = hash_function(catalog.hash_algorithm)
    total, last = catalog.read(lambda tx: (tx.total_bytes(), tx.last_blob_id()))
    done = 0
    for after in range(0, last, VERIFY_WINDOW):
        for row in _payloads(catalog, after):
            is_whole = row.payload is None or hash_bytes(row.payload) == row.content_hash
            if row.payload is None or not is_whole:
                _confirm_corrupt(catalog, files, row.content_hash, found)
            done += row.size_bytes
            if progress is not None:
                progress(min(done, total), total)


def _payloads(catalog: Catalog, after: int) -> list[BlobRow]:
    return catalog.read(lambda tx: tx.list_payloads(after, after + VERIFY_WINDOW))


def _confirm_corrupt(catalog: Catalog, files: BlobFiles, content_hash: str, found: _Findings) -> None:
    try:
        verify_hash(catalog, files, content_hash)
    except BlobHashMismatchError:
        found.corrupt.add(content_hash)
    except (BlobNotFoundError, BlobMissingError, CatalogError):
        return  # gone by now, or reported as missing or damaged already
