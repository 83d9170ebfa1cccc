"""update_file: read, change, write again until it holds; nobody starves, nobody is deadlocked."""

from __future__ import annotations

import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from agent_world_distfs import (
    ABSENT,
    Absent,
    FileConflictError,
    InvalidInputError,
    LocalCasStore,
    OutcomeUnknownError,
    Retry,
    StorageReadOnlyError,
    StoreBusyError,
)
from agent_world_distfs.engine import retrying
from behind import log_of
from calls import LARGE, SMALL
from children import Start


def increment(content: bytes | None) -> bytes:
    return str(int(content or b"0") + 1).encode()


# --- what it does ------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_an_update_makes_a_file_changes_it_and_deletes_it(store: LocalCasStore, data: bytes) -> None:
    seen: list[bytes | None] = []

    def to(wanted: bytes | Absent) -> object:
        def change(content: bytes | None) -> bytes | Absent:
            seen.append(content)
            return wanted

        return store.update_file("./a//b", change)

    assert to(data) == store.stat_file("a/b")
    assert to(data + b"!") == store.stat_file("a/b")
    assert store.read_file("a/b") == data + b"!"
    assert to(ABSENT) is None
    assert store.stat_file("a/b") is None
    assert seen == [None, data, data + b"!"]


def test_the_same_bytes_write_nothing_and_neither_does_no_file_where_there_is_none(
    store: LocalCasStore,
) -> None:
    written = store.write_file("a", b"a")
    before = log_of(store)
    assert store.update_file("a", lambda content: bytearray(content or b"")) == written
    assert store.update_file("missing", lambda _: ABSENT) is None
    assert log_of(store) == before


def test_what_an_update_returns_is_there_although_others_wrote_the_same_bytes_meanwhile(
    store: LocalCasStore,
) -> None:
    written = store.write_file("a", b"a")

    def change(content: bytes | None) -> bytes:
        while store.write_file("a", b"a") == written:
            time.sleep(0.001)
        return content or b""

    returned = store.update_file("a", change)
    assert returned == store.stat_file("a") != written


def test_a_forgotten_return_does_not_delete(store: LocalCasStore) -> None:
    store.write_file("a", b"a")
    with pytest.raises(TypeError, match="None"):
        store.update_file("a", lambda _: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError):
        store.update_file("a", lambda _: "text")  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError):
        store.update_file("a", lambda _: b"", retry=3)  # type: ignore[arg-type]
    assert store.read_file("a") == b"a"


@pytest.mark.parametrize(
    "wrong",
    [
        Retry(-1),
        Retry(float("nan")),
        Retry(10**400),
        Retry(1, -1),
        Retry(base_s=10**400),
        Retry(cap_s=float("nan")),
    ],
    ids=lambda retry: repr(retry)[:60],
)
def test_a_retry_that_no_clock_can_follow_is_refused(store: LocalCasStore, wrong: Retry) -> None:
    with pytest.raises(InvalidInputError):
        store.update_file("a", lambda _: b"", retry=wrong)
    with pytest.raises(InvalidInputError):
        store.run_transaction(lambda _: None, retry=wrong)
    with pytest.raises(TypeError):
        store.update_file("a", lambda _: b"", retry=Retry("1"))  # type: ignore[arg-type]
    assert store.list_files() == []


def test_errors_of_the_change_pass_through_untouched(store: LocalCasStore) -> None:
    for error in (KeyError("mine"), FileConflictError("a", ABSENT, None)):

        def fail(_: bytes | None, error: Exception = error) -> bytes:
            raise error

        with pytest.raises(type(error)) as raised:
            store.update_file("a", fail)
        assert raised.value is error
    assert store.list_files() == []


def test_an_update_that_lost_is_made_again_from_what_is_there_now(store: LocalCasStore) -> None:
    seen: list[bytes | None] = []

    def change(content: bytes | None) -> bytes:
        seen.append(content)
        if len(seen) < 4:
            store.write_file("a", b"%d" % len(seen))
        return (content or b"") + b"!"

    store.update_file("a", change)
    assert seen == [None, b"1", b"2", b"3"]
    assert store.read_file("a") == b"3!"


def test_an_update_gives_up_after_so_many_attempts_and_after_so_long(store: LocalCasStore) -> None:
    seen: list[bytes | None] = []

    def always_late(content: bytes | None) -> bytes:
        seen.append(content)
        store.write_file("a", b"%d" % len(seen))
        return b"never"

    with pytest.raises(FileConflictError) as raised:
        store.update_file("a", always_late, retry=Retry(max_attempts=3))
    assert raised.value.actual == store.stat_file("a")
    assert len(seen) == 3
    with pytest.raises(FileConflictError):
        store.update_file("a", always_late, retry=Retry(deadline_s=0))
    assert len(seen) == 4


def test_a_nested_update_of_the_same_path_is_refused_and_one_of_another_path_is_not(
    store: LocalCasStore,
) -> None:
    def nested(inner: str) -> bytes:
        store.update_file(inner, increment)
        return inner.encode()

    with pytest.raises(InvalidInputError):
        store.update_file("a", lambda _: nested("./a"))
    for inner in (f"b/{number}" for number in range(300)):  # of some of them the turn is in the same file
        store.update_file("a", lambda _, inner=inner: nested(inner))  # type: ignore[misc]
    assert len(store.list_files(prefix="b/")) == 300


