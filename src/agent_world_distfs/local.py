"""An embedded store: a directory, no server.

``catalog.db``  the SQLite catalog (with its ``-wal`` and ``-shm``)
``blobs/``      large blobs, ``blobs/ab/<hash>``
``tmp/``        sessions of live processes: a lock file and a directory each
``locks/``      ``turnstile`` and ``gate``: the write lock; ``handles``: held, shared, while it is open;
                ``turns/``: queues of updaters, made when needed
``reserve``     space kept back so that a full disk can be emptied
``hints/``      what saves work later, such as which files of a tree were read; nothing relies on it
``quarantine/`` damaged bytes that a repair has set aside
"""

from __future__ import annotations

import contextlib
import os
import threading
from functools import partial
from typing import Any, Literal

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.blobs.reserve import spare_reserve
from agent_world_distfs.catalog.connections import require_fixed_sqlite
from agent_world_distfs.catalog.failures import LOCK_IS_GONE, is_lock_file
from agent_world_distfs.catalog.schema import FORMAT
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.clock import is_time_to_wait
from agent_world_distfs.copying import copy_store
from agent_world_distfs.creating import find_or_create
from agent_world_distfs.engine.directories import as_host_path, require_apart
from agent_world_distfs.engine.handles import Handle, held_alone, hold_handle
from agent_world_distfs.engine.leases import tidy
from agent_world_distfs.engine.staging import open_place
from agent_world_distfs.errors import (
    IncompatibleStoreError,
    InvalidInputError,
    StorageError,
    StorageFullError,
    StorageIOError,
    WorldError,
)
from agent_world_distfs.paths import check_name
from agent_world_distfs.records import BackupReport, ForkReport, HashAlgorithm, Progress, UpgradeReport
from agent_world_distfs.store import CasStore
from agent_world_distfs.store_forks import fork_store


class LocalCasStore(CasStore):
    """A store in a directory, shared by any number of processes of one machine.

    Args:
        root: the directory; created if missing and ``create`` is true.
        hash_algorithm: None uses the store's own, and BLAKE3 for a new store.
        durability: "full": an acknowledged write survives a power cut. "relaxed": it survives a crash of the
            process; a power cut may lose the last moments, never consistency.
        lock_timeout_s: how long a write waits for the write lock before StoreBusyError; and the creation of a
            store for one that somebody has on the directory itself.
        create: whether to create a store if there is none.
        read_only: refuse all changes; works on a directory that cannot be written if the WAL is empty.

    Raises:
        NotFoundError: no store there, and ``create`` is false.
        IncompatibleStoreError: a directory of something else, another format or algorithm, a file system that
            cannot lock, or a SQLite library that can corrupt what processes share.
        CatalogError: the catalog is damaged, or missing beside its blobs.
        UnavailableError: read-only, and the WAL would have to be written first.
        StoreBusyError: to be created, but the directory is locked, say by the command ``flock``.
    """

    _catalog: SqliteCatalog
    _blobs: DirectoryBlobs

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        hash_algorithm: HashAlgorithm | None = None,
        durability: Literal["full", "relaxed"] = "full",
        lock_timeout_s: float = 60.0,
        create: bool = True,
        read_only: bool = False,
    ) -> None:
        _check_options(hash_algorithm, durability, lock_timeout_s)
        location = as_host_path(root)
        require_fixed_sqlite(location)
        self._options: dict[str, Any] = {
            "hash_algorithm": hash_algorithm,
            "durability": durability,
            "lock_timeout_s": lock_timeout_s,
            "create": create,
            "read_only": read_only,
        }
        find_or_create(location, hash_algorithm, create=create, read_only=read_only, timeout_s=lock_timeout_s)
        with contextlib.ExitStack() as undoing:
            handle = _hold_handle(location)
            undoing.callback(handle.close)
            catalog = _open_catalog(location, durability, lock_timeout_s, read_only=read_only)
            catalog.handle = handle
            undoing.callback(catalog.close)
            super().__init__(location, catalog, _open_blobs(location, catalog, read_only=read_only))
            _require_algorithm(location, hash_algorithm, catalog)
            if not read_only:
                # A failure must not prevent opening, to read or audit say: the next open tries again.
                with contextlib.suppress(WorldError):
                    tidy(self._catalog, self._blobs)
            undoing.pop_all()

    def backup(
        self, target: str | os.PathLike[str], *, verify: bool = False, progress: Progress | None = None
    ) -> BackupReport:
        """Copy the store to the directory ``target`` while others keep working; progress in bytes.

        The copy is of one moment: index, pins, snapshots, settings and kept history; it opens as a store. It
        is durable, and gets its catalog at the end or not at all. Repeated, it copies only what is new; with
        ``verify`` what is already there is hashed, too. If interrupted, call it again. What is lost or
        corrupt here is left out and named. Nobody may have the copy open meanwhile.

        Raises:
            IncompatibleStoreError: the target is neither empty nor a backup of this store, or has been
                changed, or is from before a repair that lost part of the index.
            InvalidInputError: it is this store, lies in it or holds it.
            CatalogError: the catalog here is damaged, or that of the target, which ``location`` then names;
                the target stays as it is.
            UnavailableError: somebody has the target open; or this store is read-only, and files were
                overwritten and collected meanwhile.
            StorageFullError: no room there; the next call uses what was copied.
        """
        place = as_host_path(target)
        require_apart(place, self.location)
        return copy_store(self._catalog, self._blobs, place, verify=verify, progress=progress)

    def fork(
        self, target: str | os.PathLike[str], snapshot: str, *, progress: Progress | None = None
    ) -> ForkReport:
        """Make a second store, in the directory ``target``, that begins as a snapshot; progress in files.

        It is independent from then on: what is written, pruned or dropped in one does not show in the other.
        Besides the index it has only the snapshot itself, and its history begins here. Bytes are verified.
        Large files are shared by clones or hard links where the file system supports them, and copied
        otherwise: damage to a shared file on disk affects both stores. The target is missing or an empty
        directory; it becomes the store in one step, durably, or stays as it was.

        Raises:
            SnapshotNotFoundError: there is no such snapshot, or it was dropped meanwhile.
            NotFoundError: the parent directory of ``target`` does not exist.
            InvalidInputError: ``target`` is not empty, not a directory, the current one, this store, lies in
                it or holds it.
            BlobMissingError, BlobHashMismatchError: bytes that the snapshot names are gone, or corrupt.
            StorageError: the disk of the target failed.
        """
        name = check_name(snapshot)
        with open_place(target, self.location, replace=False) as place:
            return fork_store(self._catalog, self._blobs, name, place, progress)

    def _open_beside(self, location: str) -> LocalCasStore:
        return LocalCasStore(location, create=False, read_only=True)

    def __reduce__(self) -> tuple[Any, ...]:
        # The store existed: if it is gone, an empty new one must not take its place.
        return (_reopen, (type(self), self.location, self._options | {"create": False}))


