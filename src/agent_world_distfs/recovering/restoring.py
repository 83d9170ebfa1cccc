"""Making a store from a backup."""

from __future__ import annotations

import dataclasses
import os

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.copying import RESTORING, copy_store, finish_restore
from agent_world_distfs.engine.directories import as_host_path, require_apart
from agent_world_distfs.engine.other_stores import damage_at
from agent_world_distfs.errors import CatalogError
from agent_world_distfs.local import LocalCasStore, catalog_of
from agent_world_distfs.records import BackupReport, Progress


def restore_backup(
    backup: str | os.PathLike[str], target: str | os.PathLike[str], *, progress: Progress | None = None
) -> BackupReport:
    """Make a store in the directory ``target`` from a backup; every byte is verified; progress in bytes.

    The target must be empty, or be what an earlier, interrupted call left: then it continues. The backup is
    only read. What is lost or corrupt in it is left out and named.

    Raises:
        NotFoundError: there is no backup.
        IncompatibleStoreError: the target is neither empty nor the beginning of this.
        InvalidInputError: one of the two lies in the other.
        CatalogError: the catalog of the backup, which ``location`` names, is damaged; ``repair_store`` may
            help.
    """
    place, source = as_host_path(target), as_host_path(backup)
    with damage_at(source), LocalCasStore(source, create=False, read_only=True) as store:
        require_apart(place, store.location)
        catalog, blobs = catalog_of(store), DirectoryBlobs(store.location, read_only=True)
        report = copy_store(catalog, blobs, place, mark=RESTORING, verify=True, progress=progress)
    with damage_at(place), LocalCasStore(place, create=False, read_only=True) as store:
        found = store.audit_file_index(verify=True)
        if found.index_damage:
            raise CatalogError(found.index_damage[0])
    finish_restore(place)
    corrupt = {*report.corrupt_blob_hashes, *found.corrupt_blob_hashes}
    return dataclasses.replace(report, corrupt_blob_hashes=tuple(sorted(corrupt)))
