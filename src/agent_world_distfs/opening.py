"""From a location to a store."""

from __future__ import annotations

import os
from typing import Literal

from agent_world_distfs.engine.directories import as_host_path, require_apart
from agent_world_distfs.errors import IncompatibleStoreError
from agent_world_distfs.local import LocalCasStore, upgrade_local_store
from agent_world_distfs.operations import original
from agent_world_distfs.records import AdoptReport, HashAlgorithm, Progress, UpgradeReport


def open_store(
    location: str | os.PathLike[str],
    *,
    hash_algorithm: HashAlgorithm | None = None,
    durability: Literal["full", "relaxed"] = "full",
    lock_timeout_s: float = 60.0,
    create: bool = True,
    read_only: bool = False,
) -> LocalCasStore:
    """Open the store in the directory ``location``. Options and errors are those of ``LocalCasStore``."""
    return LocalCasStore(
        location,
        hash_algorithm=hash_algorithm,
        durability=durability,
        lock_timeout_s=lock_timeout_s,
        create=create,
        read_only=read_only,
    )


def adopt_original(
    directory: str | os.PathLike[str],
    target: str | os.PathLike[str] | LocalCasStore,
    *,
    hash_algorithm: HashAlgorithm | None = None,
    progress: Progress | None = None,
) -> AdoptReport:
    """Copy the store of the Rust original in ``directory`` into ``target``, all of it in one step.

    ``target`` is an open store or a location; its index must be empty. A missing store is created once the
    original has been read. Files are copied with their times, pins, and every blob, verified. What is damaged
    is left out and reported; blobs that nothing names become orphans. The original is never changed. If
    interrupted, call it again. Progress in blobs.

    Unless given, the algorithm is determined from the original's blobs; if there are no blobs, it is the
    target's.

    Raises:
        NotFoundError: there is no such directory.
        IncompatibleStoreError: it is no store of the original; the target uses another hash algorithm;
            no blob of the original is intact, so that the algorithm has to be given; or another one is given.
        InvalidInputError: the index is not empty; or one of the two directories lies in the other.
        CatalogError: the original's index or pins cannot be read.
        UnavailableError: the original changed meanwhile, or its blobs are packed and the extra ``adopt``
            is not installed.
    """
    directory = as_host_path(directory)
    algorithm = _algorithm_of(directory, hash_algorithm)
    location = as_host_path(target.location if isinstance(target, LocalCasStore) else target)
    require_apart(directory, location)
    if isinstance(target, LocalCasStore):
        if algorithm not in (None, target.hash_algorithm):
            reason = f"the store names blobs by {target.hash_algorithm.value}, the original by another"
            raise IncompatibleStoreError(location, reason)
        return target.adopt_original(directory, progress=progress)
    with open_store(location, hash_algorithm=algorithm) as store:
        return store.adopt_original(directory, progress=progress)


def _algorithm_of(directory: str | os.PathLike[str], given: HashAlgorithm | None) -> HashAlgorithm | None:
    """Determined before a store is created: one of the wrong algorithm would block the right one."""
    snapshot = original.read_snapshot(directory)
    found = original.find_algorithm(directory, snapshot)
    if found is not None and given not in (None, found):
        reason = f"its blobs are named by {found.value}"
        raise IncompatibleStoreError(os.fsdecode(directory), reason)
    if found is None and given is None and snapshot.blobs:
        reason = "no blob verifies under any algorithm: say which one it was, to take over what is left"
        raise IncompatibleStoreError(os.fsdecode(directory), reason)
    return found or given


def upgrade_store(location: str | os.PathLike[str]) -> UpgradeReport:
    """Upgrade the store in the directory ``location`` to the format of this release while nobody has it open.

    Raises:
        NotFoundError: there is no store.
        UnavailableError: somebody has it open.
        IncompatibleStoreError: it has a newer format, or is not a store; also whatever else opening it
            raises.
    """
    return upgrade_local_store(as_host_path(location))
