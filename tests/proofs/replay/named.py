"""Steps of states that are kept by name: snapshots, what is made of them, and forks.

``target``: the name of the snapshot. ``path``: which part of it is restored; empty: all of it.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

from agent_world_distfs import LocalCasStore
from replay.steps import OTHER, Act, Effect, Scene, Step, World

THEIRS = "theirs"
"""The snapshot that the store beside has."""


def _snapshot(scene: Scene, step: Step) -> None:
    scene.store.snapshot(step.target, "why")


def _drop(scene: Scene, step: Step) -> None:
    scene.store.drop_snapshot(step.target)


def _keep_last(scene: Scene, _: Step) -> str:
    return " ".join(scene.store.prune_snapshots(keep_last=1).dropped)


def _restore(scene: Scene, step: Step) -> None:
    scene.store.restore_snapshot(step.target, prefix=step.path)


def _fork(scene: Scene, step: Step) -> None:
    shutil.rmtree(scene.root / "fork", ignore_errors=True)
    scene.store.fork(scene.root / "fork", step.target)


def _pull(scene: Scene, _: Step) -> None:
    with LocalCasStore(scene.root / "other", create=False) as other:
        scene.store.pull_snapshots(other)


def _kept(world: World, name: str, files: dict[str, str]) -> World:
    return replace(world.storing(*files.values()), snapshots={**world.snapshots, name: files})


def _dropped(world: World, *names: str) -> World:
    left = {name: files for name, files in world.snapshots.items() if name not in names}
    return replace(world, snapshots=left)


def _restored(world: World, step: Step) -> World:
    files = world.snapshots[step.target]
    if not step.path:
        return replace(world.remembering(*world.files.values()), files=files)
    below = f"{step.path}/"
    world = world.without(*(path for path in world.files if path.startswith(below) and path not in files))
    for path, content_hash in files.items():
        if path.startswith(below):
            world = world.having(path, content_hash)
    return world


NAMED: dict[str, tuple[Act, Effect]] = {
    "snapshot": (_snapshot, lambda w, s, _: _kept(w, s.target, w.files)),
    "drop snapshot": (_drop, lambda w, s, _: _dropped(w, s.target)),
    "prune snapshots": (_keep_last, lambda w, _, said: _dropped(w, *said.split())),
    "restore snapshot": (_restore, lambda w, s, _: _restored(w, s)),
    "fork": (_fork, lambda w, s, _: replace(w, copies={**w.copies, "fork": w.snapshots[s.target]})),
    "pull snapshots": (
        _pull,
        lambda w, s, _: _kept(w, THEIRS, {path: content.hash for path, content in OTHER.items()}),
    ),
}
"""As in ``replay.steps``."""
