"""A fault at every system call of every operation: killed there, or told of an error there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_points import CHANGING, Outcome, Point, Zygote, copy_store, list_points
from operations import KEPT, OPERATIONS, prepare

from agent_world_distfs import LocalCasStore, errors

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    if shutil.which("strace") is None:
        if os.environ.get("CI"):
            pytest.fail("strace is needed")
        pytest.skip("strace is not installed")
    with Zygote() as running:
        yield running


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "store"
    prepare(root)
    return root


def run_at(zygote: Zygote, name: str, template: Path, place: Path, point: Point, fault: str) -> Outcome:
    """One fault on a fresh copy; looks at what is left, and cleans up."""
    root = copy_store(template, place)
    copy_store(Path(str(template) + ".other"), Path(str(place) + ".other"))
    inject = f"inject={point.call}:{fault}:when={point.number}"
    outcome = zygote.run(name, root, Path(str(place) + ".trace"), "-e", f"trace={point.call}", "-e", inject)
    check(root, name, outcome)
    for path in (root, Path(str(place) + ".other")):
        shutil.rmtree(path)
    return outcome


def check(root: Path, name: str, outcome: Outcome) -> None:
    """The store opens at once, holds what was acknowledged, works, and can be emptied of orphans."""
    changes = OPERATIONS[name].changes
    with LocalCasStore(root, lock_timeout_s=5) as store:
        states = set()
        for path, (before, after) in changes.items():
            found = store.read_file(path) if store.stat_file(path) else None
            assert found in (before, after)
            states.add("after" if found == after else "before")
        assert len(states) <= 1, "half of it was done"
        if outcome.said.startswith("ok") and changes:
            assert states == {"after"}, "acknowledged and lost"
        if outcome.said.split()[:1] not in (["ok"], ["nothing"], ["OutcomeUnknownError"]):
            assert states <= {"before"}, f"told as not done, and done: {outcome.said}"
        for path, data in KEPT.items():
            assert path in changes or store.read_file(path) == data
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


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_system_call(name: str, zygote: Zygote, template: Path, tmp_path: Path) -> None:
    root = copy_store(template, tmp_path / "list")
    copy_store(Path(str(template) + ".other"), tmp_path / "list.other")
    points = list_points(zygote, name, root, tmp_path / "trace", CHANGING)
    assert points or name == "audit"
    for number, point in enumerate(points):
        outcome = run_at(zygote, name, template, tmp_path / str(number), point, "signal=SIGKILL")
        assert outcome.was_killed, f"{point} was not reached"


@pytest.mark.parametrize("code", ["EIO", "ENOSPC", "EMFILE", "EINTR"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_error_at_every_system_call(
    name: str, code: str, zygote: Zygote, template: Path, tmp_path: Path
) -> None:
    root = copy_store(template, tmp_path / "list")
    copy_store(Path(str(template) + ".other"), tmp_path / "list.other")
    typed = {kind for kind in vars(errors) if kind.endswith("Error")}
    for number, point in enumerate(list_points(zygote, name, root, tmp_path / "trace", CHANGING)):
        outcome = run_at(zygote, name, template, tmp_path / str(number), point, f"error={code}")
        said = outcome.said.split()
        assert said, f"{point}: died of {code} with status {outcome.status}"
        for part in said:
            assert part == "ok" or part.removeprefix("close:") in typed, f"{point}: {outcome}"
