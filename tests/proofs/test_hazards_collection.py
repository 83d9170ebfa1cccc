"""Hazards of a collection: a commit that comes back from the dead, and roots that were read in part."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from agent_world_distfs import CatalogError, LocalCasStore, WorldError
from children import Child, Start, faulty

pytestmark = pytest.mark.proof

ORPHANS = 150
"""More orphans than one batch of a collection takes."""

LARGE = 9_000
"""Bytes of a blob that is a file."""


def orphan(number: int) -> bytes:
    return f"orphan {number} ".encode() * LARGE


# --- F2: a writer that is killed in the flush of its commit -------------------------------------

NAME = """
    store = LocalCasStore(location)
    say("ready")
    hear()
    store.link_file("zombie", sys.argv[2])
"""

COLLECT = """
    store = LocalCasStore(location)
    batches = 0

    def between(done, total):
        global batches
        batches += 1
        say(f"took {done} of {total}")
        if batches == 2:
            kill_me()
        hear()

    say("ready")
    hear()
    store.prune_orphan_blobs(progress=between)
"""

COLLECT_FILES_FIRST = """
    from agent_world_distfs.catalog.sqlite import SqliteCatalog

    # What must not be: each batch takes the files away and commits after that.
    def files_first(self, change, then):
        def both(tx):
            taken = change(tx)
            then(taken)
            if batches == 1:
                kill_me()
            return taken
        return self.write(both)

    SqliteCatalog.write_then = files_first
"""


def kill_a_writer_between_two_batches(start: Start, location: Path, collect: str) -> tuple[str, ...]:
    """What is missing when the store is opened after writer and collector are dead."""
    with LocalCasStore(location) as store:
        hashes = sorted(store.put_bytes(orphan(number)) for number in range(ORPHANS))
    collector = start(collect, location)
    assert collector.hear() == "ready"
    taken_last = hashes[-1]  # by the second batch
    writer = start(NAME, location, taken_last, under=faulty("fdatasync", "signal=SIGKILL:when=1"))
    assert writer.hear() == "ready"
    collector.tell()
    assert collector.hear() == f"took 128 of {ORPHANS}"
    writer.tell()
    assert writer.hear_all() == [], "the writer was not killed in its flush"
    collector.tell()
    collector.hear_all()
    assert not (location / "blobs" / hashes[-1][:2] / hashes[-1]).exists(), "the second batch took no files"
    with LocalCasStore(location) as store:
        return store.audit_file_index(verify=True).missing_file_blob_hashes


def test_a_zombie_commit_between_two_batches_brings_nothing_back(start: Start, location: Path) -> None:
    """Frames that nobody counts lie in the log; each batch commits over them before it takes files (F2)."""
    assert kill_a_writer_between_two_batches(start, location, COLLECT) == ()
    with LocalCasStore(location) as store:
        assert store.stat_file("zombie") is None
        assert store.audit_file_index(verify=True).is_sound()


def test_a_zombie_commit_does_come_back_to_a_collection_that_takes_files_before_it_commits(
    start: Start, location: Path
) -> None:
    """So the test above can tell: with the order of the two turned round its scene ends in a loss."""
    assert kill_a_writer_between_two_batches(start, location, COLLECT_FILES_FIRST + COLLECT) != ()


WRITE = """
    store = LocalCasStore(location)
    say("ready")
    hear()
    store.write_file("zombie", b"zombie" * 9_000)
"""

COLLECT_A_STRAY_FILE = """
    from agent_world_distfs.operations import collect

    store = LocalCasStore(location)
    search = collect.find_orphans

    def find_orphans(*places):
        say("recording")
        hear()
        return search(*places)

    def taken(done, total):
        say(f"took {done} of {total}")
        kill_me()

    collect.find_orphans = find_orphans
    store.prune_orphan_blobs(progress=taken)
"""


def test_a_zombie_commit_does_not_come_back_for_a_file_that_has_no_row_yet(
    start: Start, location: Path
) -> None:
    """A batch that drops no row has to commit all the same: the dead writer's row lies in the log."""
    collector = start(COLLECT_A_STRAY_FILE, location)
    assert collector.hear() == "recording"
    writer = start(WRITE, location, under=faulty("fdatasync", "signal=SIGKILL:when=1"))
    assert writer.hear() == "ready"
    writer.tell()
    assert writer.hear_all() == [], "the writer was not killed in its flush"
    assert len(files_of(location)) == 1
    collector.tell()
    assert collector.hear_all() == ["took 1 of 1"]
    assert files_of(location) == set()
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).missing_file_blob_hashes == ()
        assert store.stat_file("zombie") is None


# --- F10: marking that fails, or reads a part ---------------------------------------------------

PRUNE = """
    try:
        store = LocalCasStore(location)
        say("pruned", store.prune_orphan_blobs().pruned_blobs)
    except WorldError as error:
        say(type(error).__name__)
"""


@pytest.fixture
def filled(location: Path) -> Path:
    """A closed store with named and orphaned blobs, small and large."""
    with LocalCasStore(location) as store:
        for number in range(12):
            store.write_file(f"kept/{number}", f"kept {number} ".encode() * (LARGE if number % 2 else 1))
        store.pin(store.put_bytes(b"pinned" * LARGE))
        store.put_bytes(orphan(1))
        store.put_bytes(b"small orphan")
    return location