def test_updates_nested_the_other_way_round_in_two_threads_do_not_wait_for_each_other(
    store: LocalCasStore,
) -> None:
    both_inside = threading.Barrier(2)
    first = threading.Event()

    def outer(inner: str) -> object:
        def change(content: bytes | None) -> bytes:
            if not first.is_set():
                both_inside.wait()
                first.set()
            store.update_file(inner, increment)
            return increment(content)

        return change

    began = time.monotonic()
    threads = [
        threading.Thread(target=store.update_file, args=(path, outer(inner)))
        for path, inner in (("a", "b"), ("b", "a"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 30
    assert int(store.read_file("a")) >= 2


def test_a_read_only_store_is_not_updated(location: Path) -> None:
    with LocalCasStore(location, read_only=True) as store, pytest.raises(StorageReadOnlyError):
        store.update_file("a", increment)


def test_an_update_needs_no_lock_file(store: LocalCasStore) -> None:
    (Path(store.location) / "locks" / "turns").write_bytes(b"in the way")
    store.update_file("a", increment)
    assert store.read_file("a") == b"1"


# --- the turn ----------------------------------------------------------------------------------


def test_updaters_of_one_path_change_it_one_after_another(store: LocalCasStore) -> None:
    calls: list[None] = []

    def slow(content: bytes | None) -> bytes:
        calls.append(None)
        time.sleep(0.01)
        return increment(content)

    threads = [threading.Thread(target=store.update_file, args=("n", slow)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read_file("n") == b"10"
    assert len(calls) == 10  # none was made for nothing


def test_an_updater_waits_for_one_who_has_just_got_the_turn_and_not_said_so_yet(store: LocalCasStore) -> None:
    turn = store._catalog.turn("path n", insists=True)
    assert turn.take()
    turn._write_mark(bytes(16))  # type: ignore[attr-defined]  # as it is until it is written
    called = threading.Event()

    def change(content: bytes | None) -> bytes:
        called.set()
        return increment(content)

    updater = threading.Thread(target=store.update_file, args=("n", change))
    updater.start()
    assert not called.wait(0.3)
    turn.release()
    updater.join()
    assert store.read_file("n") == b"1"


def test_a_plain_writer_does_not_wait_for_a_turn(store: LocalCasStore) -> None:
    def change(content: bytes | None) -> bytes:
        if content is None:
            began = time.monotonic()
            store.write_file("a", b"plain")
            assert time.monotonic() - began < 30
        return (content or b"") + b"!"

    store.update_file("a", change)
    assert store.read_file("a") == b"plain!"


def test_whoever_waits_for_a_turn_does_so_until_his_deadline(store: LocalCasStore) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hang(_: bytes | None) -> bytes:
        inside.set()
        go_on.wait()
        return b"late"

    thread = threading.Thread(target=store.update_file, args=("a", hang))
    thread.start()
    try:
        inside.wait()
        with pytest.raises(StoreBusyError):
            store.update_file("a", increment, retry=Retry(deadline_s=0.05))
        store.update_file("b", increment, retry=Retry(deadline_s=0.05))
    finally:
        go_on.set()
        thread.join()
    assert store.read_file("a") == b"late"


def test_an_updater_that_dies_blocks_nobody_and_neither_does_its_forked_child(
    location: Path, start: Start
) -> None:
    child = start(
        """
        def change(_):
            pid = os.fork()
            if pid == 0:
                time.sleep(600)
                os._exit(0)
            say(pid)
            time.sleep(600)
        LocalCasStore(location).update_file("a", change)
        """,
        location,
    )
    grandchild = int(child.hear())
    try:
        child.kill()
        with LocalCasStore(location) as store:
            assert store.update_file("a", increment, retry=Retry(deadline_s=10)) is not None
    finally:
        os.kill(grandchild, 9)


# --- the outcome -------------------------------------------------------------------------------


@pytest.mark.parametrize("has_held", [True, False])
def test_an_update_settles_an_unknown_outcome_and_does_not_conflict_with_its_own_write(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch, has_held: bool
) -> None:
    commit = store._catalog._commit  # the answer of one commit is lost
    lost: list[str] = []

    def commit_once(connection: apsw.Connection, transaction_id: str) -> None:
        if lost:
            commit(connection, transaction_id)
            return
        lost.append(transaction_id)
        if has_held:
            commit(connection, transaction_id)
        raise OutcomeUnknownError(transaction_id)

    monkeypatch.setattr(store._catalog, "_commit", commit_once)
    assert store.update_file("n", increment) == store.stat_file("n")
    assert store.read_file("n") == b"1"
    assert store.was_committed(lost[0]) is has_held
    lost.clear()
    assert store.run_transaction(lambda tx: tx.write_file("n", increment(tx.read_file("n"))).size_bytes) == 1
    assert store.read_file("n") == b"2"


def test_who_retries_for_ever_is_served(store: LocalCasStore) -> None:
    def change(content: bytes | None) -> bytes:
        time.sleep(
            0.1
        )  # all begin with the same; of those who conflict one has the turn, the others wait for it
        return increment(content)

    def update() -> None:
        store.update_file("n", change, retry=Retry(deadline_s=math.inf))

    with ThreadPoolExecutor(3) as pool:
        for updated in [pool.submit(update) for _ in range(3)]:
            updated.result(30)
    assert store.read_file("n") == b"3"


def test_a_pause_is_one_that_a_clock_can_make(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for number in (1, 60, 10_000):
        retrying.pause(number, math.inf, Retry(math.inf, 10, base_s=1e300, cap_s=math.inf))
    assert all(0 <= seconds <= threading.TIMEOUT_MAX for seconds in slept)
    assert len(slept) == 3
