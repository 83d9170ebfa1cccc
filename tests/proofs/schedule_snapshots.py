"""Parts of forced schedules: states that are kept by name, and forks; who meets whom in them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from schedule_parts import (
    DELETE_AND_PRUNE,
    NEW,
    OLD,
    ORPHAN,
    OTHER,
    OVERWRITE_AND_PRUNE,
    PRUNE,
    Part,
    expect,
)

from agent_world_distfs import LocalCasStore

NAME = "named"
"""The snapshot of the template, which alone keeps OLD and the small file beside it."""


def make_snapshot(store: LocalCasStore) -> None:
    """One of which the index has nothing but what is below ``kept/`` any more."""
    store.write_file("old/small", b"old small")
    store.snapshot(NAME)
    store.delete_file("old/small")
    store.write_file("old/large", NEW)
    store.write_file("since", b"since")


def _require_whole(store: LocalCasStore, name: str) -> None:
    """A collection leaves all that the snapshot names."""
    store.prune_orphan_blobs()
    files = store.list_files_at(name)
    assert any(file.path == "kept/large" for file in files)
    for file in files:
        assert store.hash_bytes(store.read_file_at(file.path, name)) == file.content_hash


# --- making them ----------------------------------------------------------------------------------------


def snapshots(*wanted: bytes | None) -> Part:
    """One that holds one of these, None being nothing, in ``old/large``."""

    def act(store: LocalCasStore) -> None:
        store.snapshot("new")

    def check(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
        assert said == "ok", said
        _require_whole(store, "new")
        held = store.stat_file_at("old/large", "new")
        assert (None if held is None else store.get(held.content_hash)) in wanted

    return Part(act, check)


def _claim(store: LocalCasStore) -> str:
    store.snapshot("new")
    return "won"


def _check_claim(store: LocalCasStore, said: str, everybody: Sequence[str]) -> None:
    assert sorted(everybody) == ["SnapshotExistsError", "won"], everybody
    assert said in everybody
    _require_whole(store, "new")


def _pull(store: LocalCasStore) -> None:
    """From a store of its own, whose steps nobody meets; what it brings is an orphan here already."""
    source = f"{store.location}.source-of-snapshots"
    shutil.rmtree(source, ignore_errors=True)
    with LocalCasStore(source) as other:
        other.write_file("kept/large", ORPHAN)
        other.write_file("old/large", OTHER)
        other.snapshot("new")
        store.pull_snapshots(other)


def _check_pull(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    assert said == "ok", said
    _require_whole(store, "new")


CLAIM, PULL = Part(_claim, _check_claim), Part(_pull, _check_pull)

# --- using them while they are dropped ------------------------------------------------------------------


def _drop_and_prune(store: LocalCasStore) -> None:
    store.drop_snapshot(NAME)
    store.prune_orphan_blobs()


def _check_drop(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    assert said == "ok", said
    assert NAME not in [each.name for each in store.list_snapshots()]


def _read(store: LocalCasStore) -> str:
    return "old" if store.read_file_at("old/large", NAME) == OLD else "wrong"


def _check_read(_: LocalCasStore, said: str, __: Sequence[str]) -> None:
    assert said in ("old", "SnapshotNotFoundError"), said


def _restore(store: LocalCasStore) -> None:
    store.restore_snapshot(NAME)


def _check_restore(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    """All of it, or nothing."""
    assert said in ("ok", "SnapshotNotFoundError"), said
    is_done = said == "ok"
    expect(store, "old/large", OLD if is_done else NEW)
    expect(store, "old/small", b"old small" if is_done else None)
    expect(store, "since", None if is_done else b"since")


def _restore_part(store: LocalCasStore) -> None:
    store.restore_snapshot(NAME, prefix="old")


def _check_part(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    """Who came last is there in the one path that both change."""
    assert said == "ok", said
    expect(store, "old/large", OLD, OTHER)
    expect(store, "old/small", b"old small")
    expect(store, "since", b"since")


def _overwrite(store: LocalCasStore) -> None:
    store.write_file("old/large", OTHER)


def _check_overwrite(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    assert said == "ok", said
    expect(store, "old/large", OLD, OTHER)


def _fork(store: LocalCasStore) -> None:
    target = f"{store.location}.fork"
    shutil.rmtree(target, ignore_errors=True)
    store.fork(target, NAME)


def _check_fork(store: LocalCasStore, said: str, _: Sequence[str]) -> None:
    """A whole one, which goes on without the snapshot that it was made of, or none."""
    assert said in ("ok", "SnapshotNotFoundError"), said
    target = Path(f"{store.location}.fork")
    assert target.exists() == (said == "ok")
    if target.exists():
        with LocalCasStore(target, create=False) as fork:
            assert fork.audit_file_index(verify=True).is_sound()
            assert list(fork.diff(NAME)) == []
            assert fork.read_file("old/large") == OLD


DROP_AND_PRUNE, READ = Part(_drop_and_prune, _check_drop), Part(_read, _check_read)
RESTORE, RESTORE_PART = Part(_restore, _check_restore), Part(_restore_part, _check_part)
OVERWRITE, FORK = Part(_overwrite, _check_overwrite), Part(_fork, _check_fork)

NAMED: dict[str, tuple[Part, ...]] = {
    "snapshot, prune": (snapshots(OLD), PRUNE),
    "snapshot, overwrite and prune": (snapshots(OLD, NEW), OVERWRITE_AND_PRUNE),
    "snapshot, delete and prune": (snapshots(OLD, None), DELETE_AND_PRUNE),
    "snapshot, snapshot": (CLAIM, CLAIM),
    "read a snapshot, drop and prune": (READ, DROP_AND_PRUNE),
    "restore a part, overwrite": (RESTORE_PART, OVERWRITE),
}
"""Two processes each, whose orders are explored."""

NAMED_LONG: dict[str, tuple[Part, ...]] = {
    "restore a snapshot, drop and prune": (RESTORE, DROP_AND_PRUNE),
    "fork, drop and prune": (FORK, DROP_AND_PRUNE),
    "pull snapshots, prune": (PULL, PRUNE),
}
"""Two processes, one of which makes many steps."""
