"""From a location to a store."""

from __future__ import annotations

import os
from typing import Literal

from agent_world_distfs.local import LocalCasStore, upgrade_local_store
from agent_world_distfs.records import HashAlgorithm, UpgradeReport


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


def upgrade_store(location: str | os.PathLike[str]) -> UpgradeReport:
    """Bring the store at a location to the format of this release. See ``upgrade_local_store``."""
    return upgrade_local_store(os.fsdecode(location))
