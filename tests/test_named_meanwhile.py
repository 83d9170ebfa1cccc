"""What is named while a collection runs is spared, whichever way it is named, and whenever."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs import FileIndexManifestRef, LocalCasStore
from agent_world_distfs.engine import orphans
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.errors import LeaseExpiredError
from agent_world_distfs.operations import collect

SMALL, LARGE = b"was an orphan", b"was a large orphan" * 1_000

Naming = Callable[[LocalCasStore, bytes], object]

WAYS: dict[str, Naming] = {
    "write": lambda store, data: store.write_file("a", data),
    "stream": lambda store, data: store.write_file_stream("a", io.BytesIO(data)),
    "overwrite": lambda store, data: store.write_file("kept", data),
    "put": lambda store, data: store.pin(store.put_bytes(data)),
    "link": lambda store, data: store.link_file("a", store.hash_bytes(data)),
    "link, copy, delete": lambda store, data: (
        store.link_file("a", store.hash_bytes(data)),
        store.copy_file("a", "b"),
        store.delete_file("a"),
    ),
    "link, rename": lambda store, data: (
        store.link_file("a", store.hash_bytes(data)),
        store.rename_file("a", "b"),
    ),
    "pin": lambda store, data: store.pin(store.hash_bytes(data)),
    "import": lambda store, data: store.import_file_index_manifest(manifest_of(store, data)),
}


def manifest_of(store: LocalCasStore, data: bytes) -> FileIndexManifestRef:
    """A manifest with one path for the content, stored, beside the index of ``store``."""
    with LocalCasStore(f"{store.location}-other") as other:
        other.write_file("a", data)
        ref = other.export_file_index_manifest()
        store.put(ref.content_hash, other.get(ref.content_hash))
    return ref


@pytest.fixture
def filled(store: LocalCasStore) -> LocalCasStore:
    store.write_file("kept", b"kept")
    for data in (SMALL, LARGE, b"another orphan"):
        store.put_bytes(data)
    return store


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("name", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("moment", ["while it looks", "when it has looked"])
def test_what_is_named_while_a_collection_runs_is_spared(
    moment: str, name: Naming, data: bytes, filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalCasStore(filled.location) as writer:
        if moment == "while it looks":  # after the first snapshot, before the second
            run_once_after(orphans, "find_strays", lambda: name(writer, data), monkeypatch)
        else:
            run_once_after(collect, "find_orphans", lambda: name(writer, data), monkeypatch)
        taken = filled.prune_orphan_blobs().pruned_blob_hashes
        assert filled.hash_bytes(data) not in taken
        assert filled.hash_bytes(b"another orphan") in taken
        assert filled.get(filled.hash_bytes(data)) == data
        assert filled.audit_file_index(verify=True).is_sound()


def run_once_after(
    module: object, function: str, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(module, function)

    def wrapper(*arguments: object) -> object:
        result = original(*arguments)
        monkeypatch.setattr(module, function, original)
        act()
        return result

    monkeypatch.setattr(module, function, wrapper)


def test_what_was_named_and_is_not_any_more_is_taken_the_next_time(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name_and_forget() -> None:
        filled.link_file("a", filled.hash_bytes(SMALL))
        filled.delete_file("a")

    run_once_after(collect, "find_orphans", name_and_forget, monkeypatch)
    assert filled.hash_bytes(SMALL) not in filled.prune_orphan_blobs().pruned_blob_hashes
    assert filled.prune_orphan_blobs().pruned_blob_hashes == (filled.hash_bytes(SMALL),)


def test_collections_at_once_take_each_orphan_once(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalCasStore(filled.location) as second:
        taken: list[str] = []
        run_once_after(
            collect,
            "find_orphans",
            lambda: taken.extend(second.prune_orphan_blobs().pruned_blob_hashes),
            monkeypatch,
        )
        assert filled.prune_orphan_blobs().pruned_blob_hashes == ()
    assert len(taken) == 3
    assert filled.audit_file_index().is_clean()


def test_a_collection_that_was_taken_for_dead_takes_nothing(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_all_leases() -> None:
        (lease,) = filled._catalog.read(lambda tx: tx.leases())
        filled._catalog.write(lambda tx: tx.end_lease(lease, 100))

    run_once_after(collect, "find_orphans", end_all_leases, monkeypatch)
    with pytest.raises(LeaseExpiredError):
        filled.prune_orphan_blobs()
    assert len(filled.audit_file_index().orphan_blob_hashes) == 3


def test_a_recorder_ends_with_its_collection(filled: LocalCasStore) -> None:
    filled.prune_orphan_blobs()
    assert filled._catalog.read(lambda tx: tx.leases()) == frozenset()


def test_a_recorder_ends_where_an_interrupt_comes_just_after_it_began(
    filled: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        run_once_after(Lease, "record", interrupt, patch)
        with pytest.raises(KeyboardInterrupt):
            filled.prune_orphan_blobs()
    assert filled._catalog.read(lambda tx: tx.leases()) == frozenset()
    filled.write_file("a", LARGE)
    filled.delete_file("a")
    assert len(filled.prune_orphan_blobs().pruned_blob_hashes) == 3


def test_a_recorder_of_a_dead_process_is_tidied_by_the_next_open(location: Path) -> None:
    with LocalCasStore(location) as store:
        lease = Lease(store._catalog, store._blobs)
        lease.record()
    with LocalCasStore(location) as store:
        assert store._catalog.read(lambda tx: tx.leases()) == frozenset()