def catalog_of(store: LocalCasStore) -> SqliteCatalog:
    """The catalog of a store that is open, for those who mend stores: it is no part of the API."""
    return store._catalog  # noqa: SLF001  # a friend of the class, in its own module


def _reopen(kind: type[LocalCasStore], location: str, options: dict[str, Any]) -> LocalCasStore:
    return kind(location, **options)


# --- opening ------------------------------------------------------------------------------------


def _check_options(algorithm: object, durability: str, lock_timeout_s: float) -> None:
    if durability not in ("full", "relaxed"):
        raise InvalidInputError(f"durability is 'full' or 'relaxed', not {durability!r}")
    if algorithm is not None and not isinstance(algorithm, HashAlgorithm):
        raise TypeError(f"hash_algorithm is a HashAlgorithm, not {type(algorithm).__name__}")
    if isinstance(lock_timeout_s, bool) or not isinstance(lock_timeout_s, int | float):
        raise TypeError(f"lock_timeout_s is a number of seconds, not {type(lock_timeout_s).__name__}")
    if not is_time_to_wait(lock_timeout_s):
        raise InvalidInputError(f"lock_timeout_s is not a time to wait: {lock_timeout_s}")


def _hold_handle(location: str) -> Handle:
    try:
        return hold_handle(location)
    except StorageError as error:
        is_gone = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)
        if is_gone and is_lock_file(error.path):  # and not only out of reach of this user
            raise StorageError(error.path, LOCK_IS_GONE) from error
        raise


def _open_catalog(location: str, durability: str, lock_timeout_s: float, *, read_only: bool) -> SqliteCatalog:
    """The catalog, also on a full disk: SQLite's shared memory is a file, and there is no room for it."""
    connect = partial(
        _connect,
        location,
        is_flushed=durability == "full",
        timeout_s=min(lock_timeout_s, threading.TIMEOUT_MAX),
        read_only=read_only,
    )
    try:
        return connect()
    except (StorageFullError, StorageIOError):
        with spare_reserve(os.path.join(location, "reserve")):
            return connect()


def _connect(location: str, *, is_flushed: bool, timeout_s: float, read_only: bool) -> SqliteCatalog:
    path = os.path.join(location, "catalog.db")
    return SqliteCatalog(
        path,
        os.path.join(location, "locks"),
        is_flushed=is_flushed,
        timeout_s=timeout_s,
        read_only=read_only,
        immutable=read_only and not os.access(location, os.W_OK),
    )


def _open_blobs(location: str, catalog: SqliteCatalog, *, read_only: bool) -> DirectoryBlobs:
    return DirectoryBlobs(location, read_only=read_only, require_present=catalog.require_present)


def _require_algorithm(location: str, wanted: HashAlgorithm | None, catalog: SqliteCatalog) -> None:
    if wanted is not None and wanted is not catalog.hash_algorithm:
        reason = f"the store names blobs by {catalog.hash_algorithm.value}, not {wanted.value}"
        raise IncompatibleStoreError(location, reason)


# --- upgrading ----------------------------------------------------------------------------------


def upgrade_local_store(location: str) -> UpgradeReport:
    """Upgrade a store to the format of this release while nobody else has it open.

    Raises:
        UnavailableError: somebody has it open.
        IncompatibleStoreError: it has a newer format.
    """
    with LocalCasStore(location, create=False):
        pass  # it has this very format, or it would have been refused
    with held_alone(location):
        return UpgradeReport(FORMAT, FORMAT)
