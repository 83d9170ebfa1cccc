"""A new catalog, built from what is left of a store.

It is made in ``tmp/repair-<id>/``, complete and flushed, from a copy of the damaged one that
has its WAL merged. What a repair that dies before that leaves is tidied as whatever dead sessions leave. Only
then does it take the name of the damaged one (``exchanging``).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from contextlib import ExitStack

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.rebuilding import Materials, rebuild_catalog
from agent_world_distfs.catalog.salvage import Hints, Salvage
from agent_world_distfs.engine.directories import as_host_path
from agent_world_distfs.engine.orphans import SHARDS
from agent_world_distfs.engine.other_stores import named_by, require_algorithm
from agent_world_distfs.errors import StorageIOError, WorldError
from agent_world_distfs.flushing import flush_directory, flush_file
from agent_world_distfs.hashing import hash_stream
from agent_world_distfs.local import LocalCasStore, catalog_of
from agent_world_distfs.os_failures import translated
from agent_world_distfs.records import HashAlgorithm
from agent_world_distfs.recovering.exchanging import exchange, find_remains, kept_name, undo_cut_off
from agent_world_distfs.recovering.finding import opened_remains
from agent_world_distfs.recovering.telling import SETTING, text_of
from agent_world_distfs.store.recovery import RepairSource, is_store, name_of, names_in

NEW = "catalog.db"


def rebuild(place: str, sources: list[RepairSource]) -> None:
    """Build a new catalog, and let it take the name of the damaged one."""
    for name in ("blobs", "tmp"):
        os.makedirs(os.path.join(place, name), exist_ok=True)
    for name in ("turnstile", "gate"):
        if not os.path.exists(os.path.join(place, "locks", name)):
            Gate.create(os.path.join(place, "locks"))
    flush_directory(os.path.join(place, "locks"))
    undo_cut_off(place)
    number = secrets.token_hex(4)
    workshop = os.path.join(place, "tmp", f"repair-{number}")
    os.mkdir(workshop, 0o700)  # the copies in it would be for all, even of a catalog that is private
    try:
        build(place, workshop, sources, kept_name(place, number))
        _permit_alike(os.path.join(workshop, NEW), os.path.join(place, "catalog.db"))
        exchange(place, os.path.join(workshop, NEW), number)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _permit_alike(new: str, damaged: str) -> None:
    """Let those use the new catalog who could use the damaged one, and nobody else, as far as we may.

    SQLite gives the WAL and the shared memory the permissions and, for root, the owner of the catalog.
    """
    status = os.lstat(damaged) if os.path.lexists(damaged) else None
    if status is not None and stat.S_ISREG(status.st_mode):
        for owner in ((status.st_uid, -1), (-1, status.st_gid)):
            with contextlib.suppress(PermissionError):
                os.chown(new, *owner)
        os.chmod(new, stat.S_IMODE(status.st_mode) & 0o777)
        flush_file(new)


def build(place: str, workshop: str, sources: list[RepairSource], kept_as: str | None) -> None:
    """A new catalog, ``NEW`` in ``workshop``. ``kept_as``: the name that the damaged one is to have.

    Raises:
        InvalidInputError: a source uses another hash algorithm. Later would be too late to refuse it.
    """
    blobs = DirectoryBlobs(place, read_only=True)
    present = _list_files(blobs)
    hints, refused, algorithms = _hints(sources, present)
    own = os.path.join(workshop, "damaged")
    os.mkdir(own)
    with opened_remains(find_remains(place), blobs, present, hints, own) as (pages, found):
        algorithm = found.algorithm or _algorithm_of(blobs, present)
        for theirs in algorithms:
            require_algorithm(theirs, algorithm)
        stored = _whole_files(blobs, present, found, algorithm)
        named = found.pins | {entry.content_hash for entry in found.entries.values()}
        adopted = [raw.hex() for raw in {*stored, *found.blobs} - named]
        notes = {SETTING: text_of(found, adopted, refused, kept_as)}
        rebuild_catalog(os.path.join(workshop, NEW), Materials(found, pages, algorithm, stored, notes))
    shutil.rmtree(own)
    flush_directory(workshop)  # or a power cut while catalogs are exchanged would bring back the copy


# --- what others know ---------------------------------------------------------------------------


def _list_files(blobs: DirectoryBlobs) -> dict[str, int]:
    found: dict[str, int] = {}
    for shard in SHARDS:
        forms = blobs.list_shard(shard)
        found |= {name: form.size_bytes for name, form in forms.items() if form.is_regular}
    return found


def _hints(sources: list[RepairSource], present: dict[str, int]) -> tuple[Hints, list[str], list[str | None]]:
    """What the sources know; which of them could not be asked, and why; how those that are stores name blobs.

    Of one that could not be asked, nothing is taken.
    """
    hints = Hints(blobs={(bytes.fromhex(name), size) for name, size in present.items()})
    refused: list[str] = []
    algorithms: list[str | None] = []
    for source in sources:
        try:
            with ExitStack() as stack:
                store = _as_store(source, stack)
                told = _hints_of(store)
                theirs = named_by(source if store is None else store)
        except WorldError as error:
            refused.append(f"{name_of(source)}: {error}")
            continue
        hints.files.extend(told.files)
        hints.pins |= told.pins
        hints.snapshots.extend(told.snapshots)
        hints.keys.extend(told.keys)
        algorithms.append(theirs)
    return hints, refused, algorithms


def _hints_of(store: LocalCasStore | None) -> Hints:
    if store is None:
        return Hints()
    return Hints(
        files=list(store.iter_files()),
        pins={bytes.fromhex(name) for name in store.list_pins()},
        snapshots=store.list_snapshots(),
        keys=[catalog_of(store).checksum_key],
    )


def _as_store(source: RepairSource, stack: ExitStack) -> LocalCasStore | None:
    if isinstance(source, LocalCasStore):
        return source
    if isinstance(source, str | os.PathLike) and is_store(names_in(as_host_path(source))):
        return stack.enter_context(LocalCasStore(source, create=False, read_only=True))
    return None


def _algorithm_of(blobs: DirectoryBlobs, present: dict[str, int]) -> HashAlgorithm:
    for name in sorted(present, key=present.__getitem__):
        for algorithm in HashAlgorithm:
            if _is_whole(blobs, name, algorithm):
                return algorithm
    return HashAlgorithm.BLAKE3


def _whole_files(
    blobs: DirectoryBlobs, present: dict[str, int], found: Salvage, algorithm: HashAlgorithm
) -> dict[bytes, int]:
    """Those without a row whose bytes are right, made durable: a row says that they are."""
    whole, directories = {}, set()
    for name, size_bytes in present.items():
        raw = bytes.fromhex(name)
        if raw not in found.blobs and _is_whole(blobs, name, algorithm):
            path = blobs.path_of(name)
            with translated(path):
                flush_file(path)
            shard = os.path.dirname(path)
            directories |= {shard, os.path.dirname(shard)}  # the shard may be as new as the file
            whole[raw] = size_bytes
    for directory in directories:
        with translated(directory):
            flush_directory(directory)
    return whole


def _is_whole(blobs: DirectoryBlobs, name: str, algorithm: HashAlgorithm) -> bool:
    """Whether the bytes are right; what the disk does not give back is not, and no reason to give up."""
    try:
        with blobs.open(name) as stored, translated(blobs.path_of(name)):
            return hash_stream(stored, algorithm) == name
    except StorageIOError:
        return False
