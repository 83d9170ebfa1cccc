"""The audit: its findings exactly, each checked twice, and nothing of what others are just doing."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from agent_world_distfs import (
    CatalogError,
    FileIndexAuditReport,
    FileMetadata,
    LocalCasStore,
    StorageIOError,
    WorldError,
)
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
        with Lease(store._catalog, store._files) as lease:
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
        lease = Lease(store._catalog, store._files)
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
    list_shard = store._files.list_shard
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
            return list_late if name == "list_shard" else getattr(store._files, name)

    return lambda catalog, _, shard, found: look_at_shard(catalog, Late(), shard, found)


def test_a_stray_file_that_a_live_writer_has_just_replaced_is_not_reported(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalCasStore(location) as store, LocalCasStore(location) as writer:
        content_hash = store.hash_bytes(LARGE)
        blob_file(store.location, content_hash).parent.mkdir()
        blob_file(store.location, content_hash).write_bytes(b"what a crash left")
        incoming = writer._files.incoming()
        incoming.write(LARGE)
        in_flight = store._files.in_flight

        def in_flight_before_the_writer() -> frozenset[int]:
            found = in_flight() - {incoming._identity}  # type: ignore[attr-defined]
            incoming.publish(content_hash)
            return found

        monkeypatch.setattr(store._files, "in_flight", in_flight_before_the_writer)
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

    monkeypatch.setattr(store._files, what, fail)
    with pytest.raises(StorageIOError):
        store.audit_file_index()


# --- damage of the index ----------------------------------------------------------------------

DAMAGES: dict[str, Iterable[str]] = {
    "a path changed": ["UPDATE files SET path = 'z' WHERE path = 'small'"],
    "a time changed": ["UPDATE files SET updated_at_ms = updated_at_ms + 1 WHERE path = 'small'"],
    "another blob named": ["UPDATE files SET blob_id = blob_id - 1 WHERE path = 'large'"],
    "no blob named": ["UPDATE files SET blob_id = 999 WHERE path = 'large'"],
    "a checksum changed": ["UPDATE files SET checksum = zeroblob(16) WHERE path = 'small'"],
    "an entry lost": ["DELETE FROM files WHERE path = 'small'"],
    "all entries lost": ["DELETE FROM files"],
    "an entry copied": ["INSERT INTO files SELECT generation, 'z', blob_id, 5, checksum FROM files LIMIT 1"],
    "two entries swapped": [
        "UPDATE files SET path = 'x' WHERE path = 'small'",
        "UPDATE files SET path = 'small' WHERE path = 'large'",
        "UPDATE files SET path = 'large' WHERE path = 'x'",
    ],
    "the checksum of something else": ["UPDATE files SET checksum = (SELECT checksum FROM pins LIMIT 1)"],
    "a size changed": ["UPDATE blobs SET size_bytes = size_bytes + 1 WHERE payload IS NULL"],
    "a size of inline bytes changed": ["UPDATE blobs SET size_bytes = 1 WHERE payload = x'736d616c6c'"],
    "a hash changed": ["UPDATE blobs SET content_hash = zeroblob(32) WHERE payload = x'736d616c6c'"],
    "inline bytes lost": ["UPDATE blobs SET payload = NULL WHERE payload = x'736d616c6c'"],
    "inline bytes invented": ["UPDATE blobs SET payload = x'00' WHERE payload IS NULL"],
    "inline bytes cut": ["UPDATE blobs SET payload = x'00' WHERE payload = x'736d616c6c'"],
    "a blob lost": ["DELETE FROM blobs WHERE payload = x'736d616c6c'"],
    "another blob pinned": ["UPDATE pins SET blob_id = 1 WHERE blob_id = (SELECT min(blob_id) FROM pins)"],
    "a pin of nothing": ["UPDATE pins SET blob_id = 999 WHERE blob_id = (SELECT min(blob_id) FROM pins)"],
    "a pin invented": ["INSERT INTO pins VALUES (1, zeroblob(16))"],
    "the number of files": ["UPDATE commits SET total_files = total_files + 1"],
    "the digest": ["UPDATE commits SET digest = zeroblob(16)"],
    "the generation": ["UPDATE commits SET generation = 7"],
    "the epoch": ["UPDATE commits SET epoch = epoch + 1"],
    "the next blob": ["UPDATE commits SET next_blob_id = 1"],
    "the last commit": ["DELETE FROM commits WHERE sequence = (SELECT max(sequence) FROM commits)"],
    "all commits": ["DELETE FROM commits"],
    "moved": ["UPDATE commits SET moved_to = '/elsewhere'"],
    "the key": ["UPDATE store SET checksum_key = zeroblob(32)"],
}


@pytest.mark.parametrize("statements", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("verify", [False, True])
def test_a_catalog_that_contradicts_itself_is_damaged_and_nothing_is_collected(
    location: Path, statements: Iterable[str], verify: bool
) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    for statement in statements:
        edit(location, statement)
    blobs = sorted(str(path) for path in location.glob("blobs/*/*"))
    rows = look(location, "SELECT count(*) FROM blobs")
    with LocalCasStore(location) as store:
        report = store.audit_file_index(verify=verify)
        assert report.index_damage
        assert not report.is_sound()
        assert all(sentence.isprintable() for sentence in report.index_damage)
        assert report.orphan_blob_hashes == ()  # since a prune would take nothing
        for dry_run in (True, False):
            with pytest.raises(CatalogError):
                store.prune_orphan_blobs(dry_run=dry_run)
    assert sorted(str(path) for path in location.glob("blobs/*/*")) == blobs
    assert look(location, "SELECT count(*) FROM blobs") == rows


def test_a_pin_that_is_lost_is_damage(location: Path) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    edit(location, "DELETE FROM pins WHERE blob_id = (SELECT min(blob_id) FROM pins)")
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).index_damage


def answers(store: LocalCasStore) -> list[object]:
    """All that a store says of what it holds; an error in place of an answer is none."""
    said: list[object] = [store.list_files(), store.list_pins(), list(store.iter_files())]
    said.extend((store.stat_file(file.path), store.read_file(file.path)) for file in store.list_files())
    said.extend(store.get(content_hash) for content_hash in store.list_pins())
    return said


@pytest.mark.parametrize("flips", [120, pytest.param(4000, marks=pytest.mark.proof)])
def test_a_flipped_bit_that_changes_an_answer_is_found(location: Path, tmp_path: Path, flips: int) -> None:
    with LocalCasStore(location) as store:
        fill(store)
        for number in range(60):
            store.write_file(f"some/file/{number}", b"%d" % number * (number % 7))
        good = answers(store)
    chance, seen = random.Random(flips), {"changed": 0, "refused": 0, "harmless": 0}
    size = (location / "catalog.db").stat().st_size
    raw = bytearray((location / "catalog.db").read_bytes())
    for _ in range(flips):
        place = shutil.copytree(location, tmp_path / "flipped")
        position = chance.randrange(size)
        flipped = bytes([raw[position] ^ 1 << chance.randrange(8)])
        with (place / "catalog.db").open("r+b") as file:
            file.seek(position)
            file.write(flipped)
        seen[judge(place, good)] += 1
        shutil.rmtree(place)
    assert min(seen.values()) > 0, seen


def judge(place: Path, good: list[object]) -> str:
    """What a flipped bit did; fails if it changed an answer and the audit does not see it."""
    try:
        with LocalCasStore(place) as store:
            try:
                is_changed = answers(store) != good
            except WorldError:
                is_changed = True
            is_sound = store.audit_file_index(verify=True).is_sound()
    except WorldError:
        return "refused"
    assert not (is_changed and is_sound)
    return "changed" if is_changed else "harmless"


def test_an_entry_that_is_damaged_is_never_read_as_good(location: Path) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    edit(location, "UPDATE files SET updated_at_ms = 5 WHERE path = 'small'")
    with LocalCasStore(location) as store:
        for call in (
            lambda: store.stat_file("small"),
            lambda: store.read_file("small"),
            lambda: store.open_file("small"),
            lambda: store.copy_file("small", "b"),
            lambda: store.write_file_if_match("small", store.hash_bytes(SMALL), b"x"),
            lambda: store.delete_file_if_match("small", store.hash_bytes(SMALL)),
        ):
            with pytest.raises(CatalogError, match="small"):
                call()
        assert store.delete_file("small") is True
        assert store.audit_file_index().index_damage == ()


def test_paths_of_any_kind_stand_in_findings_without_harm(location: Path) -> None:
    path = "a\x1b[2J\n\u202e\U0010ffff"
    with LocalCasStore(location) as store:
        store.write_file(path, b"x")
    edit(location, "UPDATE files SET updated_at_ms = 5")
    with LocalCasStore(location) as store:
        (sentence, *_) = store.audit_file_index().index_damage
    assert sentence.isprintable()


def test_text_that_is_not_utf_8_is_damage_in_our_words(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")
    edit(location, "UPDATE files SET path = CAST(x'61ff62' AS TEXT)")
    with LocalCasStore(location) as store:
        with pytest.raises(CatalogError):
            store.list_files()
        assert store.audit_file_index().index_damage


def test_a_lease_keeps_across_objects_of_one_process(location: Path) -> None:
    with LocalCasStore(location) as store, LocalCasStore(location) as other:
        with Lease(store._catalog, store._files) as lease:
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
