"""Repairing a store, whether it can be opened or not."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterable

from agent_world_distfs.blobs.directory import DirectoryBlobs
from agent_world_distfs.catalog.change_log import setting_damage
from agent_world_distfs.catalog.gate import Gate
from agent_world_distfs.catalog.pages import PageFile
from agent_world_distfs.catalog.rebuilding import LOST_AT
from agent_world_distfs.catalog.salvage import Hints, salvage
from agent_world_distfs.catalog.schema import TABLES
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.engine import scrubbing
from agent_world_distfs.engine.directories import as_host_path
from agent_world_distfs.engine.handles import held_alone
from agent_world_distfs.errors import (
    CatalogError,
    CorruptError,
    IncompatibleStoreError,
    NotFoundError,
    UnavailableError,
)
from agent_world_distfs.flushing import flush_directory
from agent_world_distfs.local import LocalCasStore, catalog_of
from agent_world_distfs.os_failures import translated
from agent_world_distfs.protocols import CatalogReader, CatalogWriter
from agent_world_distfs.records import Progress, RepairReport
from agent_world_distfs.recovering import telling
from agent_world_distfs.recovering.building import NEW, build, rebuild
from agent_world_distfs.recovering.finding import hash_raw
from agent_world_distfs.store import CasStore
from agent_world_distfs.store.recovery import RepairSource, check_sources

_LOCKS = {"turnstile", "gate", "handles"}


def repair_store(
    location: str | os.PathLike[str],
    sources: Iterable[RepairSource] = (),
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> RepairReport:
    """Repair the store at a location, whether it can be opened or not.

    Where the catalog is whole, this is the ``repair`` of a store. Otherwise a new one is first built from
    what can be believed of the damaged one, which is kept as ``catalog.db.damaged-<id>``; nobody may have
    the store open meanwhile. A new catalog lacks the change log. Where only settings are damaged, these are
    dropped. Missing lock files, ``blobs/`` and ``tmp/`` are created again; without the lock files only you
    can tell that nobody has the store open.

    Raises:
        NotFoundError: there is no store, nor what is left of one.
        UnavailableError: the catalog has to be built anew, and somebody has it open, or has just done that.
        IncompatibleStoreError: it is a store of another format, or its catalog a symlink.
    """
    place, sources = as_host_path(location), check_sources(sources, as_host_path(location))
    with translated(place):
        _require_remains(place)
        if not dry_run:
            _restore_locks(place)
            _restore_directories(place)
        examined = _identity_of(place)
        damage, settings = _find_damage(place, dry_run=dry_run)
    if not damage:
        with LocalCasStore(place, create=False, read_only=dry_run) as store:
            report = _without(settings, store.repair(sources, dry_run=dry_run, progress=progress))
            return _with_told(report, store, catalog_of(store), is_last=not dry_run)
    with held_alone(place, create=not dry_run), translated(place):
        if _identity_of(place) != examined:  # building a whole one anew would cost its change log
            raise UnavailableError(f"{place}: somebody else has repaired the store: retry")
        if dry_run:
            return _try_rebuilding(place, sources, progress)
        rebuild(place, sources)
    with LocalCasStore(place, create=False) as store:
        report = store.repair(sources, progress=progress)
        return _with_told(report, store, catalog_of(store), is_last=True)


def _require_remains(place: str) -> None:
    if not os.path.isdir(place) or not {"catalog.db", "blobs"} & set(os.listdir(place)):
        raise NotFoundError(place, "no store here")


def _restore_locks(place: str) -> None:
    """Make lock files that were cleared away.

    Opening does not: whoever has the store open holds the old ones, and the two would not exclude each other.
    """
    locks, names = os.path.join(place, "locks"), set(os.listdir(place))
    is_ours = "catalog.db" in names and ("reserve" in names or names >= {"blobs", "tmp"})
    if is_ours and not _names_in(locks) >= _LOCKS:
        os.makedirs(locks, exist_ok=True)
        Gate.create(locks)
        flush_directory(locks)
        flush_directory(place)


def _restore_directories(place: str) -> None:
    """Make those of large blobs and of sessions where they are gone; what they held, a source may have.

    Opening does not make ``blobs``: its disk may only not be mounted. Whoever repairs says that it is lost; a
    link that leads nowhere is left alone even so.
    """
    if {"catalog.db", "locks"} <= set(os.listdir(place)):
        for name in ("blobs", "tmp"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.join(place, name))
                flush_directory(place)


def _identity_of(place: str) -> int | None:
    """Which file the catalog is, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        return os.lstat(os.path.join(place, "catalog.db")).st_ino
    return None


def _names_in(directory: str) -> set[str]:
    try:
        return set(os.listdir(directory))
    except FileNotFoundError:
        return set()


