"""Repair beside others: what is whole by then is not set aside, and what is not lost is not called lost."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import LocalCasStore
from agent_world_distfs.engine import snapshot_losses
from agent_world_distfs.local import catalog_of
from agent_world_distfs.operations.repair import examining
from agent_world_distfs.protocols import BlobFiles, Catalog, StoredForm
from agent_world_distfs.records import BlobStat, Snapshot
from behind import blob_file, edit
from meanwhile import Meanwhile, spoil

LARGE = b"large" * 5_000


def quarantined(location: str) -> list[bytes]:
    return [file.read_bytes() for file in Path(location).glob("quarantine/*")]


def assert_alive(store: LocalCasStore) -> None:
    assert store.read_file("live") == LARGE
    assert store.audit_file_index(verify=True).is_sound()


def test_what_is_healed_while_sources_are_asked_is_neither_lost_nor_set_aside(store: LocalCasStore) -> None:
    """Here under the number of the damaged file, as if that had been removed and its number used again."""
    file = blob_file(store.location, store.write_file("live", LARGE).content_hash)
    spoil(file)
    report = store.repair([Meanwhile(store, lambda: file.write_bytes(LARGE))])
    assert (report.lost_blob_hashes, report.quarantined, quarantined(store.location)) == ((), (), [])
    assert report.is_whole()
    assert_alive(store)


def test_a_dry_run_does_not_call_it_lost_either(store: LocalCasStore) -> None:
    spoil(blob_file(store.location, store.write_file("live", LARGE).content_hash))
    meanwhile = Meanwhile(store, lambda: store.put_stream(io.BytesIO(LARGE)))
    assert store.repair([meanwhile], dry_run=True).is_whole()


def test_a_damaged_file_is_told_from_the_one_that_replaces_it_as_long_as_it_is_open(
    store: LocalCasStore,
) -> None:
    name = store.write_file("live", LARGE).content_hash
    file = blob_file(store.location, name)
    spoil(file)
    row = catalog_of(store).read(lambda tx: tx.find_blob(name))
    assert row is not None
    bad = examining.examine(catalog_of(store), store._blobs, row)
    assert bad is not None
    with bad:
        assert not isinstance(bad.damaged, bytes | None)
        assert os.path.samestat(os.fstat(bad.damaged.fileno()), file.stat())
        store.put_stream(io.BytesIO(LARGE))
        assert os.fstat(bad.damaged.fileno()).st_nlink == 0
        assert store._blobs.keep_aside(name, bad.label, bad.damaged) is None
    assert quarantined(store.location) == []
    assert_alive(store)


# --- what only snapshots name -------------------------------------------------------------------


def forget(store: LocalCasStore, data: bytes) -> str:
    """Row and bytes are gone, as after the catalog was rebuilt; returns the hash."""
    name = store.hash_bytes(data)
    edit(store.location, "DELETE FROM blobs WHERE content_hash = ?", bytes.fromhex(name))
    blob_file(store.location, name).unlink()
    return name


@pytest.fixture
def lossy(store: LocalCasStore, tmp_path: Path) -> LocalCasStore:
    """The second of its snapshots has lost what is not in the first; there is a backup of it all."""
    store.write_file("a", b"a")
    store.snapshot("first")
    store.write_file("live", LARGE)
    store.snapshot("second")
    store.delete_file("live")
    store.backup(tmp_path / "backup")
    forget(store, LARGE)
    return store


def test_the_loss_of_a_snapshot_is_seen_though_the_one_before_it_is_dropped_meanwhile(
    lossy: LocalCasStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_the_second(monkeypatch, lambda: drop_and_prune(lossy, "first"))
    tried = lossy.repair(dry_run=True)
    assert (tried.lost_blob_hashes, tried.lost_snapshots) == ((lossy.hash_bytes(LARGE),), ("second",))
    assert lossy.repair([tmp_path / "backup"]).repaired_blob_hashes == (lossy.hash_bytes(LARGE),)
    assert lossy.read_file_at("live", "second") == LARGE


def drop_and_prune(store: LocalCasStore, name: str) -> None:
    [manifest] = [each.manifest.content_hash for each in store.list_snapshots() if each.name == name]
    store.drop_snapshot(name)
    assert manifest in store.prune_orphan_blobs().pruned_blob_hashes


def before_the_second(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Something happens as soon as a repair turns to the second snapshot, once."""
    todo = [happens]

    def named_by(
        catalog: Catalog, blobs: BlobFiles, snapshot: Snapshot, previous: Snapshot | None
    ) -> Iterator[BlobStat]:
        if snapshot.name == "second" and todo:
            todo.pop()()
        return snapshot_losses.named_by(catalog, blobs, snapshot, previous)

    monkeypatch.setattr(examining, "named_by", named_by)


def test_what_was_collected_with_its_snapshot_is_not_lost(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_file("a", b"a")
    store.snapshot("first")
    store.write_file("live", LARGE)
    store.snapshot("second")
    store.delete_file("live")

    def prune_while_it_is_read(*arguments: Any) -> Iterator[BlobStat]:
        for blob in snapshot_losses.named_by(*arguments):
            if blob.content_hash == store.hash_bytes(LARGE):
                drop_and_prune(store, "second")
            yield blob

    monkeypatch.setattr(examining, "named_by", prune_while_it_is_read)
    report = store.repair(dry_run=True)
    assert not store.has(store.hash_bytes(LARGE))
    assert report.lost_blob_hashes == ()
    assert report.is_whole()


# --- what is collected meanwhile ----------------------------------------------------------------


def test_an_orphan_that_is_collected_while_it_is_looked_at_is_not_lost(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second look finds a row, then a prune comes, and then the file is not there."""
    name = store.put_bytes(LARGE)
    spoil(blob_file(store.location, name))
    honest, looks = store._blobs.stat, [None, lambda: store.prune_orphan_blobs().pruned_blob_hashes]
    pruned: list[tuple[str, ...]] = []

    def stat(content_hash: str) -> StoredForm | None:
        if content_hash == name and looks and (look := looks.pop(0)):
            pruned.append(look())
        return honest(content_hash)

    monkeypatch.setattr(store._blobs, "stat", stat)
    report = store.repair()
    assert pruned == [(name,)]
    assert report.lost_blob_hashes == ()
    assert report.is_whole()
