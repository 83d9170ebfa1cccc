"""What a call did or found."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_world_distfs.records.given import HashAlgorithm


@dataclass(frozen=True, slots=True)
class FileIndexAuditReport:
    """How index and bytes compare at the time of the audit.

    ``missing_file_blob_hashes``: named by a path, bytes not stored. ``dangling_pin_hashes``: pinned, bytes
    not stored. ``orphan_blob_hashes``: stored, and exactly what a prune would remove now.
    ``damaged_blob_hashes``: the stored form disagrees with the blob's row (another size, not a regular file).
    ``corrupt_blob_hashes``: the bytes hash to something else, or the disk cannot read them (found only by a
    verifying audit).
    ``index_damage``: sentences, one for each contradiction inside the catalog.
    ``history_blob_hashes``: stored, and named by nothing but the history that is kept; no orphans.
    ``missing_history_blob_hashes``: named by that history, bytes not stored. ``snapshot_blob_hashes``:
    stored, and named by nothing but snapshots; no orphans. ``missing_snapshot_blob_hashes``: named by
    snapshots, bytes not stored. ``damaged_snapshots``: names of the snapshots that name a blob reported here
    as missing, damaged or corrupt, their manifests included; or that were made of a damaged index, so that
    what was kept is no manifest.
    ``is_verified``: all bytes were hashed now; ``verified_bytes``: how many were. Of an audit with a budget,
    ``verified_since_ms``: every byte stored at that time has been hashed since; None: not yet.
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
    """What a prune removed or, with ``dry_run``, would remove. ``freed_bytes``: the sum of blob sizes."""

    pruned_blobs: int
    freed_bytes: int
    pruned_blob_hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExpiryReport:
    """How many transactions expired; the changes since ``first_seq`` are known.

    ``first_state_seq``: states from it on are known, too. It is later where a whole index has been replaced
    while no history was kept: what it was before is not recorded.
    """

    expired_transactions: int
    first_seq: int
    first_state_seq: int = 0


@dataclass(frozen=True, slots=True)
class UndoReport:
    """What an undo did. ``restored_paths``, ascending, hold again what they held; empty: nothing was done."""

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

    ``shared_blobs``: how many of them share their bytes on disk with the first store; the others,
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
    """What was copied from a store of the original, and what was found broken there.

    ``total_files``, ``total_blobs``, ``total_pins``: what is here now. ``orphan_blob_hashes``: the blobs that
    neither its index nor its pins name; they were copied, too. ``missing_blob_hashes``: named by its index or
    pins, but not there. ``corrupt_blob_hashes``: there, but with other bytes. Files and pins of such blobs
    are left out and listed in ``skipped_paths`` (ascending) and ``skipped_pin_hashes``.
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
        """Whether everything that the original's index and pins named was copied."""
        return not (self.missing_blob_hashes or self.corrupt_blob_hashes or self.skipped_paths)


@dataclass(frozen=True, slots=True)
class TreeImportReport:
    """What the import of a directory did to the index.

    ``total_files``, ``total_bytes``: of the directory, as far as it was stored. ``added``, ``changed``,
    ``removed``: paths of the index. ``skipped_paths``: what was left out, ascending; a
    name that is no text is shown with backslash escapes. ``skipped_reasons``: why, for each of them.
    ``unread_files``: how many files were known to be unchanged without reading them. Reports that differ in
    nothing else are equal.
    """

    total_files: int
    total_bytes: int
    added: int
    changed: int
    removed: int
    skipped_paths: tuple[str, ...] = ()
    unread_files: int = field(default=0, compare=False)
    skipped_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckoutReport:
    """What was written out. ``previous``: where the replaced directory was kept, None if there was none.

    ``linked_files``: how many of the files share their bytes with the store; the others were copied.
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

    ``repaired_blob_hashes``: blobs that were missing or wrong, and are right now. ``lost_blob_hashes``: those
    that no source had; ``lost_paths`` and ``lost_pin_hashes`` name them. ``quarantined``: where damaged bytes
    are kept now, relative to the store. ``refused_blobs``: ``SOURCE: HASH`` for each source that returned
    other bytes than requested, ``SOURCE: HASH (REASON)`` for each that could not be read.
    ``refused_sources``: ``SOURCE: REASON`` for each that could not be opened, or be read for what the catalog
    has lost.

    Only if a new catalog was built: ``salvaged_from``, the new name of the damaged one, and
    ``salvaged_files``, the number of entries in the index. ``lost_files``: how many more it had in the last
    known state; None if no state is known; ``missing_pins`` and ``missing_snapshots``: the same of these.
    ``is_index_proven``: the entries are exactly those last written; ``is_proven``: so are pins and snapshots.
    ``doubtful_paths``: not in the index, but an older state or a source had them.
    ``adopted_blob_hashes``: stored bytes that nothing names any more.

    ``lost_snapshots``: names of the snapshots that name a lost blob, or whose manifest is one.

    ``dropped_settings``: settings whose rows were damaged; they have no value until they are set again.
    ``index_damage``: contradictions of the catalog that are still there. ``is_history_lost``: a history was
    kept, and begins anew with the new catalog; what only it named is named by nothing any more.
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
    dropped_settings: tuple[str, ...] = ()
    refused_sources: tuple[str, ...] = ()
    is_history_lost: bool = False
    missing_pins: int | None = 0
    missing_snapshots: int | None = 0
    is_index_proven: bool = True

    def is_whole(self) -> bool:
        """Whether everything that was in the store is there again."""
        return self.is_proven and not (
            self.lost_paths
            or self.lost_pin_hashes
            or self.lost_files
            or self.index_damage
            or self.lost_snapshots
            or self.is_history_lost
        )


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup or a restored store holds now, and what was copied for it.

    ``total_blobs``: large ones; small ones travel in the catalog. ``removed_blobs``: blobs that an older
    backup had and this one does not. ``missing_blob_hashes``, ``corrupt_blob_hashes``: blobs named by paths,
    pins and snapshots that the source has lost, or of which it has other bytes or such as its disk cannot
    read; they are not in the copy.
    """

    total_files: int
    total_blobs: int
    copied_blobs: int
    copied_bytes: int
    removed_blobs: int = 0
    missing_blob_hashes: tuple[str, ...] = ()
    corrupt_blob_hashes: tuple[str, ...] = ()

    def is_whole(self) -> bool:
        """Whether everything that the source names is in the copy."""
        return not (self.missing_blob_hashes or self.corrupt_blob_hashes)


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Bytes at one moment, and what names them; sizes are those of contents, whatever they take on disk.

    Of the files whose path begins with ``prefix``: ``logical_bytes``, each file counted; ``unique_bytes``,
    each of ``total_blobs`` contents counted once; ``exclusive_bytes``, those of them that no other path, no
    pin and no snapshot names. Of the whole store: ``pinned_bytes``, what only pins name; ``history_bytes``,
    what only the kept history names besides; ``snapshot_bytes``, what nothing but snapshots names;
    ``orphan_bytes``, what a prune would remove; ``stored_bytes``, all blobs.
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
