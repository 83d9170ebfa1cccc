"""A store that is mended from outside, because it cannot be opened or its catalog contradicts itself.

The catalog is built anew beside the damaged one, then takes its name. All of it happens while nobody
has the store open, as the exclusive lock on ``locks/handles`` makes sure. In order, each step durable:

1. the new catalog, complete, in ``tmp/repair-<id>/``
2. a second name for the damaged one, ``catalog.db.damaged-<id>``
3. its log, if it has one, gets the name ``catalog.db.damaged-<id>-wal``: SQLite would apply it to the new one
4. the new catalog takes the name ``catalog.db``

Whoever dies between 3 and 4 leaves a damaged catalog without its log; the next repair sees that the two
names mean one file, and gives the log its name back first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import apsw

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.connections import as_uri
from agent_world_distfs.catalog.failures import translate
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.pages import PageFile
from agent_world_distfs.catalog.rebuilding import Materials, rebuild_catalog
from agent_world_distfs.catalog.salvage import Hints, Salvage, salvage
from agent_world_distfs.catalog.schema import TABLES, empty_log
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.copying import RESTORING, copy_store, finish_restore
from agent_world_distfs.engine.directories import as_host_path, require_apart
from agent_world_distfs.engine.orphans import SHARDS
from agent_world_distfs.errors import (
    CatalogError,
    CorruptError,
    IncompatibleStoreError,
    NotFoundError,
    UnavailableError,
)
from agent_world_distfs.flushing import flush_directory
from agent_world_distfs.hashing import CHUNK_BYTES, hash_function, new_hasher
from agent_world_distfs.local import LocalCasStore
from agent_world_distfs.os_failures import translated
from agent_world_distfs.protocols import Catalog
from agent_world_distfs.records import BackupReport, HashAlgorithm, Progress, RepairReport
from agent_world_distfs.store import CasStore
from agent_world_distfs.store.recovery import RepairSource

_MAGIC = b"SQLite format 3\0"
_LOCKS = {"turnstile", "gate", "handles"}
_DAMAGED = "catalog.db.damaged-"


def repair_store(
    location: str | os.PathLike[str],
    sources: Iterable[RepairSource] = (),
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> RepairReport:
    """Mend the store at a location, whether it can be opened or not.

    Where the catalog is whole, this is the ``repair`` of a store. Else a new one is made first of what can
    be believed of the damaged one, which is kept as ``catalog.db.damaged-<id>``; nobody may have the
    store open meanwhile. What a new catalog does not have: the change log. Lock files that are gone are
    made anew; that nobody has the store open then, nothing can tell but you.

    Raises:
        NotFoundError: there is no store, nor what is left of one.
        UnavailableError: the catalog has to be built anew, and somebody has the store open.
        IncompatibleStoreError: it is a store of another format.
    """
    place, sources = as_host_path(location), list(sources)
    with translated(place):
        _require_remains(place)
        if not dry_run:
            _restore_locks(place)
        damage = _find_damage(place)
    if not damage:
        with LocalCasStore(place, create=False, read_only=dry_run) as store:
            return store.repair(sources, dry_run=dry_run, progress=progress)
    with _alone(place):
        if dry_run:
            return _try_rebuilding(place, sources, progress)
        rebuilt = _rebuild(place, sources)
    with LocalCasStore(place, create=False) as store:
        return _merged(store.repair(sources, progress=progress), rebuilt, store)


def restore_backup(
    backup: str | os.PathLike[str], target: str | os.PathLike[str], *, progress: Progress | None = None
) -> BackupReport:
    """Make a store in the directory ``target`` of a backup; every byte is verified; progress in bytes.

    The target must be empty, or be what an earlier call that was cut off has left: then it goes on. The
    backup is only read. What is lost or rotten in it is left out and named.

    Raises:
        NotFoundError: there is no backup.
        IncompatibleStoreError: the target is neither empty nor the beginning of this.
        InvalidInputError: one of the two lies in the other.
        CatalogError: the catalog of the backup is damaged; ``repair_store`` may help.
    """
    place = as_host_path(target)
    with LocalCasStore(backup, create=False, read_only=True) as store:
        require_apart(place, store.location)
        catalog, files = _catalog_of(store), DirectoryBlobs(store.location, read_only=True)
        assert isinstance(catalog, SqliteCatalog)
        report = copy_store(catalog, files, place, mark=RESTORING, verify=True, progress=progress)
    with LocalCasStore(place, create=False, read_only=True) as store:
        found = store.audit_file_index(verify=True)
    if found.index_damage:
        raise CatalogError(found.index_damage[0])
    finish_restore(place)
    corrupt = {*report.corrupt_blob_hashes, *found.corrupt_blob_hashes}
    return dataclasses.replace(report, corrupt_blob_hashes=tuple(sorted(corrupt)))


def _require_remains(place: str) -> None:
    if not os.path.isdir(place) or not {"catalog.db", "blobs"} & set(os.listdir(place)):
        raise NotFoundError(place, "no store here")


def _restore_locks(place: str) -> None:
    """Make lock files that were cleared away.

    Opening does not: whoever has the store open holds the old ones, and the two would not exclude each other.
    """
    locks = os.path.join(place, "locks")
    if {"catalog.db", "reserve"} <= set(os.listdir(place)) and not _names_in(locks) >= _LOCKS:
        os.makedirs(locks, exist_ok=True)
        Gate.create(locks)
        flush_directory(locks)
        flush_directory(place)


def _names_in(directory: str) -> set[str]:
    try:
        return set(os.listdir(directory))
    except FileNotFoundError:
        return set()


def _find_damage(place: str) -> tuple[str, ...]:
    """What the store says of its catalog; nothing of one that is whole."""
    catalog = os.path.join(place, "catalog.db")
    if not os.path.lexists(catalog) and {"blobs", "locks"} <= set(os.listdir(place)):
        return ("catalog.db is gone",)
    try:
        with LocalCasStore(place, create=False, read_only=True) as store:
            return _catalog_of(store).read(lambda tx: (*tx.find_damage(), *tx.check_pages()))
    except CatalogError as error:
        return (error.reason,)
    except IncompatibleStoreError as error:
        # A bit may have flipped in the number of the format; whether it is ours, the tables tell.
        if os.path.isfile(catalog) and _is_of_this_format(catalog):
            return (error.reason,)
        raise


def _catalog_of(store: LocalCasStore) -> Catalog:
    return store._catalog  # noqa: SLF001  # what is mended here is no matter of the public API


def _is_of_this_format(catalog: str) -> bool:
    """Also if nothing is left that says so: the directory around it is a store's."""
    pages = PageFile(catalog)
    try:
        found = salvage(pages, Hints(), _hash).schema
    finally:
        pages.close()
    return found.items() <= TABLES.items()


