"""A new store in a directory, or the one that is there.

The catalog appears last, complete, by a rename: a directory without one is not a store yet; if it is
otherwise empty, creating a store continues there. Creation is serialized by a lock on the directory. It is
quick, and death releases the lock; but others may have locked the directory for their own purposes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.lock_files import LockFile
from agent_world_distfs.catalog.schema import create_catalog
from agent_world_distfs.engine.handles import hold_handle
from agent_world_distfs.errors import (
    CatalogError,
    IncompatibleStoreError,
    NotFoundError,
    StorageError,
    UnavailableError,
    WorldError,
)
from agent_world_distfs.filesystem_kind import PROBE, require_lockable
from agent_world_distfs.flushing import flush_directory, flush_name
from agent_world_distfs.os_failures import translate, translate_reading
from agent_world_distfs.records import HashAlgorithm

_SKELETON = {"blobs", "tmp", "locks", "reserve"}
_LATER = {"hints", "quarantine"}


def find_or_create(
    location: str, algorithm: HashAlgorithm | None, *, create: bool, read_only: bool, timeout_s: float
) -> None:
    """Make sure that there is a store that may be opened; with ``create``, by making one where there is none.

    Raises:
        StoreBusyError: somebody else has the directory locked for so long.
        NotFoundError: there is none, and none is to be made.
        StorageError: a directory on the way may not be entered.
        IncompatibleStoreError: something else is there, the catalog is a symlink, or the file system
            cannot lock.
        CatalogError: the catalog is no file, or gone from beside its blobs, or a repair was cut off.
        UnavailableError: a repair is about to give the catalog its name.
    """
    try:
        if _has_catalog(location):
            _require_regular(location)
            require_lockable(location, can_write=not read_only or os.access(location, os.W_OK))
            if not read_only:
                _make_place_for_sessions(location)
                _flush_names(location)  # its creator may have died before this
            return
        if read_only or not create:
            if os.path.isdir(location) and os.listdir(location):
                _refuse_foreign(location)
            raise NotFoundError(location, "no store here")
        _make_directories(location)
        require_lockable(location)
        with _locked(location, timeout_s):
            _create(location, algorithm or HashAlgorithm.BLAKE3)
    except WorldError:
        raise
    except (FileExistsError, NotADirectoryError) as error:
        raise IncompatibleStoreError(location, "not a directory") from error
    except OSError as error:
        is_to_change = create or not read_only
        raise (translate if is_to_change else translate_reading)(error, location) from error


def _has_catalog(location: str) -> bool:
    """Whether something has its name; where that may not be known, an error says so."""
    try:
        os.lstat(os.path.join(location, "catalog.db"))
    except FileNotFoundError:
        return False
    return True


def _make_place_for_sessions(location: str) -> None:
    """Make ``tmp`` if it is missing: many copying tools omit empty directories, as it is when all is closed.

    Not ``blobs``: if that is gone, its disk may just not be mounted.
    """
    if os.path.exists(os.path.join(location, "locks", "handles")):  # else it may not be a store
        with contextlib.suppress(OSError):  # must not prevent reading; a write will report it
            os.mkdir(os.path.join(location, "tmp"))


def _require_regular(location: str) -> None:
    """Raise unless the catalog is a regular file with content: reading from a fifo, say, would wait forever.

    SQLite keeps the WAL beside what a symlink leads to. What is acknowledged there would be found by nobody
    who looks for it here: neither a flush of the WAL nor a repair.
    """
    catalog = os.path.join(location, "catalog.db")
    if os.path.islink(catalog):
        reason = (
            "catalog.db is a symlink: put the file and its -wal in its place, or link the whole directory"
        )
        raise IncompatibleStoreError(location, reason)
    if not os.path.isfile(catalog):
        raise CatalogError(f"{catalog} is not a regular file")
    if not os.path.getsize(catalog):  # to SQLite that is a new database, so of another program
        raise CatalogError(f"{catalog} is empty: run `distfs repair`")


@contextlib.contextmanager
def _locked(location: str, timeout_s: float) -> Iterator[None]:
    lock = LockFile(location, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock.acquire(time.monotonic() + timeout_s, timeout_s)
        yield
    finally:
        try:
            lock.release()
            lock.close()
        finally:
            lock.close()  # again: an exception that is kept, say an interrupt's, keeps the object


def _create(location: str, algorithm: HashAlgorithm) -> None:
    catalog = os.path.join(location, "catalog.db")
    if os.path.lexists(catalog):
        return
    _refuse_foreign(location)
    DirectoryBlobs.create(location)
    os.makedirs(os.path.join(location, "locks"), exist_ok=True)
    Gate.create(os.path.join(location, "locks"))
    # Named like the directory of a session without a lock, so that tidying removes what a crash leaves.
    workshop = os.path.join(location, "tmp", f"new-{secrets.token_hex(8)}")
    os.mkdir(workshop)
    create_catalog(os.path.join(workshop, "catalog.db"), algorithm)
    flush_directory(os.path.join(location, "locks"))
    flush_directory(location)  # or a power cut may keep the catalog's name and lose those beside it
    os.rename(os.path.join(workshop, "catalog.db"), catalog)
    with contextlib.suppress(FileNotFoundError):  # an opener may already have removed it
        os.rmdir(workshop)
    _flush_names(location)


def _make_directories(location: str) -> None:
    """Make the directory and those above it, each name durable before the next."""
    parent = os.path.dirname(location)
    if not os.path.isdir(parent):
        _make_directories(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(location)
        flush_name(location)
    if not os.path.isdir(location):
        raise NotADirectoryError(location)


def _flush_names(location: str) -> None:
    flush_directory(location)
    flush_name(location)


def _refuse_foreign(location: str) -> None:
    """Raise unless a store may be created here: the directory is empty, or holds the beginnings of one."""
    names = {name for name in os.listdir(location) if not name.startswith(PROBE)}
    if {"files_index.json", "pins.json"} & names or _has_original_blobs(location):
        reason = "a store of the original implementation; take it over with: distfs adopt DIRECTORY"
        raise IncompatibleStoreError(location, reason)
    if _is_left_of_a_store(location, names):
        _require_no_repair(location)
        raise CatalogError(f"{location}: catalog.db is gone from beside its blobs: run `distfs repair`")
    if names - _SKELETON:
        raise IncompatibleStoreError(location, "a directory of something else: neither empty nor a store")


def _is_left_of_a_store(location: str, names: set[str]) -> bool:
    """Whether a store has lost its catalog; a repair that was cut off has left it under another name.

    Nothing may be made or read here then: what has been committed would not be seen.
    """
    others = {name for name in names if name.startswith("catalog.db")}
    if others and {"blobs", "locks"} <= names:
        return True
    blobs = os.path.join(location, "blobs")
    return names <= _SKELETON | _LATER and os.path.isdir(blobs) and bool(os.listdir(blobs))


def _require_no_repair(location: str) -> None:
    """Raise if the catalog is only missing for the moment."""
    with contextlib.suppress(StorageError):  # without its lock file nobody can tell
        hold_handle(location).close()
    if os.path.lexists(os.path.join(location, "catalog.db")):
        raise UnavailableError(f"{location}: the store was being repaired: retry")


def _has_original_blobs(location: str) -> bool:
    blobs = os.path.join(location, "blobs")
    return os.path.isdir(blobs) and any(name.endswith(".blob") for name in os.listdir(blobs))
