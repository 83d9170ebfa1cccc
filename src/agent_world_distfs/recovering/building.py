"""A new catalog, built from what is left of a store.

It is made in ``tmp/repair-<id>/``, complete and flushed: what a repair that dies before that leaves is tidied
as whatever dead sessions leave. Only then does it take the name of the damaged one (``exchanging``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import tempfile
from contextlib import ExitStack

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.rebuilding import Materials, rebuild_catalog
from agent_world_distfs.catalog.salvage import Hints, Salvage
from agent_world_distfs.engine.orphans import SHARDS
from agent_world_distfs.errors import StorageIOError
from agent_world_distfs.flushing import flush_directory, flush_file
from agent_world_distfs.hashing import hash_stream
from agent_world_distfs.local import LocalCasStore, catalog_of
from agent_world_distfs.os_failures import translated
from agent_world_distfs.records import HashAlgorithm
from agent_world_distfs.recovering.exchanging import exchange, find_remains, undo_cut_off
from agent_world_distfs.recovering.finding import opened_remains
from agent_world_distfs.store.recovery import RepairSource


@dataclasses.dataclass(frozen=True, slots=True)
class Rebuilt:
    """``kept_as``: the name of the damaged catalog. ``adopted``: stored, and named by nothing any more."""

    salvage: Salvage
    kept_as: str | None
    adopted: tuple[str, ...]


def rebuild(place: str, sources: list[RepairSource]) -> Rebuilt:
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
    os.mkdir(workshop)
    new = os.path.join(workshop, "catalog.db")
    found, adopted = build(place, new, sources)
    kept_as = exchange(place, new, number)
    with contextlib.suppress(OSError):
        os.rmdir(workshop)
    return Rebuilt(found, kept_as, adopted)


def build(place: str, new: str, sources: list[RepairSource]) -> tuple[Salvage, tuple[str, ...]]:
    """A new catalog in ``new``; what was found, and which stored bytes nothing names any more."""
    blobs = DirectoryBlobs(place, read_only=True)
    with tempfile.TemporaryDirectory(prefix="distfs-repair-") as own:
        present = _list_files(blobs)
        with opened_remains(find_remains(place), blobs, present, _hints(sources, present), own) as (
            pages,
            found,
        ):
            algorithm = found.algorithm or _algorithm_of(blobs, present)
            stored = _whole_files(blobs, present, found, algorithm)
            rebuild_catalog(new, Materials(found, pages, algorithm, stored))
    named = found.pins | {entry.content_hash for entry in found.entries.values()}
    adopted = (raw.hex() for raw in {*stored, *found.blobs} - named)
    return found, tuple(sorted(adopted))


# --- what others know ---------------------------------------------------------------------------


def _list_files(blobs: DirectoryBlobs) -> dict[str, int]:
    found: dict[str, int] = {}
    for shard in SHARDS:
        forms = blobs.list_shard(shard)
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
                hints.keys.append(catalog_of(store).checksum_key)
    return hints


def _as_store(source: RepairSource, stack: ExitStack) -> LocalCasStore | None:
    if isinstance(source, LocalCasStore):
        return source
    if isinstance(source, str | os.PathLike) and os.path.exists(os.path.join(source, "catalog.db")):
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
