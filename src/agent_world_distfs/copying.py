"""Copies of a whole store, beside its writers: backups, and stores from backups.

A copy is a store itself: the catalog of one snapshot, and the large blobs that it has rows for. First the
catalog is copied under another name, then the blobs of it are leased here, so that no collection takes them,
and brought there; last the catalog takes its name. So there is never half of one; until then an older
copy stays what it was. What is there already is not copied again, so cut off or repeated it goes on.

``backup.json`` beside the catalog says of which store it is a copy, and which states of the index a copying
has put there: what somebody else has changed since is not overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.engine.handles import held_alone
from agent_world_distfs.engine.leases import Lease, lease_where_writable
from agent_world_distfs.engine.orphans import SHARDS
from agent_world_distfs.engine.retained import kept_hashes
from agent_world_distfs.errors import (
    BlobHashMismatchError,
    BlobMissingError,
    CatalogError,
    IncompatibleStoreError,
)
from agent_world_distfs.filesystem_kind import PROBE, require_lockable
from agent_world_distfs.flushing import flush, flush_directory, flush_file
from agent_world_distfs.hashing import CHUNK_BYTES, hash_stream, new_hasher
from agent_world_distfs.os_failures import translated
from agent_world_distfs.protocols import BlobBrief, CatalogReader
from agent_world_distfs.records import BackupReport, Progress

MARK = "backup.json"
RESTORING = "restore.json"
_ATTEMPTS = 10
_CHUNK = 300


@dataclass(slots=True)
class _Tally:
    total_blobs: int = 0
    copied_blobs: int = 0
    copied_bytes: int = 0
    missing: set[str] = field(default_factory=set)
    corrupt: set[str] = field(default_factory=set)


def copy_store(
    catalog: SqliteCatalog,
    blobs: DirectoryBlobs,
    target: str,
    *,
    mark: str = MARK,
    verify: bool = False,
    progress: Progress | None = None,
) -> BackupReport:
    """Copy a store to the directory ``target``, which is empty or an older copy of it; progress in bytes.

    With ``verify`` what is there already is hashed, too. Blobs that are gone or rotten here are left out
    and named; one that is whole in the older copy stays.
    """
    with _open_target(target, mark), ExitStack() as stack:
        place = _Target(target, mark, _identity(catalog))
        place.require_ours(catalog)
        there = DirectoryBlobs(target)
        stack.callback(there.close)
        there.tidy()
        lease = lease_where_writable(catalog, blobs, stack)
        copy, missing = _copy_catalog(catalog, blobs, place, lease)
        stack.callback(copy.close)
        tally = _Tally(missing=missing)
        _Carrier(blobs, there, copy, tally, verify=verify).carry(progress)
        named = _named(copy, blobs, tally.missing | tally.corrupt)
        total_files, state = copy.read(lambda tx: (tx.count_files(), _state_of(tx)))
        transaction_id = copy.read(lambda tx: tx.last_commit().transaction_id)
        copy.close()
        place.publish(state, transaction_id)
        removed = _remove_others(target, there)
    return BackupReport(
        total_files=total_files,
        total_blobs=tally.total_blobs,
        copied_blobs=tally.copied_blobs,
        copied_bytes=tally.copied_bytes,
        removed_blobs=removed,
        missing_blob_hashes=tuple(sorted(tally.missing & named)),
        corrupt_blob_hashes=tuple(sorted(tally.corrupt & named)),
    )


# --- the target ---------------------------------------------------------------------------------


@contextmanager
def _open_target(target: str, mark: str) -> Iterator[None]:
    """Make it a store without a catalog, if it is empty; nobody else has it open meanwhile."""
    with translated(target):
        with contextlib.suppress(FileExistsError):
            os.mkdir(target)
            flush_directory(os.path.dirname(target))
        if not os.path.isdir(target):
            raise IncompatibleStoreError(target, "not a directory")
        names = set(os.listdir(target))
        if mark not in names and not _is_beginning(target, names, mark):
            raise IncompatibleStoreError(target, "neither empty nor a backup")
        require_lockable(target)
    with held_alone(target):
        yield


def _is_beginning(target: str, names: set[str], mark: str) -> bool:
    """Whether nothing is there but what a copying that died before its mark may have left."""
    others = {name for name in names if not name.startswith(PROBE)} - {"locks", f"{mark}.new"}
    locks = os.path.join(target, "locks")
    return not others and (not os.path.exists(locks) or set(os.listdir(locks)) <= {"handles"})


class _Target:
    """The directory that is written, and its mark."""

    def __init__(self, location: str, mark: str, identity: str) -> None:
        self._location = location
        self._mark = os.path.join(location, mark)
        self._catalog = os.path.join(location, "catalog.db")
        self._identity = identity
        self._states: dict[str, str] = {}  # and the transaction that made each
        self._new = ""

    def require_ours(self, source: SqliteCatalog) -> None:
        """Make sure that it is a copy of this very store that nobody has changed; mark a new one."""
        if os.path.exists(self._mark):
            self._read_mark()
        else:
            self._write_mark()
        with translated(self._location):
            DirectoryBlobs.create(self._location)
            if not os.path.exists(os.path.join(self._location, "locks", "gate")):
                Gate.create(os.path.join(self._location, "locks"))
            flush_directory(os.path.join(self._location, "locks"))
            flush_directory(self._location)
        if os.path.exists(self._catalog):
            there = self.open_catalog(self._catalog)
            with contextlib.closing(there):
                state = there.read(_state_of)
            made_by = self._states.get(state)
            if made_by is None:
                reason = "the backup was changed since; keep it, and take another directory"
                raise IncompatibleStoreError(self._location, reason)
            self._states = {state: made_by}  # of the one that is there; another one never took the name
            if source.read(lambda tx: tx.has_committed(made_by)) is False:
                reason = "a backup of another copy of this store, or of a later state of it"
                raise IncompatibleStoreError(self._location, reason)

    def _read_mark(self) -> None:
        try:
            with translated(self._mark), open(self._mark, encoding="utf-8") as file:
                mark = json.load(file)
            identity, states = mark["store"], dict(mark["states"])
        except (ValueError, TypeError, KeyError):
            raise IncompatibleStoreError(self._location, "its mark cannot be read") from None
        if identity != self._identity:
            raise IncompatibleStoreError(self._location, "a backup of another store")
        self._states = states

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
        return SqliteCatalog(path, os.path.join(self._location, "locks"), is_flushed=True, timeout_s=10)

    def publish(self, state: str, transaction_id: str) -> None:
        """Give the new catalog its name, durably."""
        self._states[state] = transaction_id
        self._write_mark()  # first: a catalog whose state the mark does not have counts as changed
        with translated(self._catalog):
            flush_file(self._new)
            for suffix in ("-wal", "-shm"):  # SQLite would apply the old one's log to the new one
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._catalog + suffix)
            flush_directory(self._location)
            os.rename(self._new, self._catalog)
            self._discard_new()
            flush_directory(self._location)


def _identity(catalog: SqliteCatalog) -> str:
    return hashlib.sha256(catalog.checksum_key).hexdigest()


def _state_of(tx: CatalogReader) -> str:
    """Tells whether somebody has changed paths, pins or snapshots."""
    state, pins = tx.index_state(), [pin.content_hash for pin in tx.list_pins()]
    kept = repr((pins, tx.list_snapshots())).encode()
    return f"{state.total_files}:{state.digest.hex()}:{hashlib.sha256(kept).hexdigest()}"


# --- the catalog --------------------------------------------------------------------------------


def _copy_catalog(
    catalog: SqliteCatalog, blobs: DirectoryBlobs, place: _Target, lease: Lease | None
) -> tuple[SqliteCatalog, set[str]]:
    """The copy of one snapshot, whose blobs are kept here; and those that are lost here.

    What was overwritten and collected since the snapshot is no loss: then a newer one is taken.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        path = place.new_catalog()
        _write_copy(catalog, path)
        copy = place.open_catalog(path)
        try:
            _require_sound(copy)
            missing = _keep_all(copy, lease)
            if not _named(copy, blobs, missing) or attempt == _ATTEMPTS:
                return copy, missing
        except BaseException:
            copy.close()
            raise
        copy.close()
    raise AssertionError("the last attempt returns")


