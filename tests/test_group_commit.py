"""Threads that write at the same time share a commit; what each is told is its own, and true."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from agent_world_distfs import (
    ABSENT,
    FileConflictError,
    LocalCasStore,
    PathNotFoundError,
    StorageFullError,
    TransactionConflictError,
)
from agent_world_distfs.catalog.commit_queue import MAX_MEMBERS
from agent_world_distfs.catalog.sqlite import SqliteCatalog
from agent_world_distfs.local import catalog_of
from children import MakeDisk, Start, require_strace
from crowds import Crowd, wait_until


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The transactions that were committed, one for each COMMIT."""
    seen: list[str] = []
    honest = SqliteCatalog._commit

    def commit(self: SqliteCatalog, connection: apsw.Connection, transaction_id: str) -> None:
        seen.append(transaction_id)
        honest(self, connection, transaction_id)

    monkeypatch.setattr(SqliteCatalog, "_commit", commit)
    return seen


# --- one commit for many ----------------------------------------------------------------------


def test_all_who_wait_share_one_commit(store: LocalCasStore, crowd: Crowd, commits: list[str]) -> None:
    writing = [crowd.add(partial(store.write_file, f"{n}", b"%d" % n)) for n in range(20)]
    crowd.go_on()
    for number, future in enumerate(writing):
        assert future.result() == store.stat_file(f"{number}")
    assert len(commits) == 1
    assert store.audit_file_index(verify=True).is_sound()


def test_a_group_has_an_end(store: LocalCasStore, crowd: Crowd, commits: list[str]) -> None:
    writing = [crowd.add(partial(store.write_file, f"{n}", b"")) for n in range(MAX_MEMBERS + 10)]
    crowd.go_on()
    for future in writing:
        future.result()
    assert 2 <= len(commits) < MAX_MEMBERS
    assert len(store.list_files()) == MAX_MEMBERS + 11


def test_each_change_is_a_transaction_of_its_own(store: LocalCasStore, crowd: Crowd) -> None:
    last = store.last_seq()

    def change(number: int) -> tuple[str, int]:
        with store.transaction(actor=f"actor {number}") as tx:
            tx.write_file(f"{number}/a", b"a")
            tx.write_file(f"{number}/b", b"b%d" % number)
        return str(tx.transaction_id), int(tx.sequence or 0)

    changing = [crowd.add(partial(change, n)) for n in range(9)]
    crowd.go_on()
    told = [future.result() for future in changing]
    assert [sequence for _, sequence in told] == list(range(last + 1, last + 10))
    found = list(store.changes(since=last))
    for number, (transaction_id, sequence) in enumerate(told):
        assert store.was_committed(transaction_id)
        changes = [change for change in found if change.seq == sequence]
        assert [change.path for change in changes] == [f"{number}/a", f"{number}/b"]
        assert {change.actor for change in changes} == {f"actor {number}"}
        assert {change.transaction_id for change in changes} == {transaction_id}


def test_later_ones_see_what_earlier_ones_did(store: LocalCasStore, crowd: Crowd) -> None:
    steps: list[Callable[[], object]] = [
        lambda: store.write_file_if_match("n", ABSENT, b"0"),
        lambda: store.write_file_if_match("n", store.hash_bytes(b"0"), b"1"),
        lambda: store.rename_file("n", "m"),
        lambda: store.delete_file("n"),
        lambda: store.delete_file("m"),
        lambda: store.write_file_if_match("m", ABSENT, b"2"),
    ]
    stepping = [crowd.add(step) for step in steps]
    crowd.go_on()
    results = [future.result() for future in stepping]
    assert results[3:5] == [False, True]
    assert store.read_file("m") == b"2"


# --- to each its own --------------------------------------------------------------------------


def test_who_conflicts_is_told_and_the_others_go_on(
    store: LocalCasStore, crowd: Crowd, commits: list[str]
) -> None:
    works: list[Callable[[], object]] = []
    for number in range(12):
        if number % 3:
            works.append(partial(store.write_file, f"{number}", b"%d" % number))
        else:  # the bytes are stored before the condition is looked at: they go again
            works.append(partial(store.write_file_if_match, "first", "0" * 64, b"conflict %d" % number))
    working = [crowd.add(work) for work in works]
    crowd.go_on()
    for number, future in enumerate(working):
        if number % 3:
            future.result()
        else:
            with pytest.raises(FileConflictError) as raised:
                future.result()
            assert raised.value.actual == store.stat_file("first")
            assert not store.has(store.hash_bytes(b"conflict %d" % number))
    assert len(commits) == 1
    assert len(store.list_files()) == 9
    assert store.audit_file_index(verify=True).is_clean()


