"""Repair, backup and restore, killed or told of an error, at system calls: run again, the same end.

Beside the store of each case stand: ``.hurt``, a damaged store; ``.copy`` and ``.kept``, backups; and the
targets that the operation makes.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from crowd import place_for
from fault_points import CHANGING, IS_ALL, Zygote, list_points, some_of
from operations import KEPT, LARGE, RECOVERIES, SMALL, prepare
from test_faults import FAULTS, require_typed

from agent_world_distfs import IncompatibleStoreError, LocalCasStore, repair_store, restore_backup

pytestmark = pytest.mark.proof

KILL, *ERRORS = FAULTS

CALLS = [call for call in CHANGING if call != "openat"]
"""Opening mostly reads: a kill there finds what one at the next change finds."""

STEP = {"repair": 1, "repair-store": 4, "backup": 8, "restore": 4}
"""In CI each so-manieth point is one of a kill, a quarter of them one of each error: most differ by the
page or the blob only. In longer runs all."""

BESIDE = (".hurt", ".copy", ".kept", ".backup")


@pytest.fixture(scope="module")
def template(fast_place: Path) -> Path:
    return make_template(fast_place / "template" / "store")


def make_template(root: Path) -> Path:
    """A store with a rotten and a missing blob, and what is beside it; its backup is an older one."""
    root.parent.mkdir()
    prepare(root)
    with LocalCasStore(root) as store:
        rotten, missing = (_file_of(store, data) for data in (LARGE, KEPT["kept/large"]))
        store.backup(str(root) + ".backup")
        store.write_file("since", b"since" * 3_000)
        store.delete_file("new-since-manifest")
        store.prune_orphan_blobs()
        for name in (".copy", ".kept"):
            store.backup(str(root) + name)
    rotten.write_bytes(b"rotten" * 4_000)
    missing.unlink()
    shutil.copytree(root, str(root) + ".hurt")
    with open(str(root) + ".hurt/catalog.db", "r+b") as catalog:
        catalog.write(bytes(4096))
    return root


def _file_of(store: LocalCasStore, data: bytes) -> Path:
    name = store.hash_bytes(data)
    return Path(store.location, "blobs", name[:2], name)


def _copy(template: Path, root: Path) -> Path:
    for suffix in ("", *BESIDE):
        shutil.copytree(str(template) + suffix, str(root) + suffix)
    return root


def _remove(root: Path) -> None:
    for path in root.parent.glob(f"{root.name}*"):
        if path.is_dir():
            shutil.rmtree(path)


def _check_contents(location: str) -> None:
    with LocalCasStore(location, create=False, lock_timeout_s=5) as store:
        report = store.audit_file_index(verify=True)
        assert report.is_sound(), report
        for path, data in {**KEPT, "old/small": SMALL, "old/large": LARGE, "since": b"since" * 3_000}.items():
            assert store.read_file(path) == data
        store.write_file("next", b"next" * 9_000)
        store.prune_orphan_blobs()
        assert store.audit_file_index(verify=True).is_clean()
    assert not list(Path(location, "tmp").iterdir())


def _end_repair(root: Path) -> None:
    with LocalCasStore(root, lock_timeout_s=5) as store:
        assert store.repair([str(root) + ".copy"]).is_whole()
    _check_contents(str(root))


def _end_repair_store(root: Path) -> None:
    report = repair_store(str(root) + ".hurt", [str(root) + ".copy"])
    assert dataclasses.replace(report, is_history_lost=False).is_whole()  # nothing else is
    _check_contents(str(root) + ".hurt")


def _end_backup(root: Path) -> None:
    """What is there is the older backup or the new one, whole; and the next goes on."""
    with LocalCasStore(str(root) + ".backup", create=False, read_only=True) as copy:
        assert copy.audit_file_index(verify=True).is_sound()
    with LocalCasStore(root, lock_timeout_s=5) as store:
        store.repair([str(root) + ".copy"])
        assert store.backup(str(root) + ".backup").is_whole()
    _check_contents(str(root) + ".backup")


def _end_restore(root: Path) -> None:
    try:
        assert restore_backup(str(root) + ".kept", str(root) + ".restored").is_whole()
    except IncompatibleStoreError:  # it was complete: then it is a store like any other
        assert not Path(str(root) + ".restored", "restore.json").exists()
    _check_contents(str(root) + ".restored")


ENDS: dict[str, Callable[[Path], None]] = {
    "repair": _end_repair,
    "repair-store": _end_repair_store,
    "backup": _end_backup,
    "restore": _end_restore,
}


def fault_everywhere(
    name: str, fault: str, zygote: Zygote, template: Path, place: Path, stagger: int = 0
) -> int:
    """One fault at each point, or each that CI has time for from ``stagger`` on; how many there were."""
    root = _copy(template, place / f"{name}-{stagger}-list")
    points = list_points(zygote, name, root, place / "trace", CALLS)
    assert len(points) > 20
    ENDS[name](root)
    _remove(root)
    step = STEP[name] * (1 if fault == KILL else len(ERRORS))
    points = list(some_of(points[0 if IS_ALL else stagger :], step))
    for number, point in enumerate(points):
        root = _copy(template, place / f"{name}-{fault[-6:]}-{number}-")
        inject = f"inject={point.call}:{fault}:when={point.number}"
        outcome = zygote.run(name, root, place / "trace", "-e", f"trace={point.call}", "-e", inject)
        assert outcome.was_killed or fault != KILL, f"{point} was not reached"
        require_typed(outcome, f"{name}, {fault} at {point}")
        try:
            ENDS[name](root)
        except Exception as error:
            raise AssertionError(f"{name}, {fault} at {point}, kept in {root}: {outcome}") from error
        _remove(root)
    return len(points)


@pytest.mark.parametrize("name", RECOVERIES)
def test_killed_at_every_system_call_it_comes_to_the_same_end(
    name: str, zygote: Zygote, template: Path, fast_place: Path
) -> None:
    fault_everywhere(name, KILL, zygote, template, fast_place)


@pytest.mark.parametrize("stagger", range(4))
@pytest.mark.parametrize("name", RECOVERIES)
def test_after_an_error_it_comes_to_the_same_end(
    name: str, stagger: int, zygote: Zygote, template: Path, fast_place: Path
) -> None:
    """Each code at other points."""
    fault_everywhere(name, ERRORS[stagger], zygote, template, fast_place, stagger * STEP[name])


def run(name: str) -> int:
    """Every fault at each point of an operation; how many there were."""
    with place_for("recoveries") as place, Zygote() as zygote:
        template = make_template(place / "template" / "store")
        return sum(fault_everywhere(name, fault, zygote, template, place) for fault in FAULTS)