def _require_sound(copy: SqliteCatalog) -> None:
    """No damaged catalog takes the place of a good copy."""
    damage = copy.read(lambda tx: next(tx.find_damage(), None))
    if damage is not None:
        raise CatalogError(damage)


def _write_copy(catalog: SqliteCatalog, path: str) -> None:
    catalog.read(lambda tx: tx.copy_to(path))


def _keep_all(copy: SqliteCatalog, lease: Lease | None) -> set[str]:
    missing: set[str] = set()
    if lease is None:
        return missing
    for shard in SHARDS:
        names = [row.content_hash for row in _rows(copy, shard)]
        for start in range(0, len(names), _CHUNK):
            missing.update(lease.keep(names[start : start + _CHUNK]))
    return missing


def _rows(copy: SqliteCatalog, shard: str) -> list[BlobBrief]:
    return copy.read(lambda tx: tx.list_shard(shard))


def _named(copy: SqliteCatalog, here: DirectoryBlobs, hashes: set[str]) -> set[str]:
    """Those that a path, a pin, a snapshot or the history names."""
    if not hashes:
        return set()
    unnamed = copy.read(lambda tx: {blob.content_hash for blob in tx.list_unnamed_blobs(frozenset())})
    named = hashes - unnamed
    try:
        named.update(name for name in kept_hashes(copy, here) if name in hashes)
    except BlobMissingError as error:  # a manifest: what else it names there is no telling
        named.add(error.content_hash)
    except BlobHashMismatchError as error:
        named.add(error.expected)
    return named & hashes


