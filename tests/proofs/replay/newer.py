"""Steps of the newer operations: transactions, sessions, leases, history, mending, copying."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent_world_distfs import LocalCasStore, Transaction, repair_store, restore_backup
from replay.steps import Act, Content, Effect, Scene, Step, World

ROTTEN = (Content("kept", 20_000), Content("old", 20_000))
"""What damaged stores have lost: the first is rotten, the second is gone."""


def damage(store: Path) -> None:
    rotten, missing = (store / "blobs" / content.hash[:2] / content.hash for content in ROTTEN)
    rotten.write_bytes(b"rotten" * 3_000)
    missing.unlink()


def hurt(scene: Scene, _: Step) -> None:
    """Flip a bit of a catalog that nobody has open, on a page that is not in the WAL."""
    with open(scene.location / "catalog.db", "r+b") as catalog:
        os.pwrite(catalog.fileno(), b"B", catalog.read().index(b"blake3"))
        os.fsync(catalog.fileno())


def rebuild(location: Path) -> None:
    """Repair what is left of a store; all of the index comes back."""
    report = repair_store(location)
    assert report.is_whole()
    assert report.salvaged_files is not None


def _stop_rebuilding(scene: Scene, _: Step) -> None:
    """The same, but it comes no further than to where nothing is ``catalog.db``."""
    honest = os.rename

    def rename(source: str, target: str) -> None:
        if os.path.basename(target) == "catalog.db":
            raise NotImplementedError
        honest(source, target)

    os.rename = rename  # type: ignore[assignment]
    try:
        rebuild(scene.location)
    finally:
        os.rename = honest


def mend(store: LocalCasStore, root: Path) -> None:
    """Repair from a directory beside the disk."""
    assert store.repair([source_of(root)]).is_whole()


def source_of(root: Path) -> Path:
    """The same for the disk that was traced and for what is left of it."""
    return root.parent / "source"


def _in_transaction(change: Callable[[Transaction, Step], object]) -> Act:
    def act(scene: Scene, step: Step) -> None:
        with scene.store.transaction(actor="a", message="m") as tx:
            change(tx, step)

    return act


def _three_paths(tx: Transaction, step: Step) -> None:
    tx.list_files(prefix="kept/")
    tx.write_file(step.path, step.bytes_given.data)
    tx.write_file(f"{step.path}.copy", tx.read_file("kept/large"))
    tx.rename_file("old/large", step.target)


def _after_three_paths(world: World, step: Step, _: str) -> World:
    world = world.having(step.path, step.bytes_given.hash)
    world = world.having(f"{step.path}.copy", world.files["kept/large"])
    return world.having(step.target, world.files["old/large"]).without("old/large")


def _write_again(scene: Scene, step: Step) -> None:
    scene.store.run_transaction(lambda tx: tx.write_file(step.path, step.bytes_given.data))


def _update(scene: Scene, step: Step) -> None:
    scene.store.update_file(step.path, lambda _: step.bytes_given.data)


def _in_session(scene: Scene, step: Step) -> None:
    session = scene.store.session(actor="a")
    session.stat_file(step.path)
    session.write_file(step.path, step.bytes_given.data)


def _lease(scene: Scene, step: Step) -> None:
    with scene.store.lease() as lease:
        scene.store.link_file(step.path, lease.put_bytes(step.bytes_given.data))


def _written(world: World, step: Step, _: str) -> World:
    return world.having(step.path, step.bytes_given.hash)


def _undo(scene: Scene, step: Step) -> str:
    """The last transaction that changed a path."""
    *_, last = scene.store.changes()
    scene.store.undo_transaction(last.transaction_id)
    return f"{last.path} {last.before.content_hash if last.before else '-'}"


def _undone(world: World, _: Step, said: str) -> World:
    path, old = said.rsplit(" ", 1)
    return world.without(path) if old == "-" else world.having(path, old)


def _settings(scene: Scene, step: Step) -> None:
    scene.store.set_setting("keep_history", step.target == "on")


def _expired(world: World, step: Step, _: str) -> World:
    return replace(world, past=frozenset(), keeps_history=world.keeps_history and step.target != "off")


def _copied(world: World, files: dict[str, str], name: str) -> World:
    return replace(world, copies={**world.copies, name: files})


NEWER: dict[str, tuple[Act, Effect]] = {
    "transaction": (_in_transaction(_three_paths), _after_three_paths),
    "transaction again": (_write_again, _written),
    "update": (_update, _written),
    "session": (_in_session, _written),
    "lease": (_lease, _written),
    "undo": (_undo, _undone),
    "history": (
        _settings,
        lambda w, s, _: replace(w, keeps_history=True) if s.target == "on" else _expired(w, s, ""),
    ),
    "expire": (lambda scene, _: _nothing(scene.store.expire_history(max_transactions=0)), _expired),
    "scrub": (
        lambda scene, _: _nothing(scene.store.audit_file_index(verify=True, max_bytes=15_000)),
        lambda w, s, _: w,
    ),
    "repair": (lambda scene, _: mend(scene.store, scene.root), lambda w, s, _: replace(w, is_damaged=False)),
    "hurt": (hurt, lambda w, s, _: replace(w, is_damaged=True)),
    "rebuild in part": (_stop_rebuilding, lambda w, s, _: w),
    "rebuild": (
        lambda scene, _: rebuild(scene.location),
        lambda w, s, _: replace(w, is_damaged=False),
    ),
    "backup": (
        lambda scene, _: _nothing(scene.store.backup(scene.root / "backup")),
        lambda w, s, _: _copied(w, w.files, "backup"),
    ),
    "restore": (
        lambda scene, _: _nothing(restore_backup(scene.root / "backup", scene.root / "restored")),
        lambda w, s, _: _copied(w, w.copies["backup"], "restored"),
    ),
}
"""As in ``replay.steps``."""


def _nothing(_: Any) -> None:
    pass
