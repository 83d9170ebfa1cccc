"""Opens what a power cut left, and looks: is it a store, what does it hold, does it work?"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from agent_world_distfs import BlobNotFoundError, CatalogError, LocalCasStore, NotFoundError
from replay.newer import mend, rebuild, source_of
from replay.steps import OTHER, World

PATIENCE_S = 10.0
"""How long opening may take at most. What a dead machine left blocks nobody."""


@dataclass(frozen=True)
class Seen:
    """What was found. ``fault``: why this is no sound store, empty if it is one."""

    fault: str = ""
    was_missing: bool = False
    files: frozenset[tuple[str, str]] = frozenset()
    pins: frozenset[str] = frozenset()
    blobs: frozenset[str] = frozenset()
    copies: frozenset[tuple[str, frozenset[tuple[str, str]]]] = frozenset()
    was_damaged: bool = False
    snapshots: frozenset[tuple[str, frozenset[tuple[str, str]]]] = frozenset()


@dataclass(frozen=True)
class Demand:
    """What may be there: one of ``worlds``; ``blobs`` must be. ``may_be_missing``: no store yet is fine."""

    worlds: tuple[World, ...]
    blobs: frozenset[str]
    may_be_missing: bool

    def objection(self, seen: Seen) -> str:
        """Why what was seen is not what was demanded; empty if it is."""
        if seen.fault:
            return seen.fault
        if seen.was_missing:
            return "" if self.may_be_missing else "the store is gone"
        for world in self.worlds:
            if _is(seen, world):
                lost = self.blobs - seen.blobs
                return f"acknowledged blobs are lost: {sorted(lost)}" if lost else ""
        closest = self.worlds[0]
        wrong = sorted(path for path, _ in seen.files ^ frozenset(closest.files.items()))
        named = sorted(name for name, _ in seen.snapshots ^ _named(closest.snapshots))
        told = f"paths {wrong}, pins {sorted(seen.pins ^ closest.pins)}, snapshots {named}"
        return f"not what was acknowledged: {told}, copies {seen.copies}, damaged {seen.was_damaged}"


def _is(seen: Seen, world: World) -> bool:
    is_same = seen.files == frozenset(world.files.items()) and seen.pins == world.pins
    has_named = seen.copies == _named(world.copies) and seen.snapshots == _named(world.snapshots)
    return is_same and has_named and (world.is_damaged or not seen.was_damaged)


def _named(states: dict[str, dict[str, str]]) -> frozenset[tuple[str, frozenset[tuple[str, str]]]]:
    return frozenset((name, frozenset(files.items())) for name, files in states.items())


def observe(root: Path, wanted: Iterable[str]) -> Seen:
    """Look at the store in ``root``, which this changes; ``wanted``: the blobs to look for."""
    began = time.monotonic()
    try:
        seen = _observe(root, wanted)
        if (root / "other").exists():
            _check_other(root / "other")
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the finding
        return Seen(fault=f"{type(error).__name__}: {error}")
    if time.monotonic() - began > PATIENCE_S:
        return Seen(fault="something waited")
    return seen


def _observe(root: Path, wanted: Iterable[str]) -> Seen:
    was_missing, had_to_be_rebuilt = False, _is_damaged(root / "store")
    if had_to_be_rebuilt:
        rebuild(root / "store")
    try:
        store = LocalCasStore(root / "store", create=False, lock_timeout_s=5)
    except NotFoundError:
        was_missing = True
        store = LocalCasStore(root / "store", lock_timeout_s=5)
    with store:
        report = store.audit_file_index(verify=True)
        has_lost_bytes = bool(report.corrupt_blob_hashes or report.missing_file_blob_hashes)
        if has_lost_bytes and source_of(root).exists():
            mend(store, root)
            report = store.audit_file_index(verify=True)
        assert report.is_sound(), f"the audit says {report}"
        files = {file.path: blake3(store.read_file(file.path)).hexdigest() for file in store.list_files()}
        blobs = frozenset(blob for blob in wanted if _has(store, blob))
        pins = frozenset(store.list_pins())
        _use(store)
        snapshots = _snapshots_of(store)
        copies = frozenset((name, _copy_in(root / name)) for name in COPIES if _is_whole(root / name))
    was_damaged = has_lost_bytes or had_to_be_rebuilt
    return Seen("", was_missing, frozenset(files.items()), pins, blobs, copies, was_damaged, snapshots)


def _is_damaged(place: Path) -> bool:
    """Whether its catalog says so; nothing is opened to write before."""
    try:
        with LocalCasStore(place, create=False, read_only=True) as store:
            return bool(store.audit_file_index().index_damage)
    except NotFoundError:
        return False
    except CatalogError:
        return True


def _snapshots_of(store: LocalCasStore) -> frozenset[tuple[str, frozenset[tuple[str, str]]]]:
    """What each of them names, as its bytes say: all of it is read. A collection has run before."""
    return _named(
        {
            kept.name: {
                file.path: blake3(store.read_file_at(file.path, kept.name)).hexdigest()
                for file in store.list_files_at(kept.name)
            }
            for kept in store.list_snapshots()
        }
    )


COPIES = ("backup", "restored", "fork")


def _is_whole(copy: Path) -> bool:
    """Whether a copy was finished: then it has its catalog, and is no restoring any more.

    A fork is there at once: what is under its name must be one.
    """
    if copy.name == "fork":
        return copy.exists()
    return (copy / "catalog.db").exists() and not (copy / "restore.json").exists()


def _copy_in(place: Path) -> frozenset[tuple[str, str]]:
    with LocalCasStore(place, create=False, lock_timeout_s=5) as copy:
        assert copy.audit_file_index(verify=True).is_sound(), f"{place.name} is not sound"
        if place.name == "fork":
            (named,) = copy.list_snapshots()
            assert list(copy.diff(named.name)) == [], "a fork is not its snapshot"
        return frozenset((file.path, file.content_hash) for file in copy.list_files())


def _has(store: LocalCasStore, content_hash: str) -> bool:
    try:
        return blake3(store.get(content_hash)).hexdigest() == content_hash
    except BlobNotFoundError:
        return False


def _use(store: LocalCasStore) -> None:
    """The next writes work, also of what the cut may have left half done, and so does a collection."""
    contents: Sequence[bytes] = (b"next", b"next" * 3_000)
    for number, content in enumerate(contents):
        meta = store.write_file(f"next/{number}", content)
        assert store.get(meta.content_hash) == content
        assert store.delete_file_if_match(f"next/{number}", meta.content_hash)
    store.snapshot("next")
    store.drop_snapshot("next")
    store.prune_orphan_blobs()
    report = store.audit_file_index()
    assert report.is_clean(), f"after a collection the audit says {report}"


def _check_other(root: Path) -> None:
    """The store that was only read from holds what it held."""
    with LocalCasStore(root, create=False, lock_timeout_s=5) as store:
        assert store.audit_file_index(verify=True).is_sound()
        held = {file.path: file.content_hash for file in store.list_files()}
        assert held == {path: content.hash for path, content in OTHER.items()}, "the other store has changed"
