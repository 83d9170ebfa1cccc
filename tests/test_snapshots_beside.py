"""Snapshots beside writers and collections: whatever comes in between, what a snapshot names is there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs import (
    BlobMissingError,
    LocalCasStore,
    SnapshotExistsError,
    SnapshotNotFoundError,
    UnavailableError,
)
from agent_world_distfs.engine import manifest_spool, orphans
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.engine.snapshots import OpenSnapshot
from agent_world_distfs.errors import LeaseExpiredError
from agent_world_distfs.operations import collect
from agent_world_distfs.operations.snapshots import creating, restoring
from agent_world_distfs.protocols import Catalog
from behind import blob_file
from calls import LARGE
from children import Start
from test_named_meanwhile import run_once_after

Act = Callable[[LocalCasStore], object]

SMALL = b"small"


def _collected(act: Act) -> Act:
    def both(store: LocalCasStore) -> None:
        act(store)
        store.prune_orphan_blobs()

    return both


def _import(store: LocalCasStore) -> None:
    ref = store.export_file_index_manifest()
    store.write_file("a", b"else")
    store.import_file_index_manifest(ref)
    store.delete_file("large")


def _many(store: LocalCasStore) -> None:
    store.write_files((f"many/{number}", b"x") for number in range(creating.FEW_CHANGES + 1))
    store.write_file("large", b"gone")


CHANGES: dict[str, Act] = {
    "nothing": lambda store: None,
    "something else": lambda store: store.write_file("b", b"b"),
    "overwritten": lambda store: store.write_file("large", b"new"),
    "deleted": lambda store: store.delete_files(["a", "large"]),
    "there and back": lambda store: (store.rename_file("large", "b"), store.rename_file("b", "large")),
    "an import": _import,
    "more than a few": _many,
}
CHANGES |= {f"{name}, and collected": _collected(act) for name, act in list(CHANGES.items())}


@pytest.fixture
def filled(store: LocalCasStore) -> LocalCasStore:
    store.write_file("a", SMALL)
    store.write_file("large", LARGE)
    return store


def require_whole(store: LocalCasStore, name: str) -> dict[str, bytes]:
    store.prune_orphan_blobs()
    files = {file.path: store.read_file_at(file.path, name) for file in store.list_files_at(name)}
    assert store.audit_file_index(verify=True).is_clean()
    return files


@pytest.mark.parametrize("quick", [creating.QUICK_ATTEMPTS, 0], ids=["by the log", "by leases"])
@pytest.mark.parametrize("act", CHANGES.values(), ids=CHANGES.keys())
def test_what_happens_between_the_look_and_the_commit_costs_no_bytes(
    filled: LocalCasStore, act: Act, quick: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creating, "QUICK_ATTEMPTS", quick)
    with LocalCasStore(filled.location) as other:
        run_once_after(creating, "look_at_index", lambda: act(other), monkeypatch)
        filled.snapshot("kept")
    files = require_whole(filled, "kept")
    assert files.get("a", SMALL) in (SMALL, b"else")


def test_a_snapshot_is_of_one_moment_whoever_writes_meanwhile(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = filled.list_files()
    with LocalCasStore(filled.location) as other:
        run_once_after(creating, "look_at_index", lambda: CHANGES["deleted"](other), monkeypatch)
        filled.snapshot("kept")
    assert filled.list_files_at("kept") == then


@pytest.mark.parametrize("quick", [creating.QUICK_ATTEMPTS, 0], ids=["by the log", "by leases"])
@pytest.mark.parametrize("moment", ["while it looks", "when it has looked"])
def test_a_snapshot_made_while_a_collection_runs_keeps_what_it_names(
    filled: LocalCasStore, moment: str, quick: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its blobs were orphans when the collection looked, and are again when it removes."""
    monkeypatch.setattr(creating, "QUICK_ATTEMPTS", quick)
    filled.delete_file("large")

    def name_keep_and_forget() -> None:
        with LocalCasStore(filled.location) as other:
            other.put_bytes(LARGE)
            other.link_file("large", other.hash_bytes(LARGE))
            run_once_after(creating, "look_at_index", lambda: other.delete_file("large"), monkeypatch)
            other.snapshot("kept")

    if moment == "while it looks":
        run_once_after(orphans, "find_strays", name_keep_and_forget, monkeypatch)
    else:
        run_once_after(collect, "find_orphans", name_keep_and_forget, monkeypatch)
    filled.prune_orphan_blobs()
    assert require_whole(filled, "kept")["large"] == LARGE


