"""A fault at every system call of every operation: killed there, or told of an error there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from crowd import place_for
from fault_points import CHANGING, Outcome, Point, Zygote, copy_store, list_points, some_of
from operations import KEPT, OPERATIONS, prepare

from agent_world_distfs import LocalCasStore, errors

pytestmark = pytest.mark.proof


FAULTS = ("signal=SIGKILL", *(f"error={code}" for code in ("EIO", "ENOSPC", "EMFILE", "EINTR")))
TYPED = {kind for kind in vars(errors) if kind.endswith("Error")}


@pytest.fixture(scope="module")
def template(fast_place: Path) -> Path:
    root = fast_place / "template"
    prepare(root)
    return root


def copy_case(name: str, template: Path, root: Path) -> Path:
    """The store, and what the operation needs beside it."""
    for suffix in ("", *OPERATIONS[name].beside):
        copy_store(Path(f"{template}{suffix}"), Path(f"{root}{suffix}"))
    return root


def remove_case(root: Path) -> None:
    for path in (root, *root.parent.glob(f"{root.name}.*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def run_at(zygote: Zygote, name: str, template: Path, root: Path, point: Point, fault: str) -> Outcome:
    """One fault on a fresh copy; looks at what is left, and cleans up."""
    copy_case(name, template, root)
    inject = f"inject={point.call}:{fault}:when={point.number}"
    outcome = zygote.run(name, root, Path(f"{root}.trace"), "-e", f"trace={point.call}", "-e", inject)
    try:
        check(root, name, outcome)
    except Exception as error:
        raise AssertionError(f"{name}, {fault} at {point}: {outcome}: {error}") from error
    remove_case(root)
    return outcome


def check(root: Path, name: str, outcome: Outcome) -> None:
    """The store opens at once, holds what was acknowledged, works, and can be emptied of orphans."""
    changes, snapshots = OPERATIONS[name].changes, OPERATIONS[name].snapshots
    OPERATIONS[name].look(root, outcome.said.startswith("ok"))
    with LocalCasStore(root, lock_timeout_s=5) as store:
        states = set()
        for path, (before, after) in changes.items():
            found = store.read_file(path) if store.stat_file(path) else None
            assert found in (before, after)
            states.add("after" if found == after else "before")
        names = {each.name for each in store.list_snapshots()}
        states |= {
            "after" if (each in names) is after else "before" for each, (_, after) in snapshots.items()
        }
        assert len(states) <= 1, "half of it was done"
        if outcome.said.startswith("ok") and states:
            assert states == {"after"}, "acknowledged and lost"
        if outcome.said.split()[:1] not in (["ok"], ["nothing"], ["OutcomeUnknownError"]):
            assert states <= {"before"}, f"told as not done, and done: {outcome.said}"
        for path, data in KEPT.items():
            assert path in changes or store.read_file(path) == data
        for each in names:
            for file in store.list_files_at(each):
                store.get(file.content_hash)
        report = store.audit_file_index(verify=True)
        assert report.is_sound(), report
        planned = store.prune_orphan_blobs(dry_run=True)
        assert planned.pruned_blob_hashes == report.orphan_blob_hashes
        store.write_file("next/small", b"next")
        store.write_file("next/large", b"next" * 9_000)
        assert store.read_file("next/large") == b"next" * 9_000
        store.prune_orphan_blobs()
        assert store.audit_file_index(verify=True).is_clean()
    left = [entry.name for entry in (root / "tmp").iterdir()]
    assert left == [], "temporary files are left"


def points_of(zygote: Zygote, name: str, template: Path, fast_place: Path) -> Sequence[Point]:
    root = copy_case(name, template, fast_place / "list")
    points = list_points(zygote, name, root, Path(f"{root}.trace"), CHANGING)
    remove_case(root)
    return some_of(points, OPERATIONS[name].step)


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_system_call(name: str, zygote: Zygote, template: Path, fast_place: Path) -> None:
    points = points_of(zygote, name, template, fast_place)
    assert points or name == "audit"
    for number, point in enumerate(points):
        outcome = run_at(zygote, name, template, fast_place / f"{name}{number}", point, "signal=SIGKILL")
        assert outcome.was_killed, f"{point} was not reached"


@pytest.mark.parametrize("code", ["EIO", "ENOSPC", "EMFILE", "EINTR"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_error_at_every_system_call(
    name: str, code: str, zygote: Zygote, template: Path, fast_place: Path
) -> None:
    for number, point in enumerate(points_of(zygote, name, template, fast_place)):
        outcome = run_at(zygote, name, template, fast_place / f"{name}{code}{number}", point, f"error={code}")
        require_typed(outcome, f"{name}, {code} at {point}")


def run(name: str) -> int:
    """Every fault at each point of an operation; how many there were."""
    with place_for("faults") as place, Zygote() as zygote:
        prepare(place / "template")
        points = points_of(zygote, name, place / "template", place)
        for fault in FAULTS:
            for number, point in enumerate(points):
                root = place / f"{number}"
                require_typed(
                    run_at(zygote, name, place / "template", root, point, fault),
                    f"{name}, {fault} at {point}",
                )
    return len(points) * len(FAULTS)


def require_typed(outcome: Outcome, where: str) -> None:
    """It was told by an error of this package, or did not matter."""
    said = outcome.said.split()
    if outcome.was_killed:
        return
    assert said, f"{where}: died with status {outcome.status}"
    for part in said:
        assert part == "ok" or part.removeprefix("close:") in TYPED, f"{where}: {outcome}"