def _find_damage(place: str, *, dry_run: bool) -> tuple[list[str], list[str]]:
    """What the store says of its catalog, nothing of one that is whole; which settings had to be dropped.

    A setting that is damaged is no reason to build the catalog anew: that would cost the change log.
    """
    catalog = os.path.join(place, "catalog.db")
    if not os.path.lexists(catalog) and {"blobs", "locks"} <= set(os.listdir(place)):
        return ["catalog.db is gone"], []
    try:
        with LocalCasStore(place, create=False, read_only=True) as store:
            damage, settings = catalog_of(store).read(_look)
        if settings and not dry_run:
            with LocalCasStore(place, create=False) as store:
                damage, settings = [], catalog_of(store).write(_drop_settings)
        return damage, settings
    except CatalogError as error:
        return [error.reason], []
    except IncompatibleStoreError as error:
        # A bit may have flipped in the number of the format; whether it is ours, the tables tell.
        if not os.path.islink(catalog) and os.path.isfile(catalog) and _is_of_this_format(catalog):
            return [error.reason], []
        raise


def _look(tx: CatalogReader) -> tuple[list[str], list[str]]:
    settings = tx.damaged_settings()
    told = set(map(setting_damage, settings))
    return [each for each in (*tx.find_damage(), *tx.check_pages()) if each not in told], settings


def _drop_settings(tx: CatalogWriter) -> list[str]:
    """Drop those that are damaged, if that makes the catalog whole; otherwise nothing is done."""
    dropped = tx.drop_damaged_settings()
    for damage in (*tx.find_damage(), *tx.check_pages()):
        raise CatalogError(damage)
    return dropped


def _without(settings: list[str], report: RepairReport) -> RepairReport:
    told = set(map(setting_damage, settings))
    return dataclasses.replace(
        report,
        dropped_settings=_dropped(settings),
        index_damage=tuple(damage for damage in report.index_damage if damage not in told),
    )


def _dropped(settings: Iterable[str]) -> tuple[str, ...]:
    """Without the store's own bookkeeping, which nobody has set."""
    return tuple(sorted(set(settings) - {scrubbing.SETTING, telling.SETTING, LOST_AT}))


def _is_of_this_format(catalog: str) -> bool:
    """Also if nothing is left that says so: the directory around it is a store's."""
    pages = PageFile(catalog)
    try:
        found = salvage(pages, Hints(), hash_raw).schema
    finally:
        pages.close()
    return found.items() <= TABLES.items()


# --- reports ------------------------------------------------------------------------------------


class _Beside(CasStore):
    """A catalog that stands elsewhere over the blobs of a store."""

    def _open_beside(self, location: str) -> LocalCasStore:
        return LocalCasStore(location, create=False, read_only=True)


def _unkept(store: CasStore, adopted: tuple[str, ...]) -> tuple[str, ...]:
    """Without those that snapshots keep, as far as their manifests are there."""
    kept: set[str] = set()
    for snapshot in store.list_snapshots():
        kept.add(snapshot.manifest.content_hash)
        with contextlib.suppress(CorruptError):
            kept.update(file.content_hash for file in store.list_files_at(snapshot.name))
    return tuple(name for name in adopted if name not in kept)


def _try_rebuilding(place: str, sources: list[RepairSource], progress: Progress | None) -> RepairReport:
    """What a repair would do, found out with a new catalog that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="distfs-repair-") as own:
        build(place, own, sources, "catalog.db")
        locks = os.path.join(own, "locks")
        os.mkdir(locks)
        Gate.create(locks)
        catalog = SqliteCatalog(os.path.join(own, NEW), locks, is_flushed=False, timeout_s=1)
        with _Beside(place, catalog, DirectoryBlobs(place)) as store:
            report = store.repair(sources, dry_run=True, progress=progress)
            return _with_told(report, store, catalog, is_last=False)


def _with_told(
    report: RepairReport, store: CasStore, catalog: SqliteCatalog, *, is_last: bool
) -> RepairReport:
    """The report with what the catalog tells of how it was made; in the last step it forgets that."""
    told = telling.read_told(catalog)
    if not told:
        return report
    kept = told.get("salvaged_from")
    if kept is not None and not os.path.lexists(os.path.join(store.location, kept)):
        told["salvaged_from"] = None  # a copy of the store, which has the notes and not what was kept
    told |= {
        "adopted_blob_hashes": _unkept(store, told.get("adopted_blob_hashes", ())),
        "dropped_settings": _dropped([*report.dropped_settings, *told.get("dropped_settings", ())]),
        "refused_sources": tuple(sorted({*report.refused_sources, *told.get("refused_sources", ())})),
    }
    report = dataclasses.replace(report, **told)
    if is_last:
        telling.forget_told(catalog, DirectoryBlobs(store.location))
    return report