def files_of(location: Path) -> set[str]:
    return {entry.name for entry in (location / "blobs").rglob("*") if entry.is_file()}


def prune_traced(start: Start, location: Path, call: str, path: Path, trace: Path, *inject: str) -> str:
    """What a collection says whose calls on one path are traced, or fail."""
    options = ["-o", str(trace), "-P", str(path), "-e", f"trace={call}", *inject]
    child: Child = start(PRUNE, location, under=["strace", "-f", "-q", *options])
    said = child.hear()
    child.wait()
    return said


def prune_with_an_error(start: Start, location: Path, call: str, path: Path, when: str) -> str:
    inject = f"inject={call}:error=EIO:when={when}"
    return prune_traced(start, location, call, path, Path(os.devnull), "-e", inject)


@pytest.mark.parametrize("call", ["openat", "getdents64"])
def test_a_shard_that_cannot_be_listed_stops_a_collection_with_nothing_deleted(
    call: str, start: Start, filled: Path
) -> None:
    before = files_of(filled)
    shards = sorted(entry for entry in (filled / "blobs").iterdir())
    for shard in (shards[0], shards[-1]):
        assert prune_with_an_error(start, filled, call, shard, "1+") == "StorageIOError"
        assert files_of(filled) == before
    with LocalCasStore(filled) as store:
        assert store.prune_orphan_blobs().pruned_blobs == 2


def test_a_catalog_that_cannot_be_read_costs_no_live_blob(start: Start, filled: Path, tmp_path: Path) -> None:
    """Wherever the read fails, each of them in turn. SQLite does without some, and tells of the others."""
    before, trace, place = files_of(filled), tmp_path / "trace", tmp_path / "copy"
    shutil.copytree(filled, place)
    assert prune_traced(start, place, "pread64", place / "catalog.db", trace) == "pruned 2"
    reads, refused = trace.read_text().count("pread64("), 0
    without_orphan = files_of(place)
    for number in range(1, reads + 1):
        shutil.rmtree(place)
        shutil.copytree(filled, place)
        said = prune_with_an_error(start, place, "pread64", place / "catalog.db", str(number))
        refused += said.endswith("Error")
        assert said == "pruned 2" or said.endswith("Error"), said
        assert files_of(place) in (before, without_orphan), f"read {number} failed: live files are gone"
        with LocalCasStore(place) as store:
            assert store.audit_file_index(verify=True).is_sound()
            for file in store.iter_files():
                store.read_file(file.path)
    assert refused > 2, "no read that matters was hit"


def test_sessions_that_cannot_be_listed_stop_a_collection_with_nothing_deleted(
    start: Start, filled: Path
) -> None:
    before = files_of(filled)
    assert prune_with_an_error(start, filled, "getdents64", filled / "tmp", "2+") == "StorageIOError"
    assert files_of(filled) == before


def test_a_damaged_catalog_costs_no_live_blob(filled: Path) -> None:
    """A bit is flipped around every place that names a path; with the good catalog back all is there."""
    catalog = filled / "catalog.db"
    good, blobs = catalog.read_bytes(), filled.with_name("blobs before")
    shutil.copytree(filled / "blobs", blobs)
    live = files_of(filled) - {orphan_file(filled)}
    refused = 0
    for place in places_near(good, b"kept/"):
        catalog.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        try:
            with LocalCasStore(filled) as store:
                store.prune_orphan_blobs()
        except WorldError:
            refused += 1
        assert files_of(filled) >= live, f"a live blob was taken: byte {place} of the catalog, bit 4"
        restore(filled, good, blobs)
    assert refused > 0, "no damage was noticed"
    with LocalCasStore(filled) as store:
        assert store.audit_file_index(verify=True).is_sound()


def orphan_file(location: Path) -> str:
    with LocalCasStore(location) as store:
        return store.hash_bytes(orphan(1))


def places_near(content: bytes, word: bytes) -> list[int]:
    """Some sixty of the bytes from 60 before to 60 behind the word, wherever it is."""
    places: set[int] = set()
    at = content.find(word)
    while at >= 0:
        places.update(range(max(0, at - 60), min(len(content), at + 60)))
        at = content.find(word, at + 1)
    return sorted(places)[:: len(places) // 60]


def restore(location: Path, catalog: bytes, blobs: Path) -> None:
    for suffix in ("-wal", "-shm"):
        (location / f"catalog.db{suffix}").unlink(missing_ok=True)
    (location / "catalog.db").write_bytes(catalog)
    shutil.copytree(blobs, location / "blobs", dirs_exist_ok=True)


def test_an_empty_set_of_roots_that_was_read_whole_is_an_answer(filled: Path) -> None:
    """Deleting all and pruning needs no flag; a catalog that is gone is another thing."""
    with LocalCasStore(filled) as store:
        store.delete_files([file.path for file in store.list_files()])
        for content_hash in store.list_pins():
            store.unpin(content_hash)
        store.prune_orphan_blobs()
        assert store.audit_file_index(verify=True).is_clean()
        assert files_of(filled) == set()
        store.write_file("kept", b"kept" * LARGE)
    for name in os.listdir(filled):
        if name.startswith("catalog.db"):
            (filled / name).unlink()
    with pytest.raises(CatalogError, match="gone"):
        LocalCasStore(filled)
    assert len(files_of(filled)) == 1