@contextmanager
def _alone(place: str) -> Iterator[None]:
    """While nobody else has the store open, nor can open it."""
    locks = os.path.join(place, "locks")
    with translated(locks):
        os.makedirs(locks, exist_ok=True)
        fd = os.open(os.path.join(locks, "handles"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise UnavailableError(f"{place}: somebody has the store open: close it there first") from None
        finally:
            os.close(fd)


# --- rebuilding ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Rebuilt:
    salvage: Salvage
    kept_as: str | None
    adopted: tuple[str, ...]


def _rebuild(place: str, sources: list[RepairSource]) -> _Rebuilt:
    for name in ("blobs", "tmp"):
        os.makedirs(os.path.join(place, name), exist_ok=True)
    for name in ("turnstile", "gate"):
        if not os.path.exists(os.path.join(place, "locks", name)):
            Gate.create(os.path.join(place, "locks"))
    _undo_what_was_cut_off(place)
    number = secrets.token_hex(4)
    workshop = os.path.join(place, "tmp", f"repair-{number}")
    os.mkdir(workshop)
    new = os.path.join(workshop, "catalog.db")
    found, adopted = _build(place, new, sources)
    kept_as = _exchange(place, new, f"{_DAMAGED}{number}")
    with contextlib.suppress(OSError):
        os.rmdir(workshop)
    return _Rebuilt(found, kept_as, adopted)


def _undo_what_was_cut_off(place: str) -> None:
    """Give the log its name back, where a repair died before the new catalog took its own."""
    catalog = os.path.join(place, "catalog.db")
    for name in os.listdir(place):
        kept = os.path.join(place, name)
        if name.startswith(_DAMAGED) and not name.endswith("-wal") and os.path.exists(catalog):
            log = kept + "-wal"
            if os.path.samefile(kept, catalog):
                if os.path.exists(log) and not _has_bytes(catalog + "-wal"):
                    os.rename(log, catalog + "-wal")
                os.unlink(kept)
    flush_directory(place)


def _exchange(place: str, new: str, kept_as: str) -> str | None:
    catalog, kept = os.path.join(place, "catalog.db"), os.path.join(place, kept_as)
    is_there = os.path.lexists(catalog)
    flush_directory(os.path.dirname(new))
    if is_there:
        if os.path.isfile(catalog) and not os.path.islink(catalog):
            os.link(catalog, kept)
        else:
            os.rename(catalog, kept)
        flush_directory(place)
    if os.path.lexists(catalog + "-wal"):
        os.rename(catalog + "-wal", kept + "-wal")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(catalog + "-shm")
    flush_directory(place)
    os.rename(new, catalog)
    flush_directory(place)
    return kept_as if is_there else None


def _build(place: str, new: str, sources: list[RepairSource]) -> tuple[Salvage, tuple[str, ...]]:
    """A new catalog in ``new``; what was found, and which stored bytes nothing names any more."""
    files = DirectoryBlobs(place, read_only=True)
    with tempfile.TemporaryDirectory(prefix="distfs-repair-") as own:
        present = _list_files(files)
        pages = PageFile(_with_log(_find_catalog(place, files, present), own))
        try:
            found = salvage(pages, _hints(sources, present), _hash)
            algorithm = found.algorithm or _algorithm_of(files, present)
            stored = _whole_files(files, present, found, algorithm)
            rebuild_catalog(new, Materials(found, pages, algorithm, stored))
        finally:
            pages.close()
    named = found.pins | {entry.content_hash for entry in found.entries.values()}
    adopted = (raw.hex() for raw in {*stored, *found.blobs} - named)
    return found, tuple(sorted(adopted))


def _find_catalog(place: str, files: DirectoryBlobs, present: dict[str, int]) -> str:
    """Where it is: under its name or, if what is there is something else, under that of a blob."""
    catalog = os.path.join(place, "catalog.db")
    paths = [catalog, *map(files.path_of, present)]
    return next((path for path in paths if os.path.isfile(path) and _is_database(path)), catalog)


def _is_database(path: str) -> bool:
    with translated(path), open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _with_log(catalog: str, own: str) -> str:
    """The catalog with what its log adds, as a copy in ``own``, so that the original stays as it is."""
    copy = os.path.join(own, "catalog.db")
    if not os.path.isfile(catalog):
        open(copy, "wb").close()
        return copy
    if not _has_bytes(catalog + "-wal"):
        return catalog  # nobody has it open, so it may be read without SQLite
    shutil.copyfile(catalog, copy)
    shutil.copyfile(catalog + "-wal", copy + "-wal")
    try:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(as_uri(copy), flags=flags)
        with contextlib.closing(connection):
            empty_log(connection)
    except apsw.Error as error:
        failure = translate(error, copy, 0)
        if not isinstance(failure, CatalogError):  # of the place of the copy: the log must not count as empty
            raise failure from error
    return copy


def _has_bytes(path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_size > 0
    return False


def _hash(algorithm: HashAlgorithm, data: bytes) -> bytes:
    return bytes.fromhex(hash_function(algorithm)(data))


# --- what others know ---------------------------------------------------------------------------


def _list_files(files: DirectoryBlobs) -> dict[str, int]:
    found: dict[str, int] = {}
    for shard in SHARDS:
        forms = files.list_shard(shard)
        found |= {name: form.size_bytes for name, form in forms.items() if form.is_regular}
    return found


def _hints(sources: list[RepairSource], present: dict[str, int]) -> Hints:
    hints = Hints(blobs={(bytes.fromhex(name), size) for name, size in present.items()})
    with ExitStack() as stack:
        for source in sources:
            store = _as_store(source, stack)
            if store is not None:
                hints.files.extend(store.iter_files())
                hints.pins |= {bytes.fromhex(name) for name in store.list_pins()}
                hints.snapshots.extend(store.list_snapshots())
                catalog = _catalog_of(store)
                if isinstance(catalog, SqliteCatalog):
                    hints.keys.append(catalog.checksum_key)
    return hints


def _as_store(source: RepairSource, stack: ExitStack) -> LocalCasStore | None:
    if isinstance(source, LocalCasStore):
        return source
    if isinstance(source, str | os.PathLike) and os.path.exists(os.path.join(source, "catalog.db")):
        return stack.enter_context(LocalCasStore(source, create=False, read_only=True))
    return None


def _algorithm_of(files: DirectoryBlobs, present: dict[str, int]) -> HashAlgorithm:
    for name in sorted(present, key=present.__getitem__):
        for algorithm in HashAlgorithm:
            if _is_whole(files, name, algorithm):
                return algorithm
    return HashAlgorithm.BLAKE3


def _whole_files(
    files: DirectoryBlobs, present: dict[str, int], found: Salvage, algorithm: HashAlgorithm
) -> dict[bytes, int]:
    """Those without a row whose bytes are right, made durable: a row says that they are."""
    whole = {}
    for name, size_bytes in present.items():
        raw = bytes.fromhex(name)
        if raw not in found.blobs and _is_whole(files, name, algorithm):
            path = files.path_of(name)
            with translated(path):
                _flush_file(path)
                flush_directory(os.path.dirname(path))
            whole[raw] = size_bytes
    return whole


def _is_whole(files: DirectoryBlobs, name: str, algorithm: HashAlgorithm) -> bool:
    hasher = new_hasher(algorithm)
    with files.open(name) as stored, translated(name):
        while chunk := stored.read(CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest() == name


def _flush_file(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# --- reports ------------------------------------------------------------------------------------


class _Beside(CasStore):
    """A catalog that stands elsewhere over the blobs of a store."""

    def _open_beside(self, location: str) -> LocalCasStore:
        return LocalCasStore(location, create=False, read_only=True)


def _unkept(store: CasStore, adopted: tuple[str, ...]) -> tuple[str, ...]:
    """Without those that snapshots keep, as far as their manifests are there."""
    kept: set[str] = set()
    for snapshot in store.list_snapshots():
        kept.add(snapshot.manifest.content_hash)
        with contextlib.suppress(CorruptError):
            kept.update(file.content_hash for file in store.list_files_at(snapshot.name))
    return tuple(name for name in adopted if name not in kept)


def _try_rebuilding(place: str, sources: list[RepairSource], progress: Progress | None) -> RepairReport:
    """What a repair would do, found out with a new catalog that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="distfs-repair-") as own:
        catalog = os.path.join(own, "catalog.db")
        found, adopted = _build(place, catalog, sources)
        os.mkdir(os.path.join(own, "locks"))
        Gate.create(os.path.join(own, "locks"))
        open_catalog = partial(SqliteCatalog, catalog, os.path.join(own, "locks"))
        with _Beside(place, open_catalog(is_flushed=False, timeout_s=1), DirectoryBlobs(place)) as store:
            report = store.repair(sources, dry_run=True, progress=progress)
            return _merged(report, _Rebuilt(found, "catalog.db", adopted), store)


def _merged(report: RepairReport, rebuilt: _Rebuilt, store: CasStore) -> RepairReport:
    found = rebuilt.salvage
    return dataclasses.replace(
        report,
        salvaged_from=rebuilt.kept_as,
        salvaged_files=len(found.entries),
        lost_files=found.lost_files,
        is_proven=found.is_proven,
        doubtful_paths=tuple(sorted(found.doubtful_paths)),
        adopted_blob_hashes=_unkept(store, rebuilt.adopted),
    )
