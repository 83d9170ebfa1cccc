"""Audit and collection: orphans are exactly what is taken, what is live never is."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import apsw
import pytest

from agent_world_distfs import (
    BlobHashMismatchError,
    BlobMissingError,
    BlobNotFoundError,
    CatalogError,
    LocalCasStore,
    StorageError,
    StorageIOError,
)
from behind import blob_file, edit, temporary_files
from calls import LARGE
from children import Start, faulty


def test_orphans_are_what_overwriting_and_deleting_leaves(either_store: LocalCasStore) -> None:
    store = either_store
    old = [store.write_file("a", b"old"), store.write_file("b", LARGE)]
    store.write_file("a", b"new")
    store.delete_file("b")
    loose = store.put_bytes(b"loose")
    expected = tuple(sorted([loose, *(meta.content_hash for meta in old)]))
    report = store.audit_file_index()
    assert report.orphan_blob_hashes == expected
    assert (report.total_indexed_files, report.total_pins) == (1, 0)
    assert report.is_sound()
    assert not report.is_clean()
    planned = store.prune_orphan_blobs(dry_run=True)
    assert store.audit_file_index() == report
    taken = store.prune_orphan_blobs()
    assert taken == planned
    assert (taken.pruned_blobs, taken.freed_bytes) == (3, 3 + len(LARGE) + 5)
    assert taken.pruned_blob_hashes == expected
    assert store.audit_file_index().is_clean()
    assert store.read_file("a") == b"new"


def test_a_pin_keeps_a_blob_until_it_is_taken_away(store: LocalCasStore) -> None:
    for data in (b"small", LARGE):
        content_hash = store.put_bytes(data)
        store.pin(content_hash)
        store.pin(content_hash)
        assert store.list_pins() == [content_hash]
        assert store.prune_orphan_blobs().pruned_blobs == 0
        assert store.get(content_hash) == data
        assert store.unpin(content_hash)
        assert not store.unpin(content_hash)
        assert store.prune_orphan_blobs().pruned_blob_hashes == (content_hash,)
        assert not store.has(content_hash)
        with pytest.raises(BlobNotFoundError):
            store.pin(content_hash)


def test_lost_bytes_are_missing_for_a_path_and_dangling_for_a_pin(location: Path) -> None:
    with LocalCasStore(location) as store:
        named = store.write_file("a", LARGE)
        pinned = store.put_bytes(LARGE + b"!")
        store.pin(pinned)
        blob_file(location, named.content_hash).unlink()
        blob_file(location, pinned).unlink()
        report = store.audit_file_index()
        assert report.missing_file_blob_hashes == (named.content_hash,)
        assert report.dangling_pin_hashes == (pinned,)
        assert not report.is_sound()
        with pytest.raises(BlobMissingError) as raised:
            store.read_file("a")
        assert (raised.value.content_hash, raised.value.path) == (named.content_hash, "a")
        assert not isinstance(raised.value, FileNotFoundError)
        with pytest.raises(BlobMissingError):
            store.copy_file("a", "b")
        assert store.prune_orphan_blobs().pruned_blobs == 0
        store.put_bytes(LARGE)
        assert store.read_file("a") == LARGE
        assert store.audit_file_index().missing_file_blob_hashes == ()


def test_rotten_bytes_are_refused_found_and_healed_by_writing_them_again(location: Path) -> None:
    with LocalCasStore(location) as store:
        meta = store.write_file("a", LARGE)
        path = blob_file(location, meta.content_hash)
        path.write_bytes(b"L" + LARGE[1:])
        with pytest.raises(BlobHashMismatchError):
            store.read_file("a")
        assert store.audit_file_index().is_sound(), "only a verifying audit reads the bytes"
        assert store.audit_file_index(verify=True).corrupt_blob_hashes == (meta.content_hash,)
        path.write_bytes(LARGE[:-1])
        assert store.audit_file_index().damaged_blob_hashes == (meta.content_hash,)
        store.write_file("b", LARGE)
        assert store.read_file("a") == LARGE
        assert store.audit_file_index(verify=True).is_clean()


def test_a_rotten_inline_blob_is_refused_found_and_healed(location: Path) -> None:
    with LocalCasStore(location) as store:
        meta = store.write_file("a", b"small")
    edit(location, "UPDATE blobs SET payload = ?", b"Small")
    with LocalCasStore(location) as store:
        with pytest.raises(BlobHashMismatchError):
            store.read_file("a")
        assert store.audit_file_index(verify=True).corrupt_blob_hashes == (meta.content_hash,)
        store.put_bytes(b"small")
        assert store.read_file("a") == b"small"
        assert store.audit_file_index(verify=True).is_clean()


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo"])
def test_what_is_no_regular_file_is_damage_and_never_read(location: Path, kind: str, tmp_path: Path) -> None:
    with LocalCasStore(location) as store:
        meta = store.write_file("a", LARGE)
        path = blob_file(location, meta.content_hash)
        path.unlink()
        if kind == "directory":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            (tmp_path / "elsewhere").write_bytes(LARGE)
            path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(CatalogError):
            store.read_file("a")
        assert store.audit_file_index().damaged_blob_hashes == (meta.content_hash,)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE files SET path = 'c' WHERE path = 'a'",
        "UPDATE files SET updated_at_ms = updated_at_ms + 1 WHERE path = 'a'",
        "UPDATE files SET blob_id = 2 WHERE path = 'a'",
        "DELETE FROM files WHERE path = 'a'",
        "UPDATE blobs SET size_bytes = size_bytes + 1 WHERE blob_id = 1",
        "UPDATE commits SET total_files = 7",
        "UPDATE commits SET digest = zeroblob(16)",
        "UPDATE pins SET checksum = zeroblob(16)",
    ],
)
def test_a_changed_row_is_index_damage(location: Path, sql: str) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"first")
        meta = store.write_file("b", b"second")
        store.pin(meta.content_hash)
        assert store.audit_file_index().index_damage == ()
    edit(location, sql)
    with LocalCasStore(location, read_only=True) as store:
        assert store.audit_file_index().index_damage


def test_a_damaged_state_is_an_error_and_never_an_empty_index(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"first")
    edit(location, "UPDATE commits SET generation = generation + 8")
    with LocalCasStore(location, read_only=True) as store:
        for read in (lambda: store.read_file("a"), lambda: store.stat_file("a"), store.list_files):
            with pytest.raises(CatalogError):
                read()


def test_a_prune_gives_the_space_of_small_blobs_back_to_the_disk(location: Path) -> None:
    with LocalCasStore(location) as store:
        for number in range(200):
            store.put_bytes(b"%d" % number * 2000)
    before = (location / "catalog.db").stat().st_size
    with LocalCasStore(location) as store:
        assert store.prune_orphan_blobs().pruned_blobs == 200
    assert (location / "catalog.db").stat().st_size < before / 4


def test_a_stray_file_is_an_orphan_once_nobody_is_bringing_it_in(location: Path, start: Start) -> None:
    with LocalCasStore(location) as store:
        incoming = store._blobs.incoming()
        content_hash = store.hash_bytes(LARGE)
        incoming.write(LARGE)
        incoming.publish(content_hash)
        watcher = start(
            """
            with LocalCasStore(location) as store:
                for _ in range(2):
                    hear()
                    found = store.audit_file_index().orphan_blob_hashes
                    say(len(found), store.prune_orphan_blobs().pruned_blobs)
            """,
            location,
        )
        for path in location.rglob("*"):
            os.utime(path, (1, 1), follow_symlinks=False)  # times say nothing
        watcher.tell()
        assert watcher.hear() == "0 0"
        incoming.discard()
        watcher.tell()
        assert watcher.hear() == "1 1"
        assert not blob_file(location, content_hash).exists()


def test_bytes_collected_between_publishing_and_naming_are_put_back(location: Path) -> None:
    with LocalCasStore(location) as store, LocalCasStore(location) as collector:
        store.write_file("a", LARGE)
        store.delete_file("a")  # an orphan that the next put of the same bytes finds, and trusts
        write = store._catalog.write

        def write_late(change: object) -> object:
            store._catalog.write = write  # type: ignore[method-assign]
            assert collector.prune_orphan_blobs().pruned_blobs == 1
            return write(change)  # type: ignore[arg-type]

        store._catalog.write = write_late  # type: ignore[method-assign, assignment]
        store.write_file("b", LARGE)
        assert store.read_file("b") == LARGE
        assert store.audit_file_index(verify=True).is_clean()


def test_an_open_reader_keeps_what_is_collected(store: LocalCasStore) -> None:
    store.write_file("a", LARGE)
    with store.open_file("a") as reader:
        assert reader.read(5) == b"large"
        store.write_file("a", b"other")
        assert store.prune_orphan_blobs().pruned_blobs == 1
        assert reader.read() == LARGE[5:]


@pytest.mark.parametrize("years", [10, -10])
def test_temporary_files_of_the_dead_are_tidied_and_those_of_the_living_are_not(
    years: int, location: Path, start: Start
) -> None:
    program = """
        store = LocalCasStore(location)
        incoming = store._blobs.incoming()
        incoming.write(b"half")
        say(store._blobs.session())
        hear()
    """
    dead, alive = start(program, location), start(program, location)
    dead_name, alive_name = dead.hear(), alive.hear()
    dead.kill()
    told = time.time() + years * 365 * 86_400  # clocks and ages say nothing
    for path in (location / "tmp").rglob("*"):
        os.utime(path, (told, told))
    with LocalCasStore(location):
        names = {entry.name for entry in (location / "tmp").iterdir()}
    assert dead_name not in names
    assert {alive_name, f"{alive_name}.lock"} <= names
    assert list((location / "tmp" / alive_name).iterdir())


def test_a_listing_that_fails_stops_a_collection_with_nothing_deleted(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    content_hash = store.put_bytes(LARGE)
    scan = os.scandir

    def fail(path: str) -> object:
        if path.endswith("/7f"):
            raise OSError(5, "Input/output error", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(StorageIOError, match="7f"):
        store.prune_orphan_blobs()
    monkeypatch.undo()
    assert store.has(content_hash)


def test_a_commit_that_a_killed_writer_left_in_the_log_never_names_collected_bytes(
    location: Path, start: Start
) -> None:
    """The log holds a commit that nobody sees; a batch's own commit lies over it before files go (F2)."""
    with LocalCasStore(location) as store:
        content_hash = store.put_bytes(LARGE)
        pid = start(
            """
            store = LocalCasStore(location)
            say("ready")
            hear()
            store.link_file("zombie", sys.argv[2])
            """,
            location,
            content_hash,
            under=faulty("fdatasync", "signal=SIGKILL:when=1"),
        )
        assert pid.hear() == "ready"
        pid.tell()
        pid.hear_all()
        assert store.stat_file("zombie") is None
        collector = start(
            """
            with LocalCasStore(location) as store:
                taken = store.prune_orphan_blobs()
                say(taken.pruned_blobs)
                kill_me()
            """,
            location,
        )
        assert collector.hear() == "1"
        collector.wait()
        store._catalog.close()  # without a checkpoint by anyone who saw the log
    with LocalCasStore(location) as store:
        assert store.audit_file_index(verify=True).is_clean()


