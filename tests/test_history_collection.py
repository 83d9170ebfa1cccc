"""What the history remembers no collection takes, beside writers and imports, and with parts of it broken."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from agent_world_distfs import BlobMissingError, CatalogError, FileIndexManifestRef, LocalCasStore
from behind import blob_file, edit
from calls import LARGE
from children import Start


@pytest.mark.parametrize("data", [b"small", LARGE])
def test_a_kept_content_that_is_lost_is_told_of(location: Path, data: bytes) -> None:
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        lost = store.write_file("a", data)
        seq = store.last_seq()
        store.write_file("a", b"now")
    if data == LARGE:
        blob_file(location, lost.content_hash).unlink()
    else:
        edit(location, "DELETE FROM blobs WHERE content_hash = ?", bytes.fromhex(lost.content_hash))
    with LocalCasStore(location) as store:
        report = store.audit_file_index()
        assert report.missing_history_blob_hashes == (lost.content_hash,)
        assert not report.is_sound()
        with pytest.raises(BlobMissingError):
            store.read_file_at("a", seq)
        store.put_bytes(data)
        assert store.audit_file_index().is_sound()
        assert store.read_file_at("a", seq) == data


def test_a_collection_that_cannot_read_a_kept_manifest_takes_nothing(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        for number in range(100):
            store.write_file(f"{number:03}", b"%d" % number)
        store.import_file_index_manifest(FileIndexManifestRef(*_empty(store)))
        (replaced,) = (each.replaced for each in store.changes() if each.is_import)
        assert replaced is not None
        orphan = store.put_bytes(b"orphan")
        blob_file(location, replaced.content_hash).unlink()
        with pytest.raises(BlobMissingError):
            store.prune_orphan_blobs()
        assert store.has(orphan)
        report = store.audit_file_index()
        assert report.missing_history_blob_hashes == (replaced.content_hash,)
        store.expire_history(max_transactions=0)
        assert orphan in store.prune_orphan_blobs().pruned_blob_hashes


def _empty(store: LocalCasStore) -> tuple[str, int]:
    data = b"\xd9\xd9\xf7\xa2\x65files\x80\x67version\x01"
    return store.put_bytes(data), len(data)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE commits SET changes = x'' WHERE changes IS NOT NULL",
        "UPDATE commits SET at_ms = NULL WHERE changes IS NOT NULL",
        "UPDATE commits SET imported = 'x' WHERE changes IS NOT NULL",
        "DELETE FROM commits WHERE sequence = 2",
        "DELETE FROM changes WHERE part = 1",
    ],
)
def test_a_log_that_lost_something_stops_a_collection(location: Path, tmp_path: Path, sql: str) -> None:
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        store.write_file("a", b"1")
        (tmp_path / "tree").mkdir()
        for number in range(1_500):
            (tmp_path / "tree" / (f"{number:04}" + "x" * 100)).write_bytes(b"x")
        store.import_tree(tmp_path / "tree")
        store.write_file("a", b"2")
        orphan = store.put_bytes(b"orphan")
    edit(location, sql)
    with LocalCasStore(location) as store:
        with pytest.raises(CatalogError):
            store.prune_orphan_blobs()
        assert store.has(orphan)
        assert not store.audit_file_index().is_sound()


def test_a_collection_beside_writers_takes_nothing_that_the_history_remembers(
    location: Path, start: Start
) -> None:
    writers = [start(REMEMBERED_WRITES, location, name) for name in "xyz"]
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        since = store.last_seq()
        for writer in writers:
            writer.tell("go")
        deadline = time.monotonic() + 60  # for slow machines
        while store.last_seq() < since + 1_000 and time.monotonic() < deadline:
            store.put_bytes(os.urandom(20))  # something to take
            store.prune_orphan_blobs()
        for writer in writers:
            writer.kill()
        changes = list(store.changes(since=since))
        assert len(changes) > 100
        for change in changes[:: len(changes) // 50]:
            if change.after is not None:
                content = store.read_file_at(change.path, change.seq)
                assert store.hash_bytes(content) == change.after.content_hash
        report = store.audit_file_index(verify=True)
        assert report.is_sound(), report
        assert report.history_blob_hashes


REMEMBERED_WRITES = """
import random
name = sys.argv[2]
with LocalCasStore(location, durability="relaxed") as store:
    hear()
    number = 0
    while True:
        number += 1
        size = random.choice([10, 20_000])
        path = f"{random.randrange(3)}"  # of all: contents come back, too
        match random.randrange(5):
            case 0: store.delete_file(path)
            case 1: store.write_file(path, b"the same" * size)
            case 2: store.put_bytes(b"the same" * size)
            case _: store.write_file(path, f"{name} {number} ".encode() * (size // 10))
"""


def test_imports_beside_collections_leave_a_history_that_can_be_read(location: Path, start: Start) -> None:
    importer = start(REMEMBERED_IMPORTS, location, location)
    with LocalCasStore(location) as store:
        assert importer.hear() == "ready"
        since = store.last_seq()
        importer.tell("go")
        for _ in range(10):
            store.put_bytes(os.urandom(20))
            store.prune_orphan_blobs()
        importer.tell("stop")
        assert importer.hear() == "done"
        imports = [change for change in store.changes(since=since) if change.is_import]
        assert imports
        for change in imports:
            before = store.list_files_at(change.seq - 1)
            assert change.replaced is not None
            assert store.read_file_index_manifest(change.replaced).files == tuple(before)
            for file in before[:: max(1, len(before) // 5)]:
                store.read_file_at(file.path, change.seq - 1)
        assert store.audit_file_index(verify=True).is_sound()


REMEMBERED_IMPORTS = """
import random
with LocalCasStore(location, durability="relaxed") as store:
    store.set_setting("keep_history", True)
    say("ready")
    hear()
    stop = threading.Event()
    threading.Thread(target=lambda: (hear(), stop.set())).start()
    number = 0
    while not stop.is_set():
        number += 1
        for each in range(3):
            store.write_file(f"{each}", f"{number} {each}".encode() * random.choice([1, 3_000]))
        ref = store.export_file_index_manifest(pin=True)
        store.write_file("0", f"more {number}".encode())
        store.import_file_index_manifest(ref)
        store.unpin(ref.content_hash)
    say("done")
"""
