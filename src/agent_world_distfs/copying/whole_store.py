"""A whole store, copied to another directory."""

from __future__ import annotations

from contextlib import ExitStack

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.copying.blobs import Carrier, Tally, remove_others
from agent_world_distfs.copying.catalogs import copy_catalog, find_named, require_lost
from agent_world_distfs.copying.target import MARK, Target, identity_of, opened_target, state_of
from agent_world_distfs.engine.leases import lease_where_writable
from agent_world_distfs.records import BackupReport, Progress


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

    With ``verify`` what is there already is hashed, too. Blobs that are lost or corrupt here are left out
    and named; one that is whole in the older copy stays.

    Raises:
        UnavailableError: what was to be copied was collected: nothing could be leased, or not soon enough.
    """
    with opened_target(target, mark, blobs.root), ExitStack() as stack:
        place = Target(target, mark, identity_of(catalog))
        place.require_ours(catalog)
        there = DirectoryBlobs(target)
        stack.callback(there.close)
        there.tidy()
        lease = lease_where_writable(catalog, blobs, stack)
        copy, missing, are_kept = copy_catalog(catalog, blobs, place, lease)
        stack.callback(copy.close)
        tally = Tally(missing=missing)
        Carrier(blobs, there, copy, tally, verify=verify).carry(progress)
        lacking = tally.missing | tally.corrupt
        # A manifest may be corrupt there, or without a lease be collected here by now.
        named = find_named(copy, blobs, lacking) | find_named(copy, there, lacking)
        if not are_kept:
            require_lost(catalog, copy, tally.missing & named)
        total_files, state = copy.read(lambda tx: (tx.count_files(), state_of(tx)))
        transaction_id = copy.read(lambda tx: tx.last_commit().transaction_id)
        copy.close()
        place.publish(state, transaction_id)
        removed = remove_others(target, there)
    return tally.report(total_files, removed, named)
