"""Opening: makes a store or finds one, and refuses what it cannot be sure of without touching it."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import apsw
import pytest

from agent_world_distfs import (
    CatalogError,
    FileIndexManifestRef,
    HashAlgorithm,
    IncompatibleStoreError,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    StorageError,
    StorageReadOnlyError,
    StoreClosedError,
    StoreMovedError,
    UnavailableError,
    WorldError,
    filesystem_kind,
    open_store,
    upgrade_store,
)
from agent_world_distfs.catalog.schema import APPLICATION_ID, create_catalog
from agent_world_distfs.filesystem_kind import find_type, locks_hold
from calls import EXCHANGES, LARGE, READS, SMALL, WRITES, Call, edit, fill, seal, tree_of
from children import MakeDisk, Start, cannot_run

HASH = "a" * 64


def descriptors() -> set[str]:
    """What this process holds open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue
    return found


# --- making -----------------------------------------------------------------------------------


def test_a_store_is_made_where_there_is_none(tmp_path: Path) -> None:
    with LocalCasStore(tmp_path / "deep" / "down" / "store") as store:
        assert store.hash_algorithm is HashAlgorithm.BLAKE3
        assert store.list_files() == []
        assert store.audit_file_index(verify=True).is_clean()
    (tmp_path / "empty").mkdir()
    with LocalCasStore(tmp_path / "empty", hash_algorithm=HashAlgorithm.SHA256) as store:
        assert store.hash_algorithm is HashAlgorithm.SHA256


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path, algorithm: HashAlgorithm) -> None:
    with LocalCasStore(tmp_path / "store", hash_algorithm=algorithm) as store:
        fill(store)
        before, pins = store.list_files(), store.list_pins()
    with open_store(tmp_path / "store") as store:
        assert store.hash_algorithm is algorithm
        assert (store.list_files(), store.list_pins()) == (before, pins)
        assert store.read_file("large") == LARGE
        assert store.audit_file_index(verify=True).is_sound()