# --- the blobs ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Carrier:
    here: DirectoryBlobs
    there: DirectoryBlobs
    copy: SqliteCatalog
    tally: _Tally
    verify: bool

    def carry(self, progress: Progress | None) -> None:
        done, total = 0, self.copy.read(lambda tx: tx.total_bytes())
        for shard in SHARDS:
            for row in _rows(self.copy, shard):
                self.tally.total_blobs += 1
                if not self._is_there(row):
                    self._copy(row)
                done += row.size_bytes
                if progress is not None:
                    progress(done, total)

    def _is_there(self, row: BlobBrief) -> bool:
        form = self.there.stat(row.content_hash)
        if form is None or not form.is_regular or form.size_bytes != row.size_bytes:
            return False
        self.tally.missing.discard(row.content_hash)
        if not self.verify:
            return True
        with self.there.open(row.content_hash) as stored, translated(row.content_hash):
            return hash_stream(stored, self.copy.hash_algorithm) == row.content_hash

    def _copy(self, row: BlobBrief) -> None:
        try:
            source = self.here.open(row.content_hash)
        except (FileNotFoundError, CatalogError):
            self.tally.missing.add(row.content_hash)
            return
        hasher, incoming = new_hasher(self.copy.hash_algorithm), self.there.incoming()
        try:
            with source, translated(f"blob {row.content_hash}"):
                while chunk := source.read(CHUNK_BYTES):
                    hasher.update(chunk)
                    incoming.write(chunk)
            if hasher.hexdigest() != row.content_hash:
                self.tally.corrupt.add(row.content_hash)
                return
            incoming.publish(row.content_hash)
        finally:
            incoming.discard()
        self.tally.copied_blobs += 1
        self.tally.copied_bytes += row.size_bytes


def _remove_others(target: str, there: DirectoryBlobs) -> int:
    """Take away the files that the new catalog has no row for; nobody has it open."""
    catalog = SqliteCatalog(
        os.path.join(target, "catalog.db"), os.path.join(target, "locks"), is_flushed=True, timeout_s=10
    )
    removed = 0
    with contextlib.closing(catalog):
        for shard in SHARDS:
            known = {row.content_hash for row in _rows(catalog, shard)}
            others = there.list_shard(shard).keys() - known
            there.remove(others)()
            removed += len(others)
    return removed


def finish_restore(target: str) -> None:
    """The copy is a store of its own: take its mark away."""
    with translated(target):
        os.unlink(os.path.join(target, RESTORING))
        flush_directory(target)