@pytest.mark.parametrize("quick", [creating.QUICK_ATTEMPTS, 0], ids=["by the log", "by leases"])
def test_a_collection_that_looked_between_look_and_commit_takes_nothing_of_it(
    filled: LocalCasStore, quick: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it looks, nothing names the blob: no entry any more, and no snapshot yet."""
    monkeypatch.setattr(creating, "QUICK_ATTEMPTS", quick)
    find_orphans, has_looked, may_take = orphans.find_orphans, threading.Event(), threading.Event()
    taken: list[str] = []

    def pause(*arguments: object) -> object:
        found = find_orphans(*arguments)  # type: ignore[arg-type]
        has_looked.set()
        assert may_take.wait(60)
        return found

    def work() -> None:
        with LocalCasStore(filled.location) as other:
            taken.extend(other.prune_orphan_blobs().pruned_blob_hashes)

    collector = threading.Thread(target=work)

    def delete_and_collect() -> None:
        filled.delete_file("large")
        collector.start()
        assert has_looked.wait(60)

    monkeypatch.setattr(collect, "find_orphans", pause)
    run_once_after(creating, "look_at_index", delete_and_collect, monkeypatch)
    try:
        filled.snapshot("kept")
    finally:
        may_take.set()
        collector.join()
    assert filled.hash_bytes(LARGE) not in taken
    monkeypatch.undo()
    assert require_whole(filled, "kept")["large"] == LARGE


def test_a_snapshot_dropped_while_a_collection_runs_may_go_with_it_or_the_next(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.snapshot("kept")
    filled.delete_file("large")
    run_once_after(orphans, "find_strays", lambda: filled.drop_snapshot("kept"), monkeypatch)
    filled.prune_orphan_blobs()
    filled.prune_orphan_blobs()
    assert not filled.has(filled.hash_bytes(LARGE))
    assert filled.audit_file_index(verify=True).is_clean()


def test_a_name_that_somebody_else_takes_meanwhile_is_a_conflict(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalCasStore(filled.location) as other:
        run_once_after(creating, "look_at_index", lambda: other.snapshot("kept", "theirs"), monkeypatch)
        with pytest.raises(SnapshotExistsError) as raised:
            filled.snapshot("kept", "mine")
    assert raised.value.actual.message == "theirs"
    assert [each.message for each in filled.list_snapshots()] == ["theirs"]


def test_an_index_that_is_overwritten_and_collected_again_and_again_is_told_as_such(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, number = manifest_spool.look_at_index, 0

    def look(catalog: Catalog) -> manifest_spool.Look:
        nonlocal number
        number += 1
        looked = original(catalog)
        filled.write_file("large", LARGE + b"%d" % number)
        filled.prune_orphan_blobs()
        return looked

    monkeypatch.setattr(creating, "look_at_index", look)
    with pytest.raises(UnavailableError):
        filled.snapshot("kept")
    assert filled.list_snapshots() == []
    assert filled._catalog.read(lambda tx: tx.leases()) == frozenset()


def test_a_lost_blob_of_a_busy_index_is_told_as_a_loss(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creating, "QUICK_ATTEMPTS", 0)
    blob_file(Path(filled.location), filled.hash_bytes(LARGE)).unlink()
    with pytest.raises(BlobMissingError) as raised:
        filled.snapshot("kept")
    assert raised.value.path == "large"


def test_a_creator_that_was_taken_for_dead_names_nothing(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creating, "QUICK_ATTEMPTS", 0)

    def end_all_leases() -> None:
        for lease in filled._catalog.read(lambda tx: tx.leases()):
            filled._catalog.write(lambda tx, lease=lease: tx.end_lease(lease, 100))  # type: ignore[misc]

    run_once_after(Lease, "keep_entries", end_all_leases, monkeypatch)
    with pytest.raises(LeaseExpiredError):
        filled.snapshot("kept")
    assert filled.list_snapshots() == []


def test_who_reads_a_snapshot_that_is_dropped_and_collected_learns_of_it(filled: LocalCasStore) -> None:
    filled.write_files((f"many/{number}", b"%d" % number * 9_000) for number in range(5))
    filled.snapshot("kept")
    filled.delete_files(file.path for file in filled.list_files())
    with filled.open_blob(filled.find_snapshot("kept").manifest.content_hash) as reader:
        filled.drop_snapshot("kept")
        filled.prune_orphan_blobs()
        assert reader.read()
    with pytest.raises(SnapshotNotFoundError):
        filled.read_file_at("many/1", "kept")


def test_who_reads_a_snapshot_that_is_renewed_under_its_name_and_collected_is_told_of_no_loss(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.write_file("daily", LARGE * 2)
    filled.snapshot("nightly")
    filled.write_file("daily", LARGE * 3)

    def renew() -> None:
        filled.drop_snapshot("nightly")
        filled.snapshot("nightly")
        filled.prune_orphan_blobs()

    run_once_after(OpenSnapshot, "find", renew, monkeypatch)
    with pytest.raises(SnapshotNotFoundError):
        filled.read_file_at("daily", "nightly")
    assert filled.read_file_at("daily", "nightly") == LARGE * 3


def test_a_restore_of_a_snapshot_that_is_dropped_and_collected_meanwhile_changes_nothing(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.write_file("docs/large", LARGE * 2)
    filled.snapshot("kept")
    filled.delete_file("docs/large")
    filled.write_file("docs/other", b"other")
    before = filled.list_files()

    def drop() -> None:
        filled.drop_snapshot("kept")
        filled.prune_orphan_blobs()

    run_once_after(restoring, "verify_blobs", drop, monkeypatch)
    with pytest.raises(SnapshotNotFoundError):
        filled.restore_snapshot("kept", prefix="docs")
    assert filled.list_files() == before


def test_processes_that_keep_drop_and_collect_at_once_lose_nothing(
    filled: LocalCasStore, start: Start
) -> None:
    keeper = """
        import itertools
        with LocalCasStore(location) as store:
            end, made = time.monotonic() + 3, 0
            for number in itertools.count():
                if time.monotonic() > end:
                    break
                name = f"{sys.argv[2]}-{number}"
                made += 1
                store.snapshot(name)
                for file in store.list_files_at(name):
                    data = store.read_file_at(file.path, name)
                    assert store.hash_bytes(data) == file.content_hash
                if number % 2:
                    store.drop_snapshot(name)
            say(made)
    """
    writer = """
        with LocalCasStore(location) as store:
            end, number = time.monotonic() + 3, 0
            while time.monotonic() < end:
                number += 1
                store.write_file(f"p/{number % 7}", b"%s %d" % (sys.argv[2].encode(), number) * 3_000)
                store.delete_file(f"p/{(number + 3) % 7}")
            say(number)
    """
    collector = """
        with LocalCasStore(location) as store:
            end, taken = time.monotonic() + 3, 0
            while time.monotonic() < end:
                taken += store.prune_orphan_blobs().pruned_blobs
            say(taken)
    """
    programs = [(keeper, "k1"), (keeper, "k2"), (writer, "w1"), (writer, "w2"), (collector, "c")]
    children = [start(program, filled.location, name) for program, name in programs]
    counts = [int(child.hear()) for child in children]
    for child in children:
        child.finish()
    assert all(counts), counts
    for snapshot in filled.list_snapshots():
        for file in filled.list_files_at(snapshot.name):
            filled.read_file_at(file.path, snapshot.name)
    assert filled.audit_file_index(verify=True).is_sound()
    filled.prune_snapshots(keep_last=1)
    filled.prune_orphan_blobs()
    assert filled.audit_file_index(verify=True).is_clean()