def test_a_damaged_index_of_hashes_costs_no_blob(location: Path) -> None:
    """What is not found is stored again, in a second row; a prune would take one of the two."""
    with LocalCasStore(location) as store:
        pinned = store.put_bytes(b"pinned")
        store.pin(pinned)
    connection = apsw.Connection(str(location / "catalog.db"), flags=apsw.SQLITE_OPEN_READONLY)
    sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_blobs_1'"
    page = next(int(str(row[0])) - 1 for row in connection.execute(sql))
    connection.close()
    catalog = bytearray((location / "catalog.db").read_bytes())
    catalog[catalog.index(bytes.fromhex(pinned), page * 4096, (page + 1) * 4096)] ^= 1
    (location / "catalog.db").write_bytes(catalog)
    with LocalCasStore(location) as store:
        assert not store.has(pinned)
        store.put_bytes(b"pinned")
        with pytest.raises(CatalogError, match="not found by its hash"):
            store.prune_orphan_blobs()
        assert store.get(pinned) == b"pinned"
        assert not store.audit_file_index().is_sound()


def test_a_prune_that_finds_no_room_to_move_files_away_frees_some_and_goes_on(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, tries = os.rename, iter(range(10))

    def full_at_the_fourth(source: str, target: str) -> None:
        if "blobs" in str(source) and next(tries) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", source)
        rename(source, target)

    with LocalCasStore(location) as store:
        for number in range(6):
            store.put_bytes(LARGE + bytes([number]))
        monkeypatch.setattr(os, "rename", full_at_the_fourth)
        assert store.prune_orphan_blobs().pruned_blobs == 6
        assert not list(location.glob("blobs/*/*"))
        assert temporary_files(store) == []


def test_a_blob_that_cannot_get_its_name_leaves_nothing(location: Path) -> None:
    with LocalCasStore(location) as store:
        (blob_file(location, store.hash_bytes(LARGE)) / "something").mkdir(parents=True)
        with pytest.raises(StorageError):
            store.put_bytes(LARGE)
        assert temporary_files(store) == []
