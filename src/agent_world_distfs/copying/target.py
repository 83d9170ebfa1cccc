"""The directory that a copy is made in, and its mark: of which store it is a copy, and in which states."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.rebuilding import LOST_AT
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.engine import scrubbing
from agent_world_distfs.engine.directories import mode_like
from agent_world_distfs.engine.handles import held_alone
from agent_world_distfs.engine.other_stores import damage_at
from agent_world_distfs.errors import CatalogError, IncompatibleStoreError
from agent_world_distfs.filesystem_kind import PROBE, require_lockable
from agent_world_distfs.flushing import flush, flush_directory, flush_file, flush_name
from agent_world_distfs.os_failures import translated
from agent_world_distfs.protocols import CatalogReader

MARK = "backup.json"
RESTORING = "restore.json"


@contextmanager
def opened_target(target: str, mark: str, source: str) -> Iterator[None]:
    """Make it a store without a catalog, if it is empty; nobody else has it open meanwhile.

    If it is missing, it is made for those who may read the store at ``source``; else its mode is the user's.
    """
    with translated(target):
        with contextlib.suppress(FileExistsError):
            os.mkdir(target, mode_like(source))
        if not os.path.isdir(target):
            raise IncompatibleStoreError(target, "not a directory")
        names = set(os.listdir(target))
        if mark not in names and not _is_beginning(target, names, mark):
            raise IncompatibleStoreError(target, "neither empty nor a backup")
        if mark in names:
            _read_mark(target, mark)  # what has the name may be somebody else's: then nothing is made there
        else:
            flush_name(target)  # who made the directory may have died before this
        require_lockable(target)
    with held_alone(target):
        yield


def _is_beginning(target: str, names: set[str], mark: str) -> bool:
    """Whether nothing is there but what a copying that died before its mark may have left."""
    others = {name for name in names if not name.startswith(PROBE)} - {"locks", f"{mark}.new"}
    locks = os.path.join(target, "locks")
    return not others and (not os.path.exists(locks) or set(os.listdir(locks)) <= {"handles"})


def _read_mark(target: str, mark: str) -> tuple[str, dict[str, str]]:
    """Of which store it is a copy, and in which states."""
    path = os.path.join(target, mark)
    try:
        with translated(path), open(path, encoding="utf-8") as file:
            told = json.load(file)
        return told["store"], dict(told["states"])
    except (ValueError, TypeError, KeyError):
        raise IncompatibleStoreError(target, "its mark cannot be read") from None


class Target:
    """The directory that is written, and its mark."""

    def __init__(self, location: str, mark: str, identity: str) -> None:
        self._location = location
        self._mark = os.path.join(location, mark)
        self._catalog = os.path.join(location, "catalog.db")
        self._identity = identity
        self._states: dict[str, str] = {}  # and the transaction that made each
        self._new = ""
        self.verified: str | None = None
        """How far verification has come here: what was read from the disk of the store is no matter."""

    def require_ours(self, source: SqliteCatalog) -> None:
        """Make sure that it is a copy of this very store that nobody has changed; mark a new one."""
        if os.path.exists(self._mark):
            identity, self._states = _read_mark(self._location, os.path.basename(self._mark))
            if identity != self._identity:
                raise IncompatibleStoreError(self._location, "a backup of another store")
        else:
            self._write_mark()
        with translated(self._location):
            DirectoryBlobs.create(self._location)
            if not os.path.exists(os.path.join(self._location, "locks", "gate")):
                Gate.create(os.path.join(self._location, "locks"))
            flush_directory(os.path.join(self._location, "locks"))
            flush_directory(self._location)
        if os.path.exists(self._catalog):
            with damage_at(self._location), contextlib.closing(self.open_catalog(self._catalog)) as there:
                state = there.read(state_of)
                with contextlib.suppress(CatalogError):
                    self.verified = there.read(lambda tx: tx.setting(scrubbing.SETTING))
            made_by = self._states.get(state)
            if made_by is None:
                reason = "the backup was changed since; keep it, and take another directory"
                raise IncompatibleStoreError(self._location, reason)
            self._states = {state: made_by}  # of the one that is there; another one never took the name
            if source.read(lambda tx: tx.has_committed(made_by)) is False:
                reason = "a backup of another copy of this store, or of a later state of it"
                raise IncompatibleStoreError(self._location, reason)
            lost_at = source.read(lambda tx: tx.setting(LOST_AT))
            if lost_at is not None and int(made_by.partition("-")[0]) < int(lost_at):
                reason = (
                    "a repair of the store has lost part of the index since: keep this backup as long as it"
                    " has what the store lacks, and take another directory"
                )
                raise IncompatibleStoreError(self._location, reason)

    def _write_mark(self) -> None:
        new = self._mark + ".new"
        with translated(self._mark):
            with open(new, "w", encoding="utf-8") as file:
                json.dump({"store": self._identity, "states": self._states}, file)
                file.flush()
                flush(file.fileno())
            os.rename(new, self._mark)
            flush_directory(self._location)

    def new_catalog(self) -> str:
        """Where the next catalog is made; what one that was cut off has left the next tidying removes."""
        self._discard_new()
        workshop = os.path.join(self._location, "tmp", f"new-{secrets.token_hex(8)}")
        with translated(workshop):
            os.mkdir(workshop)
        self._new = os.path.join(workshop, "catalog.db")
        return self._new

    def _discard_new(self) -> None:
        if self._new:
            shutil.rmtree(os.path.dirname(self._new), ignore_errors=True)

    def open_catalog(self, path: str) -> SqliteCatalog:
        """A catalog in it, the old or the new one, under its locks."""
        return SqliteCatalog(path, os.path.join(self._location, "locks"), is_flushed=True, timeout_s=10)

    def publish(self, state: str, transaction_id: str) -> None:
        """Give the new catalog its name, durably."""
        self._states[state] = transaction_id
        self._write_mark()  # first: a catalog whose state the mark does not have counts as changed
        with translated(self._catalog):
            flush_file(self._new)
            for suffix in ("-wal", "-shm"):  # SQLite would apply the old WAL to the new catalog
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._catalog + suffix)
            flush_directory(self._location)
            os.rename(self._new, self._catalog)
            self._discard_new()
            flush_directory(self._location)


def identity_of(catalog: SqliteCatalog) -> str:
    """Tells stores from one another, and gives away nothing of the key."""
    return hashlib.sha256(catalog.checksum_key).hexdigest()


def state_of(tx: CatalogReader) -> str:
    """Tells whether somebody has changed paths, pins or snapshots."""
    state, pins = tx.index_state(), [pin.content_hash for pin in tx.list_pins()]
    kept = repr((pins, tx.list_snapshots())).encode()
    return f"{state.total_files}:{state.digest.hex()}:{hashlib.sha256(kept).hexdigest()}"


def finish_restore(target: str) -> None:
    """The copy is a store of its own: take its mark away."""
    with translated(target):
        os.unlink(os.path.join(target, RESTORING))
        flush_directory(target)
