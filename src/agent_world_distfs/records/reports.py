"""What a call did or found."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_world_distfs.records.given import HashAlgorithm


@dataclass(frozen=True, slots=True)
class FileIndexAuditReport:
    """What index and bytes say of each other at the time of the audit.

    ``missing_file_blob_hashes``: named by a path, bytes not stored. ``dangling_pin_hashes``: pinned,
    bytes not stored. ``orphan_blob_hashes``: stored, and exactly what a prune would take now.
    ``damaged_blob_hashes``: the stored form disagrees with the blob's row (another size, not a
    regular file). ``corrupt_blob_hashes``: the bytes hash to something else (looked for only by a
    verifying audit). ``index_damage``: sentences, one for each contradiction inside the catalog.
    ``history_blob_hashes``: stored, and named by nothing but the history that is kept; no orphans.
    ``missing_history_blob_hashes``: named by that history, bytes not stored. ``snapshot_blob_hashes``:
    stored, and named by nothing but snapshots; no orphans. ``missing_snapshot_blob_hashes``: named by
    snapshots, bytes not stored. ``damaged_snapshots``: names of those that name any blob of which this report
    says that it is missing, damaged or corrupt, their manifests included.
    ``is_verified``: all bytes were hashed now; ``verified_bytes``: so many were. Of an audit with a
    budget, ``verified_since_ms``: all bytes of then have been hashed since; None: not yet.
    """

    total_indexed_files: int
    total_pins: int
    missing_file_blob_hashes: tuple[str, ...]
    dangling_pin_hashes: tuple[str, ...]
    orphan_blob_hashes: tuple[str, ...]
    damaged_blob_hashes: tuple[str, ...] = ()
    corrupt_blob_hashes: tuple[str, ...] = ()
    index_damage: tuple[str, ...] = ()
    is_verified: bool = False
    history_blob_hashes: tuple[str, ...] = ()
    missing_history_blob_hashes: tuple[str, ...] = ()
    verified_bytes: int = 0
    verified_since_ms: int | None = None
    snapshot_blob_hashes: tuple[str, ...] = ()
    missing_snapshot_blob_hashes: tuple[str, ...] = ()
    damaged_snapshots: tuple[str, ...] = ()

    def is_sound(self) -> bool:
        """Nothing missing, dangling, damaged or corrupt, in the index, the history and the snapshots.

        Orphans are allowed: every overwrite leaves one.
        """
        return not (
            self.missing_file_blob_hashes
            or self.dangling_pin_hashes
            or self.damaged_blob_hashes
            or self.corrupt_blob_hashes
            or self.index_damage
            or self.missing_history_blob_hashes
            or self.missing_snapshot_blob_hashes
            or self.damaged_snapshots
        )

    def is_clean(self) -> bool:
        """Sound, and no orphans either."""
        return self.is_sound() and not self.orphan_blob_hashes


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune took, or with ``dry_run`` would take. ``freed_bytes``: the sum of blob sizes."""

    pruned_blobs: int
    freed_bytes: int
    pruned_blob_hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExpiryReport:
    """What expired: so many transactions; the history begins at ``first_seq`` now."""

    expired_transactions: int
    first_seq: int


@dataclass(frozen=True, slots=True)
class UndoReport:
    """What undid: ``restored_paths`` hold again what they held; ascending. None restored: no transaction."""

    transaction_id: str | None
    seq: int | None
    restored_paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SnapshotPruneReport:
    """Which snapshots a rule kept and which it dropped or, with ``dry_run``, would; oldest first."""

    kept: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForkReport:
    """What a new store was made of. ``total_blobs``: large ones; small ones travel in the catalog.

    ``shared_blobs``: of those, the ones whose bytes the two stores share on the disk; the others,
    ``copied_bytes`` in all, were copied.
    """

    total_files: int
    total_blobs: int
    shared_blobs: int
    copied_bytes: int


@dataclass(frozen=True, slots=True)
class ManifestImportReport:
    """What an import did to the index.

    ``total_files``: of the new index. ``changed``: paths in both whose entry differs in content or time.
    """

    total_files: int
    added: int
    changed: int
    removed: int


@dataclass(frozen=True, slots=True)
class AdoptReport:
    """What was taken over from a store of the original, and what was found broken there.

    ``total_files``, ``total_blobs``, ``total_pins``: what is here now. ``orphan_blob_hashes``: of the blobs,
    those that neither its index nor its pins name; they came along.
    ``missing_blob_hashes``: named by its index or pins, not there. ``corrupt_blob_hashes``: there,
    but the bytes are others. Files and pins of such blobs are left out and listed in
    ``skipped_paths`` (ascending) and ``skipped_pin_hashes``.
    """

    hash_algorithm: HashAlgorithm
    total_files: int
    total_blobs: int
    total_pins: int
    orphan_blob_hashes: tuple[str, ...] = ()
    missing_blob_hashes: tuple[str, ...] = ()
    corrupt_blob_hashes: tuple[str, ...] = ()
    skipped_paths: tuple[str, ...] = ()
    skipped_pin_hashes: tuple[str, ...] = ()

    def is_whole(self) -> bool:
        """Everything that the original's index and pins named came over."""
        return not (self.missing_blob_hashes or self.corrupt_blob_hashes or self.skipped_paths)