def test_errors_of_all_kinds_go_to_whom_they_belong(store: LocalCasStore, crowd: Crowd) -> None:
    class OwnError(BaseException):
        pass

    def fail(tx: Any) -> None:
        tx.add_blob("a" * 64, 1, b"x")
        raise OwnError

    failing = [crowd.add(lambda: catalog_of(store).write(fail)) for _ in range(2)]
    missing = crowd.add(lambda: store.copy_file("missing", "b"))
    written = crowd.add(lambda: store.write_file("a", b"a"))
    crowd.go_on()
    assert [type(future.exception()) for future in failing] == [OwnError, OwnError]
    assert isinstance(missing.exception(), PathNotFoundError)
    assert written.result() == store.stat_file("a")
    assert store.audit_file_index(verify=True).is_clean()


def test_a_group_that_changes_nothing_commits_nothing(
    store: LocalCasStore, crowd: Crowd, commits: list[str]
) -> None:
    deleting = [crowd.add(lambda: store.delete_file("missing")) for _ in range(5)]
    crowd.go_on()
    assert [future.result() for future in deleting] == [False] * 5
    assert commits == []


def test_nobody_is_told_of_what_a_neighbour_did_that_was_then_undone(
    store: LocalCasStore, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit of all finds the disk full. Alone, each finds what is true then."""
    honest, refused = SqliteCatalog._commit, list[str]()

    def commit(self: SqliteCatalog, connection: apsw.Connection, transaction_id: str) -> None:
        if not refused:
            refused.append(transaction_id)
            raise apsw.FullError
        if store.stat_file("second") is None and len(refused) == 1:
            refused.append(transaction_id)  # the first of them has no luck again
            raise apsw.FullError
        honest(self, connection, transaction_id)

    writing = crowd.add(lambda: store.write_file("first", b"2"))
    resting = crowd.add(lambda: store.write_file_if_match("first", store.hash_bytes(b"1"), b"3"))
    monkeypatch.setattr(SqliteCatalog, "_commit", commit)
    crowd.go_on()
    outcomes = [future.exception() for future in (writing, resting)]
    assert len(refused) == 2
    full = [isinstance(outcome, StorageFullError) for outcome in outcomes]
    assert full.count(True) == 1
    assert outcomes[full.index(False)] is None  # and no conflict with what never was
    assert store.read_file("first") == (b"3" if full[0] else b"2")


def test_a_transaction_whose_group_was_undone_is_checked_again(
    store: LocalCasStore, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its neighbours' transactions had numbers that others' have by the time when it is made again.
    other = LocalCasStore(store.location)

    def add_one() -> None:
        with store.transaction() as tx:
            tx.write_file("first", tx.read_file("first") + b", and mine")

    tries: list[None] = []

    def fill_the_disk_once(_: object) -> None:
        tries.append(None)
        if len(tries) == 1:
            raise apsw.FullError

    honest, theirs = SqliteCatalog._leave, list[Future[Any]]()
    gate, pool = catalog_of(other)._gate, ThreadPoolExecutor(1)

    def leave(self: SqliteCatalog) -> None:
        if self is catalog_of(store) and tries and not theirs:
            theirs.append(pool.submit(other.write_file, "first", b"theirs"))
            wait_until(lambda: gate._gate._claim is not None)  # it has the gate before the group comes again
        honest(self)

    monkeypatch.setattr(SqliteCatalog, "_leave", leave)
    neighbour = crowd.add(partial(store.write_file, "neighbour", b""))
    adding = crowd.add(add_one)
    failing = crowd.add(partial(catalog_of(store).write, fill_the_disk_once))
    crowd.go_on()
    neighbour.result(), failing.result(), theirs[0].result()
    assert isinstance(adding.exception(), TransactionConflictError)
    assert store.read_file("first") == b"theirs"
    pool.shutdown()
    other.close()


def test_on_a_full_disk_each_is_told_of_its_own(make_disk: MakeDisk) -> None:
    location = make_disk(4 << 20) / "store"
    written: dict[str, bytes] = {}

    def fill(name: int) -> int:
        refused = 0
        for number in range(200):
            path, data = f"{name}/{number}", os.urandom(7_000 >> refused)
            try:
                store.write_file_if_match(path, ABSENT, data)
            except StorageFullError:
                refused += 1
                if refused == 12:
                    break
            else:
                written[path] = data
        return refused

    with LocalCasStore(location) as store:
        with ThreadPoolExecutor(8) as pool:
            refused = list(pool.map(fill, range(8)))
        assert sum(refused) > 0
        assert {file.path: store.read_file(file.path) for file in store.iter_files()} == written
        for path in list(written)[:50]:
            assert store.delete_file(path)
        store.prune_orphan_blobs()
        store.write_file("again", b"again" * 500)
        assert store.audit_file_index(verify=True).is_clean()


def test_an_unknown_outcome_is_told_to_each_with_its_own_id(location: Path, start: Start) -> None:
    require_strace()
    child = start(
        """
        from agent_world_distfs.catalog import commit_queue
        commit_queue.MAX_S = 60.0  # they are to share one commit, however slow tracing is
        store = LocalCasStore(location)
        held, go_on = threading.Event(), threading.Event()
        def hold(tx):
            held.set()
            go_on.wait()
        def work(number):
            try:
                if number % 2:
                    store.write_file(f"{number}", b"%d" % number)
                else:
                    store.write_file_if_match(f"{number - 1}", ABSENT, b"another")
                say(number, "written")
            except OutcomeUnknownError as error:
                say(number, error.transaction_id)
            except FileConflictError:
                say(number, "conflict")
        holder = threading.Thread(target=store._catalog.write_lazily, args=(hold,))
        holder.start()
        held.wait()
        threads = []
        for number in range(1, 9):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            while len(store._catalog._queue.line) < number:
                time.sleep(0.001)
        say(threads[0].native_id)
        hear()
        go_on.set()
        for thread in threads:
            thread.join()
        say("done")
        hear()
        """,
        location,
    )
    leader = int(child.hear())
    what = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1"]
    tracer = subprocess.Popen(["strace", "-q", "-o", os.devnull, *what, "-p", str(leader)])
    wait_until(lambda: "TracerPid:\t0\n" not in Path(f"/proc/{leader}/status").read_text())
    told: dict[int, str] = {}
    child.tell()
    while (line := child.hear()) != "done":
        word, said = line.split()
        told[int(word)] = said
    tracer.wait()
    with LocalCasStore(location) as store:
        unknown = {number: said for number, said in told.items() if "-" in said}
        assert sorted(unknown) == [1, 3, 5, 7]
        assert len(set(unknown.values())) == 4
        for number, transaction_id in unknown.items():
            found = store.read_file(f"{number}") if store.stat_file(f"{number}") else None
            has_held = store.was_committed(transaction_id)
            assert has_held is (found == b"%d" % number)
            assert told[number + 1] == ("conflict" if has_held else "written")
        assert store.audit_file_index(verify=True).is_sound()


# --- acknowledged -----------------------------------------------------------------------------


def test_what_was_acknowledged_survives_a_kill(location: Path, start: Start) -> None:
    child = start(
        """
        store = LocalCasStore(location)
        def work(name):
            for number in range(1_000_000):
                times = 1 + number % 50 // 49 * 2000
                store.write_file(f"{name}/{number}", f"{name} {number}".encode() * times)
                say(name, number)
        for name in range(16):
            threading.Thread(target=work, args=(name,), daemon=True).start()
        hear()
        """,
        location,
    )
    told: dict[str, int] = {}
    for _ in range(1_500):
        name, word = child.hear().split()
        told[name] = int(word)
    child.kill()
    with LocalCasStore(location) as store:
        for name, last in told.items():
            for number in range(last + 1):
                data = f"{name} {number}".encode() * (1 + number % 50 // 49 * 2000)
                assert store.read_file(f"{name}/{number}") == data
        assert store.audit_file_index(verify=True).is_sound()
