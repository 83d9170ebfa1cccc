"""From a location to a store."""

from __future__ import annotations

import os
from typing import Literal

from agent_world_distfs.errors import InvalidInputError
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
    """The store at a location, which is a directory. See ``LocalCasStore`` for options and errors."""
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
    """Take over a store of the original into ``target``, a location or an open store with an empty index.

    The algorithm is found from the original's blobs unless it is given. See ``CasStore.adopt_original``.

    Raises:
        InvalidInputError: the open store names its blobs by another algorithm.
    """
    snapshot = original.read_snapshot(directory)  # before a store is made for what turns out to be none
    algorithm = hash_algorithm or original.find_algorithm(directory, snapshot)
    if isinstance(target, LocalCasStore):
        if algorithm not in (None, target.hash_algorithm):
            raise InvalidInputError(
                f"the store names blobs by {target.hash_algorithm.value}, the original does not"
            )
        return target.adopt_original(directory, progress=progress)
    with open_store(target, hash_algorithm=algorithm) as store:
        return store.adopt_original(directory, progress=progress)


def upgrade_store(location: str | os.PathLike[str]) -> UpgradeReport:
    """Bring the store at a location to the format of this release. See ``upgrade_local_store``."""
    return upgrade_local_store(os.fsdecode(location))