@pytest.mark.parametrize("kind", [str, Path, os.fsencode, lambda path: f"{path}/"], ids=lambda _: "")
def test_a_location_is_any_path_of_the_host(tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    with LocalCasStore(kind(tmp_path / "store")) as store:
        store.write_file("a", b"x")
        assert store.location == str(tmp_path / "store")
    assert (tmp_path / "store" / "catalog.db").exists()


@pytest.mark.parametrize(
    "name", ["a b?c#d%e'f\"g&h", "\u6587\u4ef6", "x\nnewline", "mode=ro", os.fsdecode(b"\xff\xfe")]
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_location_may_have_an_odd_name(tmp_path: Path, name: str, read_only: bool) -> None:
    with LocalCasStore(tmp_path / name) as store:
        store.write_file("a", LARGE)
    with LocalCasStore(tmp_path / name, read_only=read_only) as store:
        assert store.read_file("a") == LARGE
        assert repr(store)


def test_a_relative_location_means_where_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with LocalCasStore("store") as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.write_file("a", LARGE)
        assert store.read_file("a") == LARGE
        assert os.listdir() == []


def test_a_location_may_be_reached_by_a_symlink(location: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(location)
    with LocalCasStore(tmp_path / "link") as one, LocalCasStore(location) as other:
        one.write_file("a", LARGE)
        assert other.read_file("a") == LARGE


@pytest.mark.parametrize("wrong", [None, 7, ["store"]], ids=repr)
def test_a_location_of_another_type_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(TypeError):
        LocalCasStore(wrong)


@pytest.mark.parametrize("wrong", ["", "a\0b"], ids=repr)
def test_a_location_that_can_be_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError):
        LocalCasStore(wrong)
    assert os.listdir() == []


WRONG_OPTIONS: dict[str, tuple[type[Exception], dict[str, Any]]] = {
    "durability": (InvalidInputError, {"durability": "none"}),
    "algorithm": (TypeError, {"hash_algorithm": "sha256"}),
    "timeout, a text": (TypeError, {"lock_timeout_s": "1"}),
    "timeout, nothing": (TypeError, {"lock_timeout_s": None}),
    "timeout, negative": (InvalidInputError, {"lock_timeout_s": -1}),
    "timeout, no number": (InvalidInputError, {"lock_timeout_s": float("nan")}),
}


@pytest.mark.parametrize(("kind", "options"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS.keys())
def test_wrong_options_are_refused_before_anything_is_made(
    tmp_path: Path, kind: type[Exception], options: dict[str, Any]
) -> None:
    with pytest.raises(kind):
        LocalCasStore(tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("timeout_s", [0, 0.5, 10**9, float("inf")])
def test_any_time_may_be_waited(location: Path, timeout_s: float) -> None:
    with LocalCasStore(location, lock_timeout_s=timeout_s) as store:
        store.write_file("a", b"x")


def test_many_who_make_the_same_store_at_once_share_it(tmp_path: Path, start: Start) -> None:
    program = """
    hear()
    for number in range(8):
        with LocalCasStore(f"{location}/{number}") as store:
            store.write_file(sys.argv[2], b"x")
    """
    children = [start(program, tmp_path, name) for name in "abcdefgh"]
    for child in children:
        child.tell()
    for child in children:
        child.finish()
    for number in range(8):
        with LocalCasStore(tmp_path / str(number), create=False) as store:
            assert [file.path for file in store.list_files()] == list("abcdefgh")
            assert os.listdir(tmp_path / str(number) / "tmp") == []


def test_threads_that_make_the_same_store_at_once_share_it(tmp_path: Path) -> None:
    def work(name: str) -> None:
        with LocalCasStore(tmp_path / "store") as store:
            store.write_file(name, b"x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, "abcdefgh"))
    with LocalCasStore(tmp_path / "store", create=False) as store:
        assert len(store.list_files()) == 8


# --- a store that was not made to the end -----------------------------------------------------


def half_made() -> dict[str, Callable[[Path], object]]:
    """What a crash leaves, step by step."""

    def lock(name: str, content: bytes = b"") -> Callable[[Path], object]:
        return lambda root: (root / "locks" / name).write_bytes(content)

    def workshop(root: Path) -> None:
        (root / "tmp" / "new-0011223344556677").mkdir()

    def catalog_made(root: Path) -> None:
        (root / "tmp" / "new-0011223344556677" / "catalog.db").unlink()
        create_catalog(str(root / "tmp" / "new-0011223344556677" / "catalog.db"), HashAlgorithm.SHA256)

    return {
        "nothing": lambda root: root.mkdir(),
        "blobs": lambda root: (root / "blobs").mkdir(),
        "tmp": lambda root: (root / "tmp").mkdir(),
        "reserve, empty": lambda root: (root / "reserve").touch(),
        "reserve, begun": lambda root: (root / "reserve").write_bytes(bytes(1000)),
        "locks": lambda root: (root / "locks").mkdir(),
        "turnstile": lock("turnstile"),
        "gate, empty": lock("gate"),
        "gate": lock("gate", b"\0"),
        "handles": lock("handles"),
        "workshop": workshop,
        "catalog, empty": lambda root: (root / "tmp" / "new-0011223344556677" / "catalog.db").touch(),
        "catalog, torn": lambda root: (root / "tmp" / "new-0011223344556677" / "catalog.db").write_bytes(
            b"SQLite format 3\0" + bytes(4000)
        ),
        "catalog": catalog_made,
    }


@pytest.mark.parametrize("last", half_made().keys())
def test_a_half_made_store_is_made_to_the_end(tmp_path: Path, last: str) -> None:
    root = tmp_path / "store"
    for name, step in half_made().items():
        step(root)
        if name == last:
            break
    with LocalCasStore(root) as store:
        assert store.hash_algorithm is HashAlgorithm.BLAKE3
        fill(store)
        assert store.audit_file_index(verify=True).is_sound()
        assert not list((root / "tmp").glob("new-*"))
    assert (root / "locks" / "gate").read_bytes() == b"\0"
    assert (root / "reserve").stat().st_size == 2 << 20


def test_a_store_that_was_half_made_is_finished(tmp_path: Path, start: Start) -> None:
    """Killed at each call that makes something; the next open goes on there."""
    for number in range(1, 40):
        root = tmp_path / str(number)
        maker = start(
            "LocalCasStore(location).write_file('a', b'a')",
            root,
            under=[
                "strace", "-f", "-q", "-o", "/dev/null", "-e", "trace=mkdir,link,rename,fsync,fdatasync",
                "-e", f"inject=mkdir,link,rename,fsync,fdatasync:signal=SIGKILL:when={number}",
            ],
        )  # fmt: skip
        is_done = maker.wait() == 0
        with LocalCasStore(root) as store:
            store.write_file("b", b"b")
            assert store.audit_file_index().is_clean()
        if is_done:
            return
    raise AssertionError("still not made")


def test_a_store_whose_last_step_of_making_was_cut_off_is_a_store(location: Path) -> None:
    (location / "tmp" / "new-0011223344556677").mkdir()
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")
    assert os.listdir(location / "tmp") == []


# --- what is not there ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}], ids=str)
def test_nothing_is_made_where_nothing_may_be(tmp_path: Path, options: dict[str, bool]) -> None:
    for place in (tmp_path / "missing", tmp_path / "missing" / "deeper"):
        with pytest.raises(NotFoundError) as raised:
            LocalCasStore(place, **options)  # type: ignore[arg-type]
        assert raised.value.filename == str(place)
    with pytest.raises(NotFoundError):
        LocalCasStore(tmp_path, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def almost_a_store(root: Path) -> None:
    for name in ("blobs", "tmp", "locks", "other"):
        (root / name).mkdir()


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a file": lambda root: (root / "notes.txt").write_text("mine"),
    "a hidden file": lambda root: (root / ".git").mkdir(),
    "a directory": lambda root: (root / "src").mkdir(),
    "almost a store": almost_a_store,
    "another database": lambda root: (root / "index.db").touch(),
}


@pytest.mark.parametrize("put", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("options", [{}, {"create": False}, {"read_only": True}], ids=str)
def test_a_directory_of_something_else_is_refused_and_left_alone(
    tmp_path: Path, put: Callable[[Path], object], options: dict[str, bool]
) -> None:
    put(tmp_path)
    before = tree_of(tmp_path)
    with pytest.raises(IncompatibleStoreError) as raised:
        LocalCasStore(tmp_path, **options)  # type: ignore[arg-type]
    assert raised.value.location == str(tmp_path)
    assert tree_of(tmp_path) == before


def original_blobs(root: Path) -> None:
    (root / "blobs").mkdir()
    (root / "blobs" / f"{HASH}.blob").touch()


ORIGINAL: dict[str, Callable[[Path], object]] = {
    "its index": lambda root: (root / "files_index.json").write_text("{}"),
    "its pins": lambda root: (root / "pins.json").write_text("[]"),
    "its blobs": original_blobs,
}


@pytest.mark.parametrize("put", ORIGINAL.values(), ids=ORIGINAL.keys())
def test_a_store_of_the_original_is_sent_to_adopt(tmp_path: Path, put: Callable[[Path], object]) -> None:
    put(tmp_path)
    before = tree_of(tmp_path)
    with pytest.raises(IncompatibleStoreError, match="distfs adopt"):
        LocalCasStore(tmp_path)
    assert tree_of(tmp_path) == before


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        for options in ({}, {"create": False}, {"read_only": True}):
            with pytest.raises((IncompatibleStoreError, NotFoundError)):
                LocalCasStore(place, **options)  # type: ignore[arg-type]
    with pytest.raises(WorldError):
        LocalCasStore(tmp_path / "dangling", create=False)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("options", [{}, {"create": False}, {"read_only": True}], ids=str)
def test_blobs_without_their_catalog_are_damage_and_no_place_for_a_new_store(
    location: Path, options: dict[str, bool]
) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    for name in ("catalog.db", "catalog.db-wal", "catalog.db-shm"):
        (location / name).unlink(missing_ok=True)
    before = tree_of(location)
    with pytest.raises(CatalogError, match="gone"):
        LocalCasStore(location, **options)  # type: ignore[arg-type]
    assert tree_of(location) == before


def test_a_store_with_its_blobs_gone_opens_and_says_what_is_missing(location: Path) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    shutil.rmtree(location / "blobs")
    with LocalCasStore(location) as store:
        assert store.read_file("small") == SMALL
        missing = store.audit_file_index().missing_file_blob_hashes
        assert missing == (store.hash_bytes(LARGE),)
        with pytest.raises(StorageError):  # their disk may only not be mounted
            store.put_bytes(LARGE)


# --- what is another --------------------------------------------------------------------------


def test_a_store_is_not_opened_by_another_algorithm(location: Path) -> None:
    with pytest.raises(IncompatibleStoreError, match="blake3"):
        LocalCasStore(location, hash_algorithm=HashAlgorithm.SHA256)
    with LocalCasStore(location, hash_algorithm=HashAlgorithm.BLAKE3) as store:
        store.write_file("a", b"x")


@pytest.mark.parametrize("version", [0, 2, 99])
def test_a_store_of_another_format_is_refused_and_left_alone(location: Path, version: int) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    edit(location, f"PRAGMA user_version = {version}")
    before = tree_of(location)
    for open_it in (LocalCasStore, lambda place: LocalCasStore(place, read_only=True), upgrade_store):
        with pytest.raises(IncompatibleStoreError, match=f"format {version}"):
            open_it(location)
    assert tree_of(location) == before


def test_a_database_of_another_program_is_refused(location: Path) -> None:
    (location / "catalog.db").unlink()
    connection = apsw.Connection(str(location / "catalog.db"))
    connection.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    connection.close()
    before = (location / "catalog.db").read_bytes()
    with pytest.raises(IncompatibleStoreError, match="another program"):
        LocalCasStore(location)
    assert (location / "catalog.db").read_bytes() == before


TAMPERED = {
    "a table more": "CREATE TABLE more (x)",
    "a table less": "DROP TABLE settings",
    "an index less": "DROP INDEX leases_by_blob",
    "an index more": "CREATE INDEX more ON pins (checksum)",
    "a view": "CREATE VIEW v AS SELECT 1",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON pins BEGIN DELETE FROM files; END",
    "a trigger under a name like an index's": (
        "CREATE TRIGGER sqlitexautoindex AFTER INSERT ON pins BEGIN DELETE FROM files; END"
    ),
    "a column more": "ALTER TABLE settings ADD COLUMN more TEXT",
    "a table that is a view": "DROP TABLE settings; CREATE VIEW settings AS SELECT 'a' AS name, 'b' AS value",
}


@pytest.mark.parametrize("sql", TAMPERED.values(), ids=TAMPERED.keys())
def test_a_catalog_with_other_tables_is_refused(location: Path, sql: str) -> None:
    edit(location, sql)
    with pytest.raises(CatalogError, match="tables"):
        LocalCasStore(location)


def replaced_by(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


DAMAGED: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(b"no database at all " * 1000),
    "zeros": lambda path: path.write_bytes(bytes(8192)),
    "empty": lambda path: path.write_bytes(b""),
    "cut in its first page": lambda path: os.truncate(path, 3000),
    "cut after its first page": lambda path: os.truncate(path, 4096),
    "a directory": replaced_by(Path.mkdir),
    "a symlink to nowhere": replaced_by(lambda path: path.symlink_to("nowhere")),
    "a fifo": replaced_by(os.mkfifo),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_catalog_is_refused_in_our_words_and_leaks_nothing(
    location: Path, damage: Callable[[Path], object], read_only: bool
) -> None:
    damage(location / "catalog.db")
    gc.collect()
    before = descriptors()
    with pytest.raises((CatalogError, IncompatibleStoreError, StorageError)):
        LocalCasStore(location, read_only=read_only)
    gc.collect()
    assert descriptors() == before


@pytest.mark.parametrize("sql", ["DELETE FROM store", "UPDATE store SET hash_algorithm = 'md5'"])
def test_a_catalog_without_its_first_row_is_damaged(location: Path, sql: str) -> None:
    edit(location, sql)
    with pytest.raises(CatalogError):
        LocalCasStore(location)


@pytest.mark.parametrize(
    "sql", ["DELETE FROM commits", "UPDATE commits SET total_files = 7", "UPDATE commits SET generation = 5"]
)
def test_a_store_whose_state_is_damaged_opens_for_the_audit_and_acknowledges_nothing(
    location: Path, sql: str
) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")
    edit(location, sql)
    with LocalCasStore(location) as store:
        with pytest.raises(CatalogError):
            store.write_file("b", b"x")
        with pytest.raises(CatalogError):
            store.prune_orphan_blobs()
        assert not store.audit_file_index().is_sound()
        assert store.audit_file_index(verify=True).index_damage


def test_an_opening_that_is_refused_leaks_nothing(location: Path) -> None:
    gc.collect()
    before = descriptors()
    for _ in range(3):
        with pytest.raises(IncompatibleStoreError):
            LocalCasStore(location, hash_algorithm=HashAlgorithm.SHA256)
    gc.collect()
    assert descriptors() == before


# --- places that cannot lock ------------------------------------------------------------------

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:20 / /proc rw - proc proc rw
30 22 0:40 / /home rw,relatime shared:5 - nfs4 server:/home rw,vers=4.2
31 30 254:16 / /home/local rw,relatime - xfs /dev/vdb rw
32 22 0:41 / /mnt/with\040space\134and\012more rw - fuse.sshfs me@server: rw
33 22 0:42 / /over rw master:2 propagate_from:1 - overlay overlay rw
34 22 0:43 / /over rw - tmpfs none rw
35 22 0:44 / /homestead rw - btrfs /dev/vdc rw
36 22 0:45 / /vm rw - 9p share rw
""".strip()


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/", "ext4"),
        ("/work", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/world", "nfs4"),
        ("/home/local", "xfs"),
        ("/home/local/deep", "xfs"),
        ("/home/locally", "nfs4"),
        ("/homestead/a", "btrfs"),
        ("/mnt/with space\\and\nmore/world", "fuse.sshfs"),
        ("/over/x", "tmpfs"),
        ("/vm", "9p"),
    ],
)
def test_the_type_is_that_of_the_mount_that_is_seen(directory: str, kind: str) -> None:
    assert find_type(MOUNTS, directory) == kind


def test_no_mounts_are_no_type() -> None:
    assert find_type("", "/world") is None


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "lustre"])
def test_a_network_file_system_is_refused_by_its_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: Path, kind: str
) -> None:
    monkeypatch.setattr(filesystem_kind, "filesystem_type", lambda _: kind)
    for place in (tmp_path / "new", location):
        with pytest.raises(IncompatibleStoreError, match=kind):
            LocalCasStore(place)
    assert not list(tmp_path.glob("new/*"))


def test_locks_are_tried_by_two_processes(tmp_path: Path) -> None:
    assert locks_hold(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_file_system_is_one_to_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem_kind, "filesystem_type", lambda _: "newfs")
    with LocalCasStore(tmp_path / "store") as store:
        store.write_file("a", b"x")
    with LocalCasStore(tmp_path / "store") as store:
        assert store.read_file("a") == b"x"
    assert not list((tmp_path / "store").glob(".*"))


def test_a_file_system_whose_locks_let_others_in_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem_kind, "filesystem_type", lambda _: "newfs")
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    monkeypatch.setattr("fcntl.lockf", lambda *_: None)
    with pytest.raises(IncompatibleStoreError, match="newfs"):
        LocalCasStore(tmp_path / "store")


def test_what_a_dead_process_left_of_trying_locks_is_nothing_foreign(tmp_path: Path) -> None:
    (tmp_path / ".lock-probe-abc").touch()
    with LocalCasStore(tmp_path) as store:
        store.write_file("a", b"x")


# --- read-only --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", READS.values(), ids=READS.keys())
def test_a_store_that_is_only_read_gives_all_there_is(location: Path, call: Call) -> None:
    with LocalCasStore(location) as store:
        fill(store)
        expected = call(store)
    before = tree_of(location)
    with LocalCasStore(location, read_only=True) as store:
        assert call(store) == expected
    assert tree_of(location) == before


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES.keys())
def test_a_store_that_is_only_read_is_not_changed(location: Path, call: Call) -> None:
    with LocalCasStore(location) as store:
        fill(store)
    # A dead session, which a writer would tidy.
    (location / "tmp" / "0011223344556677").mkdir()
    (location / "tmp" / "0011223344556677" / "0").write_bytes(b"left")
    (location / "tmp" / "0011223344556677.lock").touch()
    before = tree_of(location)
    with LocalCasStore(location, read_only=True) as store, pytest.raises(StorageReadOnlyError):
        call(store)
    assert tree_of(location) == before


@pytest.mark.parametrize("call", EXCHANGES.values(), ids=EXCHANGES.keys())
def test_a_store_that_is_only_read_takes_nothing_over(
    location: Path, call: Callable[[LocalCasStore, FileIndexManifestRef], object]
) -> None:
    with LocalCasStore(location) as store:
        ref = fill(store)
        for number in range(100):
            store.write_file(f"{number}" + "x" * 100, b"more than fits a row")
    before = tree_of(location)
    with LocalCasStore(location, read_only=True) as store, pytest.raises(StorageReadOnlyError):
        call(store, ref)
    assert tree_of(location) == before


def test_nothing_to_collect_is_no_leave_to_collect(location: Path) -> None:
    with LocalCasStore(location, read_only=True) as store, pytest.raises(StorageReadOnlyError):
        store.prune_orphan_blobs()


def test_a_reader_sees_what_a_writer_writes_meanwhile(location: Path) -> None:
    with LocalCasStore(location) as writer, LocalCasStore(location, read_only=True) as reader:
        for number in range(5):
            writer.write_file("a", bytes([number]))
            assert reader.read_file("a") == bytes([number])


def read_only_disk(make_disk: MakeDisk, prepare: Callable[[Path], None]) -> Path:
    """A disk that cannot be written any more, after it was prepared."""
    disk = make_disk(8 << 20)
    prepare(disk)
    done = subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True, check=False)
    if done.returncode:
        cannot_run("the small file system cannot be made read-only")
    return disk / "store"


def closed_store(disk: Path) -> None:
    with LocalCasStore(disk / "store") as store:
        fill(store)


def test_a_place_that_cannot_be_written_is_read_if_the_log_is_empty(make_disk: MakeDisk) -> None:
    place = read_only_disk(make_disk, closed_store)
    for _ in range(2):
        with LocalCasStore(place, read_only=True) as store:
            assert store.read_file("large") == LARGE
            assert store.audit_file_index(verify=True).is_sound()
            with pytest.raises(StorageReadOnlyError):
                store.write_file("a", b"x")


def test_a_place_that_cannot_be_written_is_read_whatever_its_file_system_is(
    make_disk: MakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Such as squashfs or iso9660: nothing can be tried there, and nobody writes there.
    place = read_only_disk(make_disk, closed_store)
    monkeypatch.setattr(filesystem_kind, "filesystem_type", lambda _: "squashfs")
    with LocalCasStore(place, read_only=True) as store:
        assert store.read_file("large") == LARGE


def test_a_place_that_cannot_be_written_is_not_read_past_a_log(make_disk: MakeDisk, start: Start) -> None:
    def killed_writer(disk: Path) -> None:
        writer = start(
            "store = LocalCasStore(location)\nstore.write_file('a', b'x')\nsay('written')\nhear()",
            disk / "store",
        )
        writer.hear()
        writer.kill()

    place = read_only_disk(make_disk, killed_writer)
    with pytest.raises(UnavailableError, match="writable"):
        LocalCasStore(place, read_only=True)


def test_a_place_that_cannot_be_written_is_refused_to_writers(make_disk: MakeDisk) -> None:
    place = read_only_disk(make_disk, closed_store)
    before = descriptors()
    try:
        with LocalCasStore(place) as store:
            with pytest.raises(StorageReadOnlyError):
                store.write_file("a", LARGE)
            assert store.read_file("small") == SMALL
    except StorageError:
        pass
    gc.collect()
    assert descriptors() == before
    with pytest.raises(StorageReadOnlyError):
        LocalCasStore(place.parent / "new")


# --- closed -----------------------------------------------------------------------------------


def test_a_closed_store_refuses_everything_and_leaves_no_trace(location: Path) -> None:
    store = LocalCasStore(location)
    ref = fill(store)
    store.close()
    before = tree_of(location)
    for call in [*READS.values(), *WRITES.values()]:
        with pytest.raises(StoreClosedError):
            call(store)
    for exchange in EXCHANGES.values():
        with pytest.raises(StoreClosedError):
            exchange(store, ref)
    assert tree_of(location) == before
    store.close()
    with pytest.raises(StoreClosedError), store:
        store.read_file("small")


def test_closing_gives_everything_back(location: Path) -> None:
    gc.collect()
    before = descriptors()
    for _ in range(3):
        with LocalCasStore(location) as store:
            fill(store)
            list(store.iter_files())
            store.audit_file_index(verify=True)
            store.prune_orphan_blobs()
        assert descriptors() == before
    assert os.listdir(location / "tmp") == []
    assert not (location / "catalog.db-wal").exists()


def test_a_store_that_nobody_closes_is_given_back_when_it_is_forgotten(location: Path) -> None:
    gc.collect()
    before = descriptors()
    for _ in range(5):
        store = LocalCasStore(location)
        fill(store)
        del store
        gc.collect()
    assert descriptors() == before
    with LocalCasStore(location):
        assert [name for name in os.listdir(location / "tmp") if not name.endswith(".lock")] == []


def use_until_it_is_closed(store: LocalCasStore, name: str, started: Barrier) -> None:
    started.wait()
    for number in range(100_000):
        store.write_file(name, LARGE + bytes([number % 256]))
        store.read_file(name)
        store.put_bytes(name.encode())


def test_a_store_is_closed_while_others_use_it(location: Path) -> None:
    for _ in range(5):
        store, started = LocalCasStore(location), Barrier(5)
        with ThreadPoolExecutor(4) as pool:
            users = [pool.submit(use_until_it_is_closed, store, name, started) for name in "abcd"]
            started.wait()
            while not store.list_files():
                pass
            store.close()
        assert [type(user.exception()) for user in users] == [StoreClosedError] * 4
        assert not [name for name in descriptors() if str(location) in name]
    with LocalCasStore(location) as again:
        assert os.listdir(location / "tmp") == []
        assert again.audit_file_index(verify=True).is_sound()


# --- pickling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_store_pickles_as_its_location_and_options(location: Path, protocol: int) -> None:
    with LocalCasStore(location, durability="relaxed", lock_timeout_s=7) as store:
        store.write_file("a", LARGE)
        with pickle.loads(pickle.dumps(store, protocol)) as again:
            assert type(again) is LocalCasStore
            assert again is not store
            assert again.location == store.location
            assert again.read_file("a") == LARGE
            again.write_file("b", b"x")
            assert pickle.dumps(again, protocol) == pickle.dumps(store, protocol)
        assert store.read_file("b") == b"x"


def test_a_store_that_is_only_read_stays_so_when_pickled(location: Path) -> None:
    with LocalCasStore(location, read_only=True) as store:
        pickled = pickle.dumps(store)
    with pickle.loads(pickled) as again, pytest.raises(StorageReadOnlyError):
        again.write_file("a", b"x")


def test_a_store_goes_to_another_process(location: Path) -> None:
    program = "import pickle, sys; pickle.load(sys.stdin.buffer).write_file('child', b'x')"
    with LocalCasStore(location) as store:
        subprocess.run([sys.executable, "-c", program], input=pickle.dumps(store), check=True)
        assert store.read_file("child") == b"x"


# --- sealed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("call", WRITES.values(), ids=WRITES.keys())
def test_a_store_that_has_moved_says_where_to_and_is_not_changed(location: Path, call: Call) -> None:
    with LocalCasStore(location) as store:
        fill(store)
        seal(location, "postgresql://elsewhere/world")  # while it is open
        before = store.list_files(), store.list_pins(), store.audit_file_index().orphan_blob_hashes
        with pytest.raises(StoreMovedError) as raised:
            call(store)
        assert raised.value.location == "postgresql://elsewhere/world"
        assert isinstance(raised.value, IncompatibleStoreError)
        after = store.list_files(), store.list_pins()
        assert after == before[:2]


@pytest.mark.parametrize("call", READS.values(), ids=READS.keys())
def test_a_store_that_has_moved_can_still_be_read(location: Path, call: Call) -> None:
    with LocalCasStore(location) as store:
        fill(store)
        expected = call(store)
    seal(location, "/elsewhere")
    with LocalCasStore(location) as store:
        assert call(store) == expected


def test_a_store_that_has_moved_opens_although_a_dead_process_left_a_lease(
    location: Path, start: Start
) -> None:
    child = start(
        """
        from agent_world_distfs.engine.leases import Lease
        store = LocalCasStore(location)
        lease = Lease(store._catalog, store._files)
        import io
        lease.put_stream(io.BytesIO(b"leased"))
        say("leased")
        hear()
        """,
        location,
    )
    child.hear()
    child.kill()
    seal(location, "/elsewhere")
    with LocalCasStore(location) as store:
        assert store.list_files() == []
        with pytest.raises(StoreMovedError):
            store.write_file("a", b"x")


# --- upgrading --------------------------------------------------------------------------------


def test_a_store_of_this_format_needs_no_upgrade(location: Path) -> None:
    report = upgrade_store(location)
    assert report.format_before == report.format_after == 1
    with LocalCasStore(location) as store:
        store.write_file("a", b"x")


def test_a_store_that_somebody_has_open_is_not_upgraded(location: Path, start: Start) -> None:
    with LocalCasStore(location), pytest.raises(UnavailableError, match="open"):
        upgrade_store(location)
    child = start("store = LocalCasStore(location)\nsay('open')\nhear()", location)
    child.hear()
    with pytest.raises(UnavailableError, match="open"):
        upgrade_store(location)
    child.kill()
    upgrade_store(location)


def test_where_there_is_no_store_nothing_is_upgraded(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        upgrade_store(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_the_catalog_says_what_it_is(location: Path) -> None:
    header = (location / "catalog.db").read_bytes()[:100]
    assert int.from_bytes(header[68:72]) == APPLICATION_ID
    assert int.from_bytes(header[60:64]) == 1
