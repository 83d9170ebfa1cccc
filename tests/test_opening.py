"""Opening: eager, never guessing, whole again after a crash; forks, closing, pickling."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import apsw
import pytest

from agent_world_distfs import (
    CatalogError,
    FileConflictError,
    HashAlgorithm,
    IncompatibleStoreError,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    StorageReadOnlyError,
    StoreBusyError,
    StoreClosedError,
    StoreMovedError,
    UnavailableError,
    upgrade_store,
)
from agent_world_distfs.filesystem_kind import find_type, locks_hold
from children import Start


def test_a_missing_store_is_made_or_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        LocalCasStore(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    with LocalCasStore(tmp_path / "deep" / "down") as store:
        assert store.hash_algorithm is HashAlgorithm.BLAKE3
        assert store.list_files() == []


def test_a_directory_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    for create in (True, False):
        with pytest.raises((IncompatibleStoreError, NotFoundError)):
            LocalCasStore(tmp_path, create=create)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(IncompatibleStoreError):
        LocalCasStore(tmp_path / "letter.txt")


def test_the_originals_directory_is_refused_naming_adopt(tmp_path: Path) -> None:
    (tmp_path / "files_index.json").write_text("{}")
    with pytest.raises(IncompatibleStoreError, match="distfs adopt"):
        LocalCasStore(tmp_path)


def test_another_algorithm_is_refused(location: Path) -> None:
    with pytest.raises(IncompatibleStoreError, match="blake3"):
        LocalCasStore(location, hash_algorithm=HashAlgorithm.SHA256)


def test_blobs_without_their_catalog_are_no_new_store(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"a" * 20_000)
    for name in ("catalog.db", "catalog.db-wal", "catalog.db-shm"):
        (location / name).unlink(missing_ok=True)
    with pytest.raises(CatalogError, match="gone"):
        LocalCasStore(location)


def change(location: Path, *statements: str) -> None:
    connection = apsw.Connection(str(location / "catalog.db"))
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("PRAGMA user_version = 2", IncompatibleStoreError),
        ("PRAGMA application_id = 7", IncompatibleStoreError),
        ("CREATE TABLE more (x)", CatalogError),
        ("CREATE TRIGGER t AFTER DELETE ON files BEGIN DELETE FROM pins; END", CatalogError),
        ("DROP INDEX files_by_blob", CatalogError),
        ("DELETE FROM store", CatalogError),
    ],
)
def test_a_catalog_of_another_shape_is_refused(
    location: Path, statement: str, error: type[Exception]
) -> None:
    change(location, statement)
    with pytest.raises(error):
        LocalCasStore(location)


def test_bytes_that_are_no_database_are_refused(location: Path) -> None:
    (location / "catalog.db").write_bytes(b"something else" * 1000)
    with pytest.raises(CatalogError):
        LocalCasStore(location)


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


def test_a_store_that_moved_says_where_to(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.write_file("a", b"a")

        def seal(tx: object) -> None:
            tx._state.moved_to = "postgresql://elsewhere"  # type: ignore[attr-defined]
            tx.mark_epoch()  # type: ignore[attr-defined]

        store._catalog.write(seal)
        with pytest.raises(StoreMovedError) as raised:
            store.write_file("a", b"b")
        assert raised.value.location == "postgresql://elsewhere"
        assert store.read_file("a") == b"a"


def test_read_only_reads_beside_a_writer_and_refuses_to_write(location: Path) -> None:
    with LocalCasStore(location) as writer, LocalCasStore(location, read_only=True) as reader:
        writer.write_file("a", b"1")
        assert reader.read_file("a") == b"1"
        for write in (
            lambda: reader.write_file("a", b"2"),
            lambda: reader.delete_file("a"),
            reader.prune_orphan_blobs,
        ):
            with pytest.raises(StorageReadOnlyError):
                write()
        assert reader.audit_file_index().is_clean()


def test_a_closed_store_says_so_and_its_readers_go_on(location: Path) -> None:
    store = LocalCasStore(location)
    store.write_file("a", b"a" * 20_000)
    reader = store.open_file("a")
    store.close()
    store.close()
    for call in (lambda: store.read_file("a"), lambda: store.write_file("a", b""), store.list_files):
        with pytest.raises(StoreClosedError):
            call()
    with reader:
        assert reader.read() == b"a" * 20_000


def test_a_store_pickles_as_its_location_and_options(location: Path) -> None:
    with LocalCasStore(location, lock_timeout_s=3) as store:
        store.write_file("a", b"a")
        with pickle.loads(pickle.dumps(store)) as copy:
            assert copy.read_file("a") == b"a"
            assert copy._options == store._options


def test_an_upgrade_is_refused_while_somebody_has_the_store_open(location: Path) -> None:
    with LocalCasStore(location), pytest.raises(UnavailableError):
        upgrade_store(location)
    report = upgrade_store(location)
    assert (report.format_before, report.format_after) == (1, 1)


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        LocalCasStore(tmp_path / "s", durability="some")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        LocalCasStore(tmp_path / "s", hash_algorithm="blake3")  # type: ignore[arg-type]
    assert not (tmp_path / "s").exists()


def test_a_writer_that_waits_too_long_is_told_and_then_served(location: Path) -> None:
    with LocalCasStore(location) as holder, LocalCasStore(location, lock_timeout_s=0.2) as waiter:
        with pytest.raises(StoreBusyError) as raised:
            holder._catalog.write(lambda _: waiter.write_file("a", b"a"))
        assert raised.value.timeout_s == 0.2
        assert isinstance(raised.value, TimeoutError)
        waiter.write_file("a", b"a")
        holder.write_file("b", b"b")


def test_an_error_that_is_kept_keeps_no_snapshot(location: Path) -> None:
    """Its traceback holds everything that was in use; the next write and read start anew all the same."""
    with LocalCasStore(location) as store, LocalCasStore(location) as other:
        kept = []
        for number in range(3):
            other.write_file("a", b"%d" % number)
            with pytest.raises(FileConflictError) as raised:
                store.write_file_if_match("a", "0" * 64, b"x")
            kept.append(raised)
            other.write_file("a", b"%d!" % number)
            assert store.read_file("a") == b"%d!" % number
            store.write_file("b", b"b")


def test_a_lock_holder_that_dies_lets_go_at_once(location: Path, start: Start) -> None:
    holder = start(
        """
        store = LocalCasStore(location)
        def hold(tx):
            say("held")
            hear()
        store._catalog.write(hold)
        """,
        location,
    )
    assert holder.hear() == "held"
    with LocalCasStore(location, lock_timeout_s=0.2) as store:
        with pytest.raises(StoreBusyError):
            store.write_file("a", b"a")
        holder.kill()
        store.write_file("a", b"a")


def test_threads_share_one_store(store: LocalCasStore) -> None:
    store.write_file("counter", b"0")

    def count() -> None:
        for _ in range(25):
            while True:
                meta, data = store.read_file_with_metadata("counter")
                try:
                    store.write_file_if_match("counter", meta.content_hash, b"%d" % (int(data) + 1))
                    break
                except FileConflictError:
                    continue

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read_file("counter") == b"200"


# --- forks --------------------------------------------------------------------------------------


def test_both_sides_of_a_fork_go_on(location: Path, start: Start) -> None:
    child = start(
        """
        store = LocalCasStore(location)
        store.write_file("large", b"l" * 20000)
        pid = os.fork()
        side = "parent" if pid else "child"
        for number in range(50):
            store.write_file(f"{side}/{number}", side.encode() * (1 if number % 5 else 5000))
        assert store.read_file("large") == b"l" * 20000
        if pid:
            _, status = os.waitpid(pid, 0)
            store.close()
            say(status)
        else:
            store.close()
            os._exit(0)
        """,
        location,
    )
    assert child.hear() == "0"
    with LocalCasStore(location) as store:
        assert len(store.list_files()) == 101
        assert store.audit_file_index(verify=True).is_sound()


def test_a_fork_beside_a_thread_with_the_lock_waits_and_its_child_blocks_nobody(
    location: Path, start: Start
) -> None:
    parent = start(
        """
        store = LocalCasStore(location)
        store.write_file("large", b"l" * 20000)   # begins a session, whose lock must not outlive this process
        entered, go_on = threading.Event(), threading.Event()
        def hold(tx):
            entered.set()
            go_on.wait()
            tx.mark_epoch()
        threading.Thread(target=lambda: store._catalog.write(hold)).start()
        entered.wait()
        threading.Timer(0.2, go_on.set).start()
        pid = os.fork()
        if pid == 0:
            say(os.getpid())
            hear()
            os._exit(0)
        time.sleep(60)
        """,
        location,
    )
    child_pid = int(parent.hear())
    parent.kill()
    with LocalCasStore(location, lock_timeout_s=2) as store:
        store.write_file("a", b"a")
        assert list((location / "tmp").iterdir()) == []
        store.prune_orphan_blobs()
    os.kill(child_pid, 9)


def test_a_fork_behind_the_stores_back_is_noticed(location: Path, start: Start) -> None:
    child = start(
        """
        import ctypes
        store = LocalCasStore(location)
        store.write_file("a", b"a")
        pid = ctypes.CDLL(None).fork()
        if pid == 0:
            for call in (lambda: store.read_file("a"), lambda: store.write_file("a", b"b")):
                try:
                    call()
                except ForkedStoreError:
                    say("refused")
            os._exit(0)
        os.waitpid(pid, 0)
        store.write_file("a", b"c")
        say("done")
        """,
        location,
    )
    assert [child.hear() for _ in range(3)] == ["refused", "refused", "done"]


# --- file systems -------------------------------------------------------------------------------

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:50 / /mnt/share rw - nfs4 server:/x rw
31 22 0:51 / /mnt/with\\040space rw - tmpfs none rw
32 30 0:52 / /mnt/share/local rw - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/home", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/x/y", "nfs4"),
        ("/mnt/shared", "ext4"),
        ("/mnt/with space/x", "tmpfs"),
        ("/mnt/share/local/x", "xfs"),
    ],
)
def test_a_file_systems_type_is_that_of_the_longest_mount_above(directory: str, kind: str) -> None:
    assert find_type(MOUNTS, directory) == kind


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_world_distfs.filesystem_kind.filesystem_type", lambda _: "nfs4")
    with pytest.raises(IncompatibleStoreError, match="network file system"):
        LocalCasStore(tmp_path / "store")


def test_the_probe_by_two_processes_finds_locks_that_hold(tmp_path: Path) -> None:
    assert locks_hold(str(tmp_path))
