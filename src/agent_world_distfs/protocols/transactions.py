"""What a catalog must answer and change inside one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

from agent_world_distfs.protocols.rows import (
    BlobBrief,
    BlobRow,
    Doubted,
    IndexState,
    LoggedTransaction,
    LogState,
)
from agent_world_distfs.records import FileMetadata, Snapshot


class CatalogReader(Protocol):
    """One consistent state of the catalog. Valid inside the call that it was handed to."""

    def find_file(self, path: str) -> tuple[FileMetadata, BlobRow] | None:
        """The file at ``path`` with its blob.

        Raises:
            CatalogError: the rows contradict their checksums.
        """
        ...

    def stat_file(self, path: str) -> FileMetadata | None:
        """The entry of ``path``."""
        ...

    def find_blob(self, content_hash: str) -> BlobRow | None:
        """The blob row of ``content_hash``."""
        ...

    def find_brief(self, content_hash: str) -> BlobBrief | None:
        """The same without its bytes."""
        ...

    def iter_files(self, prefix: str = "", start_after: str = "", limit: int = -1) -> Iterator[FileMetadata]:
        """Entries ascending by path: those with the string prefix, after ``start_after``; -1: all."""
        ...

    def count_files(self) -> int:
        """How many entries the index has."""
        ...

    def index_state(self) -> IndexState:
        """What to compare index states by."""
        ...

    def list_generation(self, generation: int, start_after: str, limit: int) -> list[FileMetadata]:
        """Entries of one generation after a path, ascending."""
        ...

    def is_pinned(self, content_hash: str) -> bool:
        """Whether a pin names the blob."""
        ...

    def list_pins(self) -> list[BlobBrief]:
        """The pinned blobs, ascending by hash."""
        ...

    def paths_naming(self, blob_ids: Collection[int]) -> dict[int, str]:
        """Of those blobs that paths of the index name, the first path of each. Reads the whole index."""
        ...

    def last_blob_id(self) -> int:
        """The highest id in use; ids up to it can be walked in windows."""
        ...

    def list_payloads(self, after_id: int, up_to_id: int) -> list[BlobRow]:
        """Blob rows of a window of ids with the bytes of the inline ones."""
        ...

    def list_unnamed_blobs(self, dead: frozenset[str]) -> list[BlobBrief]:
        """Those that no path, pin, lease or staged row names; ``dead`` leases do not count. Reads all."""
        ...

    def total_bytes(self) -> int:
        """The sum of all blob sizes."""
        ...

    def list_shard(self, shard: str) -> list[BlobBrief]:
        """Blob rows whose hash begins with the two characters ``shard`` and whose bytes are not inline."""
        ...

    def find_damage(self, doubted: Doubted | None = None) -> Iterator[str]:
        """A sentence for each row, and for the whole, that contradicts its checksum.

        Every row is looked at, without the help of an index. On the way what turns out to be named, or
        to have a row, is taken out of ``doubted``.
        """
        ...

    def check_pages(self) -> Iterator[str]:
        """A sentence for each contradiction that the database itself finds in its pages and indexes."""
        ...

    def has_dead_rows(self) -> bool:
        """Whether there are entries of a generation that is neither the index nor staged."""
        ...

    def log_state(self) -> LogState:
        """How far back the change log reaches."""
        ...

    def iter_transactions(self, after: int, up_to: int) -> Iterator[LoggedTransaction]:
        """Those that changed the index, with a sequence in (``after``, ``up_to``], ascending.

        Raises:
            CatalogError: the change log contradicts its checksums.
        """
        ...

    def kept_manifests(self) -> list[str]:
        """References (``HASH:SIZE``) of manifests that the history keeps, and with each all that it names.

        They are those of imports that it remembers, if it is kept.
        """
        ...

    def list_snapshots(self) -> list[Snapshot]:
        """The snapshots, oldest first; each keeps its manifest, and all that this names.

        Raises:
            CatalogError: a row contradicts its checksum.
        """
        ...

    def find_snapshot(self, name: str) -> Snapshot | None:
        """The snapshot of a name."""
        ...

    def setting(self, name: str) -> str | None:
        """What a setting of the store was set to; None if it was not.

        Raises:
            CatalogError: its row is damaged.
        """
        ...

    def damaged_settings(self) -> list[str]:
        """The names of the settings whose rows are damaged, or not found where they stand."""
        ...

    def has_committed(self, transaction_id: str) -> bool | None:
        """Whether a transaction of this id has committed; None if it is older than what is known."""
        ...

    def leases(self) -> frozenset[str]:
        """The leases that keep blobs or staged generations."""
        ...


class CatalogWriter(CatalogReader, Protocol):
    """The same, and changes; all of them happen together at the commit or not at all."""

    def add_blob(self, content_hash: str, size_bytes: int, payload: bytes | None) -> BlobRow | None:
        """Record a blob; with no ``payload`` its bytes must be durable in blob storage already.

        None if it has a row already, which stays as it is.
        """
        ...

    def set_payload(self, blob: BlobRow, size_bytes: int, payload: bytes | None) -> BlobRow:
        """Replace where the bytes of a blob are."""
        ...

    def add_recorder(self, lease: str) -> None:
        """From now on ``lease`` also keeps every newly named blob, until it ends."""
        ...

    def drop_blob(self, blob_id: int, recorder: str) -> bool:
        """Forget a blob that nothing named in a snapshot taken since ``recorder`` was added.

        False, and nothing done, if a pin or a lease keeps it; the recorder's counts too.

        Raises:
            LeaseExpiredError: the recorder is gone, and with it the knowledge of what was named since.
        """
        ...

    def set_file(self, path: str, blob: BlobRow | BlobBrief, now_ms: int) -> FileMetadata:
        """Make ``path`` name ``blob``, as of ``now_ms`` or, if that is later, as of its last write."""
        ...

    def remove_file(self, path: str) -> bool:
        """Remove ``path`` from the index; False if it was not there."""
        ...

    def add_pin(self, blob: BlobRow | BlobBrief) -> None:
        """Pin a blob. Idempotent."""
        ...

    def remove_pin(self, content_hash: str) -> bool:
        """Unpin; False if it was not pinned."""
        ...

    def add_lease(self, lease: str, blob_id: int) -> None:
        """Keep a blob as long as ``lease`` lives."""
        ...

    def end_lease(self, lease: str, limit: int) -> bool:
        """Drop up to ``limit`` rows of a lease, and its claim on generations; True when none are left."""
        ...

    def stage_generation(self, lease: str) -> int:
        """Begin a new generation of the index; its rows are roots while ``lease`` lives."""
        ...

    def stage_files(self, generation: int, files: Iterable[tuple[FileMetadata, int]]) -> bytes:
        """Add entries, each with the id of its blob, to a staged generation; returns their digest."""
        ...

    def switch_generation(self, generation: int, state: IndexState) -> int:
        """Make a staged generation the index; returns the one that was, which the lease now claims instead.

        ``state``: of all its entries.
        """
        ...

    def sweep_generations(self, limit: int) -> bool:
        """Drop up to ``limit`` rows of a generation that nothing claims; True when none are left."""
        ...

    def return_space(self, limit: int) -> bool:
        """Return up to ``limit`` free pages to the disk; True when none are left."""
        ...

    @property
    def transaction_id(self) -> str:
        """The id that this transaction will have, if it changes anything."""
        ...

    @property
    def sequence(self) -> int:
        """The number that it will have: one more than that of the transaction before it."""
        ...

    def describe(self, *, actor: str = "", message: str = "", session: str = "") -> None:
        """Who does this, and why, for the change log."""
        ...

    def keep_history(self, *, is_kept: bool) -> None:
        """From this transaction on, keep what is overwritten; or do not. As it is already: nothing."""
        ...

    def add_snapshot(self, snapshot: Snapshot, blobs: Iterable[BlobRow | BlobBrief]) -> None:
        """Keep a state of the index under a free name.

        All that its manifest names is stored. ``blobs``: the manifest's, and those that nothing else
        names for certain; see ``operations.snapshots``.
        """
        ...

    def remove_snapshot(self, name: str) -> bool:
        """Remove it; False if there is no snapshot of this name."""
        ...

    def set_setting(self, name: str, value: str | None) -> None:
        """Set a setting of the store; None removes it."""
        ...

    def drop_damaged_settings(self) -> list[str]:
        """Remove the settings whose rows are damaged; their names. The others are found again."""
        ...

    def note_import(self, manifest: BlobRow | BlobBrief | None) -> None:
        """Log the change of the generation as an import of this manifest; None: it is not stored."""
        ...

    def note_replaced(self, sequence: int, manifest: BlobRow | BlobBrief) -> None:
        """Log which manifest the import of that number replaced."""
        ...

    def forget_changes(self, last: int) -> None:
        """Forget what the transactions up to this number changed."""
        ...

    def expire_log(self, last: int) -> None:
        """The same, and free the room that they take, except the ids of the last commits."""
        ...

    def mark_epoch(self) -> None:
        """Count one more collection batch, so that its commit writes even if it drops no row."""
        ...