@dataclass(frozen=True, slots=True)
class TreeImportReport:
    """What laying a directory over the index did.

    ``total_files``, ``total_bytes``: of the directory, as far as it was stored. ``added``, ``changed``,
    ``removed``: paths of the index. ``skipped_paths``: not regular files; ascending.
    ``unread_files``: of the files, those known to be unchanged without reading them. Reports that differ in
    nothing else are equal.
    """

    total_files: int
    total_bytes: int
    added: int
    changed: int
    removed: int
    skipped_paths: tuple[str, ...] = ()
    unread_files: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class CheckoutReport:
    """What was written out. ``previous``: where the replaced directory was kept, None if there was none.

    ``linked_files``: of the files, those that share their bytes with the store; the others were copied.
    """

    total_files: int
    total_bytes: int
    previous: str | None = None
    linked_files: int = 0


@dataclass(frozen=True, slots=True)
class UpgradeReport:
    """The format of the store before and after."""

    format_before: int
    format_after: int


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did or, with ``is_dry_run``, would do.

    ``repaired_blob_hashes``: bytes that were missing or wrong, and are right now. ``lost_blob_hashes``:
    those that no source had; ``lost_paths`` and ``lost_pin_hashes`` name them. ``quarantined``: where
    damaged bytes are kept now, relative to the store. ``refused_blobs``: ``SOURCE: HASH`` for each
    source that gave other bytes than it was asked for.

    Of a new catalog only: ``salvaged_from``, the name that the damaged one has now, and
    ``salvaged_files``, the entries that the index has. ``lost_files``: how many it had besides, in the
    last state that is known; None if none is. ``is_proven``: index, pins and snapshots are exactly those that
    were last written. ``doubtful_paths``: not in the index, but an older state or a source had them.
    ``adopted_blob_hashes``: stored bytes that nothing names any more.

    ``lost_snapshots``: names of those that name a lost blob, or whose manifest is one.

    ``index_damage``: contradictions of the catalog that are still there.
    """

    repaired_blob_hashes: tuple[str, ...]
    lost_blob_hashes: tuple[str, ...]
    lost_paths: tuple[str, ...]
    lost_pin_hashes: tuple[str, ...]
    quarantined: tuple[str, ...] = ()
    refused_blobs: tuple[str, ...] = ()
    salvaged_from: str | None = None
    salvaged_files: int | None = None
    lost_files: int | None = 0
    is_proven: bool = True
    doubtful_paths: tuple[str, ...] = ()
    adopted_blob_hashes: tuple[str, ...] = ()
    index_damage: tuple[str, ...] = ()
    is_dry_run: bool = False
    lost_snapshots: tuple[str, ...] = ()

    def is_whole(self) -> bool:
        """Everything that was in the store is there again."""
        return self.is_proven and not (
            self.lost_paths
            or self.lost_pin_hashes
            or self.lost_files
            or self.index_damage
            or self.lost_snapshots
        )


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup, or a restore, holds now and what was copied for it.

    ``total_blobs``: large ones; small ones travel in the catalog. ``removed_blobs``: that an older backup
    had and this one does not. ``missing_blob_hashes``, ``corrupt_blob_hashes``: of those that paths, pins
    and snapshots name, what the source has lost, or has other bytes of; not in the copy.
    """

    total_files: int
    total_blobs: int
    copied_blobs: int
    copied_bytes: int
    removed_blobs: int = 0
    missing_blob_hashes: tuple[str, ...] = ()
    corrupt_blob_hashes: tuple[str, ...] = ()

    def is_whole(self) -> bool:
        """Everything that the source names is in the copy."""
        return not (self.missing_blob_hashes or self.corrupt_blob_hashes)


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Bytes of one moment, and what names them; sizes of contents, whatever they take on the disk.

    Of the files whose path begins with ``prefix``: ``logical_bytes``, each file counted; ``unique_bytes``,
    each of ``total_blobs`` contents counted once; ``exclusive_bytes``, those of them that no other path,
    no pin and no snapshot names. Of the whole store: ``pinned_bytes``, what only pins name;
    ``history_bytes``, what a history that is kept remembers besides; ``snapshot_bytes``, what nothing but
    snapshots names; ``orphan_bytes``, what a prune would take; ``stored_bytes``, all blobs.
    """

    prefix: str
    total_files: int
    total_blobs: int
    logical_bytes: int
    unique_bytes: int
    exclusive_bytes: int
    pinned_bytes: int
    history_bytes: int
    snapshot_bytes: int
    orphan_bytes: int
    stored_bytes: int
