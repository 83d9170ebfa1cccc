"""The audit: its findings exactly, each checked twice, and nothing of what others are just doing."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import FileIndexAuditReport, FileMetadata, LocalCasStore, StorageIOError
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.operations import audit
from behind import blob_file, edit, look
from calls import LARGE, SMALL, fill
from children import Start


def ascending(*hashes: str) -> tuple[str, ...]:
    return tuple(sorted(hashes))


# --- the five fields of the seed, and ours ----------------------------------------------------


def test_an_empty_store_is_clean(either_store: LocalCasStore) -> None:
    report = either_store.audit_file_index(verify=True)
    assert report == FileIndexAuditReport(0, 0, (), (), (), is_verified=True)
    assert report.is_clean()


def test_each_finding_is_in_its_field_and_in_no_other(either_store: LocalCasStore) -> None:
    store = either_store
    contents = {
        name: name.encode() * 3000 for name in ("good", "missing", "dangling", "both", "damaged", "corrupt")
    }
    hashes = {name: store.hash_bytes(content) for name, content in contents.items()}
    for name in ("good", "missing", "both", "damaged", "corrupt"):
        store.write_file(f"{name}/1", contents[name])
        store.write_file(f"{name}/2", contents[name])  # a blob with two names is one finding
    for name in ("dangling", "both"):
        store.put_bytes(contents[name])
        store.pin(hashes[name])
    store.write_file("small", SMALL)
    store.pin(store.hash_bytes(SMALL))
    orphans = [store.put_bytes(b"orphan"), store.put_bytes(b"orphan" * 5000)]
    for name in ("missing", "dangling", "both"):
        blob_file(store.location, hashes[name]).unlink()
    os.truncate(blob_file(store.location, hashes["damaged"]), 10)
    blob_file(store.location, hashes["corrupt"]).write_bytes(contents["corrupt"][::-1])
    quick, whole = store.audit_file_index(), store.audit_file_index(verify=True)
    assert quick == FileIndexAuditReport(
        total_indexed_files=11,
        total_pins=3,
        missing_file_blob_hashes=ascending(hashes["missing"], hashes["both"]),
        dangling_pin_hashes=ascending(hashes["dangling"], hashes["both"]),
        orphan_blob_hashes=ascending(*orphans),
        damaged_blob_hashes=(hashes["damaged"],),
    )
    assert whole.corrupt_blob_hashes == ascending(hashes["corrupt"], hashes["damaged"])
    assert whole.is_verified
    assert not whole.index_damage
    assert store.prune_orphan_blobs().pruned_blob_hashes == ascending(*orphans)
    assert store.audit_file_index().orphan_blob_hashes == ()


def test_what_nothing_names_cannot_be_missing(store: LocalCasStore) -> None:
    content_hash = store.put_bytes(LARGE)
    blob_file(store.location, content_hash).unlink()
    report = store.audit_file_index(verify=True)
    assert report.is_sound()
    assert report.orphan_blob_hashes == (content_hash,)
    assert store.prune_orphan_blobs().pruned_blob_hashes == (content_hash,)
    assert store.audit_file_index(verify=True).is_clean()


def test_what_is_no_blob_is_no_finding(store: LocalCasStore) -> None:
    content_hash = store.put_bytes(LARGE)
    store.pin(content_hash)
    shard = blob_file(store.location, content_hash).parent
    (shard / "notes.txt").write_text("mine")
    (shard / content_hash.upper()).write_bytes(LARGE)
    (shard / f"{content_hash}.tmp").write_bytes(LARGE)
    (shard / ("0" * 64 if content_hash[:2] != "00" else "1" * 64)).write_bytes(b"of another shard")
    (shard.parent / "lost+found").mkdir()
    assert store.audit_file_index(verify=True).is_clean()
    assert store.prune_orphan_blobs().pruned_blobs == 0
    assert (shard / "notes.txt").exists()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path)])
def test_what_is_no_file_under_the_name_of_no_blob_is_damage_and_never_taken(
    store: LocalCasStore, make: Callable[[Path], None]
) -> None:
    path = blob_file(store.location, "a" * 64)
    path.parent.mkdir()
    make(path)
    assert store.audit_file_index(verify=True).damaged_blob_hashes == ("a" * 64,)
    assert store.prune_orphan_blobs().pruned_blobs == 0
    assert os.path.lexists(path)


def test_a_stray_file_is_an_orphan_whatever_is_in_it(store: LocalCasStore) -> None:
    strays = ["a" * 64, "a" * 63 + "b", "0" * 64]
    for size, content_hash in enumerate(strays):
        blob_file(store.location, content_hash).parent.mkdir(exist_ok=True)
        blob_file(store.location, content_hash).write_bytes(bytes(size * 10))
    assert store.audit_file_index(verify=True).orphan_blob_hashes == ascending(*strays)
    planned = store.prune_orphan_blobs(dry_run=True)
    assert (planned.pruned_blobs, planned.freed_bytes) == (3, 30)
    assert store.prune_orphan_blobs() == planned
    assert store.audit_file_index().is_clean()


@pytest.mark.parametrize("seed", range(6))
def test_orphans_are_exactly_what_a_prune_takes(either_store: LocalCasStore, seed: int) -> None:
    store, chance = either_store, random.Random(seed)
    contents = [bytes([number]) * chance.choice([1, 100, 8192, 8193, 30_000]) for number in range(25)]
    for _ in range(120):
        path, content = f"{chance.randrange(8)}", chance.choice(contents)
        step = chance.randrange(8)
        if step < 3:
            store.write_file(path, content)
        elif step == 3:
            store.delete_file(path)
        elif step == 4:
            store.put_bytes(content)
        elif step == 5 and store.has(store.hash_bytes(content)):
            store.pin(store.hash_bytes(content))
        elif step == 6:
            store.unpin(store.hash_bytes(content))
        elif store.stat_file(path):
            store.rename_file(path, f"{chance.randrange(8)}")
    named = {file.content_hash for file in store.list_files()} | set(store.list_pins())
    hashes = {store.hash_bytes(content) for content in contents}
    stored = set(filter(store.has, hashes))
    report = store.audit_file_index()
    assert report.orphan_blob_hashes == ascending(*(stored - named))
    assert report.is_sound()
    planned = store.prune_orphan_blobs(dry_run=True)
    assert planned.pruned_blob_hashes == report.orphan_blob_hashes
    assert store.prune_orphan_blobs() == planned
    assert {
        store.hash_bytes(content) for content in contents if store.has(store.hash_bytes(content))
    } == named
    assert store.audit_file_index(verify=True).is_clean()


def test_progress_is_told_in_bytes_up_to_all_of_them(store: LocalCasStore) -> None:
    fill(store)
    sizes: Any = look(store.location, "SELECT sum(size_bytes) FROM blobs")
    told: list[tuple[int, int | None]] = []
    store.audit_file_index(verify=True, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told, key=lambda at: at[0])
    assert told[-1] == (sizes[0][0], sizes[0][0])


def test_an_audit_that_is_only_quick_reads_no_bytes(store: LocalCasStore) -> None:
    fill(store)
    told: list[int] = []
    blob_file(store.location, store.hash_bytes(LARGE)).chmod(0)
    blob_file(store.location, store.hash_bytes(LARGE)).write_bytes(LARGE[::-1])
    assert store.audit_file_index(progress=lambda done, _: told.append(done)).is_sound()
    assert told == []


# --- while others go on -----------------------------------------------------------------------


def test_what_is_leased_or_staged_is_no_orphan(store: LocalCasStore, start: Start) -> None:
    other = start(
        """
        import io
        from agent_world_distfs.engine.leases import Lease
        store = LocalCasStore(location)
        with Lease(store._catalog, store._blobs) as lease:
            hashes = [lease.put_stream(io.BytesIO(data)).content_hash for data in (b"s", b"l" * 20_000)]
            blob = store._catalog.read(lambda tx: tx.find_blob(store.put_bytes(b"staged")))
            generation = store._catalog.write(lambda tx: tx.stage_generation(lease.name))
            file = FileMetadata("a", blob.content_hash, blob.size_bytes, 5)
            store._catalog.write(lambda tx: tx.stage_files(generation, [(file, blob.blob_id)]))
            say("kept")
            hear()
        say("ended")
        hear()
        """,
        store.location,
    )
    assert other.hear() == "kept"
    assert store.audit_file_index(verify=True).is_clean()
    assert store.prune_orphan_blobs().pruned_blobs == 0
    other.tell()
    assert other.hear() == "ended"
    assert len(store.audit_file_index().orphan_blob_hashes) == 3
    assert store.list_files() == []
    assert store.prune_orphan_blobs().pruned_blobs == 3
    assert store.audit_file_index(verify=True).is_clean()


def test_what_a_process_leased_is_an_orphan_once_it_is_dead(store: LocalCasStore, start: Start) -> None:
    other = start(
        """
        import io
        from agent_world_distfs.engine.leases import Lease
        store = LocalCasStore(location)
        lease = Lease(store._catalog, store._blobs)
        say(lease.put_stream(io.BytesIO(b"leased" * 5000)).content_hash)
        generation = store._catalog.write(lambda tx: tx.stage_generation(lease.name))
        hear()
        """,
        store.location,
    )
    content_hash = other.hear()
    assert store.audit_file_index().is_clean()
    other.kill()
    report = store.audit_file_index()
    assert report.orphan_blob_hashes == store.prune_orphan_blobs(dry_run=True).pruned_blob_hashes
    assert report.orphan_blob_hashes == (content_hash,)
    assert store.prune_orphan_blobs().pruned_blob_hashes == (content_hash,)


def test_an_audit_beside_writers_and_a_collector_finds_nothing(store: LocalCasStore, start: Start) -> None:
    writer = """
        with LocalCasStore(location) as store:
            say("ready")
            for number in range(10**9):
                content = b"%d" % (number % 9) * (1 if number % 4 else 4000)
                store.write_file(sys.argv[2], content)
                store.write_file_stream("shared", __import__("io").BytesIO(content * 2))
                store.pin(store.write_file("pinned", content).content_hash)
                store.rename_file(sys.argv[2], sys.argv[2] + "2")
                store.unpin(store.hash_bytes(content))
        """
    others = [start(writer, store.location, name) for name in "ab"]
    others.append(
        start(
            "store = LocalCasStore(location)\nsay('ready')\nwhile True: store.prune_orphan_blobs()",
            store.location,
        )
    )
    for other in others:
        assert other.hear() == "ready"
    for number in range(40):
        report = store.audit_file_index(verify=number % 2 == 0)
        assert report.is_sound(), report
    for other in others:
        other.kill()
    assert store.audit_file_index(verify=True).is_sound()


def test_a_finding_that_is_none_any_more_is_not_reported(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between looking at the rows and at the files all that is there is overwritten and collected.
    files = [store.write_file(f"{number}", bytes([number]) * 9000) for number in range(60)]
    list_shard = store._blobs.list_shard
    left = [files.pop() for _ in range(10)]

    def list_late(shard: str) -> Any:
        for file in [file for file in files if file.content_hash.startswith(shard)]:
            store.write_file(file.path, b"overwritten")
            files.remove(file)
        store.prune_orphan_blobs()
        return list_shard(shard)

    monkeypatch.setattr("agent_world_distfs.operations.audit._look_at_shard", _with(list_late, store))
    report = store.audit_file_index()
    assert files == []
    assert report.is_clean()
    assert len(left) == 10


def _with(list_late: Callable[[str], Any], store: LocalCasStore) -> Callable[..., Any]:
    """``_look_at_shard`` with a listing that comes late, for this look only."""
    look_at_shard = audit._look_at_shard

    class Late:
        def __getattr__(self, name: str) -> Any:
            return list_late if name == "list_shard" else getattr(store._blobs, name)

    return lambda catalog, _, shard, found: look_at_shard(catalog, Late(), shard, found)


def test_a_stray_file_that_a_live_writer_has_just_replaced_is_not_reported(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalCasStore(location) as store, LocalCasStore(location) as writer:
        content_hash = store.hash_bytes(LARGE)
        blob_file(store.location, content_hash).parent.mkdir()
        blob_file(store.location, content_hash).write_bytes(b"what a crash left")
        incoming = writer._blobs.incoming()
        incoming.write(LARGE)
        in_flight = store._blobs.in_flight

        def in_flight_before_the_writer() -> frozenset[int]:
            found = in_flight() - {incoming._identity}
            incoming.publish(content_hash)
            return found

        monkeypatch.setattr(store._blobs, "in_flight", in_flight_before_the_writer)
        assert store.audit_file_index().orphan_blob_hashes == ()
        monkeypatch.undo()
        incoming.discard()
        assert store.audit_file_index().orphan_blob_hashes == (content_hash,)


def test_an_audit_of_a_moment_does_not_change_the_store(store: LocalCasStore) -> None:
    fill(store)
    sequence = look(store.location, "SELECT max(sequence) FROM commits")
    store.audit_file_index(verify=True)
    store.prune_orphan_blobs(dry_run=True)
    assert look(store.location, "SELECT max(sequence) FROM commits") == sequence


@pytest.mark.parametrize("what", ["list_shard", "in_flight", "stat"])
def test_an_audit_that_cannot_look_everywhere_says_so(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    fill(store)
    blob_file(store.location, "a" * 64).parent.mkdir()
    blob_file(store.location, "a" * 64).write_bytes(b"stray")

    def fail(*_: object) -> None:
        raise StorageIOError(store.location, "Input/output error")

    monkeypatch.setattr(store._blobs, what, fail)
    with pytest.raises(StorageIOError):
        store.audit_file_index()


def test_paths_of_any_kind_stand_in_findings_without_harm(location: Path) -> None:
    path = "a\x1b[2J\n\u202e\U0010ffff"
    with LocalCasStore(location) as store:
        store.write_file(path, b"x")
    edit(location, "UPDATE files SET updated_at_ms = 5")
    with LocalCasStore(location) as store:
        (sentence, *_) = store.audit_file_index().index_damage
    assert sentence.isprintable()


def test_a_lease_keeps_across_objects_of_one_process(location: Path) -> None:
    with LocalCasStore(location) as store, LocalCasStore(location) as other:
        with Lease(store._catalog, store._blobs) as lease:
            lease.put_all([(store.hash_bytes(b"x"), b"x")])
            assert other.audit_file_index().is_clean()
            assert other.prune_orphan_blobs().pruned_blobs == 0
        assert other.prune_orphan_blobs().pruned_blobs == 1


def test_files_are_counted_as_they_are_indexed(store: LocalCasStore) -> None:
    for number in range(7):
        store.write_file(f"{number}", b"same")
    store.delete_file("3")
    store.rename_file("4", "5")
    assert store.audit_file_index().total_indexed_files == 5
    assert isinstance(store.list_files()[0], FileMetadata)
