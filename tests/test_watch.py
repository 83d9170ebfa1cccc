"""Watching: every change once, in order, by whichever process; or an error, never a gap."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_world_distfs import Change, HistoryExpiredError, InvalidInputError, LocalCasStore, StoreClosedError
from agent_world_distfs.catalog.commits import KEPT_COMMITS
from agent_world_distfs.operations.watching import Watch
from children import Start
from striking import RaiseAtLine

Seen = list[tuple[str, str | None]]

WRITER = """
name, total = sys.argv[2], int(sys.argv[3])
with LocalCasStore(location, durability="relaxed") as store:
    say("ready")
    hear()
    for number in range(total):
        store.write_file(f"{name}/{number % 7}", f"{name} {number}".encode())
        say(number)
    hear()
"""


def seen(changes: Iterator[Change], total: int) -> Seen:
    found: Seen = []
    while len(found) < total:
        change = next(changes)
        found.append((change.path, change.after.content_hash if change.after else None))
    return found


def test_changes_before_and_during_a_watch_come_in_order(store: LocalCasStore) -> None:
    since = store.last_seq()
    hashes = [store.write_file("a", b"%d" % number).content_hash for number in range(3)]
    with store.watch(since=since) as watch:
        assert seen(watch, 3) == [("a", content_hash) for content_hash in hashes]
        store.delete_file("a")
        assert seen(watch, 1) == [("a", None)]


def test_a_watch_begins_now_by_default(store: LocalCasStore) -> None:
    store.write_file("before", b"")
    with store.watch(timeout_s=0) as watch:
        store.write_file("after", b"")
        assert [change.path for change in watch] == ["after"]


def test_only_a_prefix_is_watched_and_every_import(store: LocalCasStore, other_store: LocalCasStore) -> None:
    with store.watch(prefix="b/", timeout_s=0) as watch:
        for path in ("a", "b/1", "b", "b/2"):
            store.write_file(path, b"")
        store.pull_index(other_store)
        assert [change.path for change in watch] == ["b/1", "b/2", ""]
        assert watch.seq == store.last_seq()


def test_a_watch_ends_when_nothing_comes_for_a_while(store: LocalCasStore) -> None:
    start = time.monotonic()
    with store.watch(timeout_s=0.1) as watch:
        assert list(watch) == []
        assert time.monotonic() - start >= 0.1
        store.write_file("a", b"")
        assert list(watch) == []  # it is over
        assert watch.seq < store.last_seq()


def test_another_thread_can_end_a_watch(store: LocalCasStore) -> None:
    ended = threading.Event()
    with store.watch() as watch:

        def wait() -> None:
            assert list(watch) == []
            ended.set()

        thread = threading.Thread(target=wait)
        thread.start()
        assert not ended.wait(0.1)
        watch.close()
        thread.join(30)
        assert ended.is_set()


def test_a_watch_that_was_closed_hands_out_nothing_more(store: LocalCasStore) -> None:
    since = store.last_seq()
    for number in range(3):
        store.write_file("a", b"%d" % number)
    store.write_files([("b", b""), ("c", b"")])
    for total in range(5):
        with store.watch(since=since, timeout_s=1) as watch:
            handed = [next(watch) for _ in range(total)]
            threading.Thread(target=watch.close).start()
            while not watch._is_over.is_set():
                time.sleep(0.001)
            assert list(watch) == []
        known = list(store.changes(since=since))
        assert [each for each in store.changes(since=watch.seq) if each not in handed] == known[total:]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file is closed by itself
def test_interrupted_at_any_line_a_watch_goes_on_with_each_change_once(store: LocalCasStore) -> None:
    since = store.last_seq()
    store.write_file("a", b"1")
    store.write_files([("a", b"2"), ("b", b""), ("c", b"")])
    store.write_file("a", b"3")
    expected = list(store.changes(since=since))
    number, has_raised = 0, True
    while has_raised:
        number += 1
        found: list[Change] = []
        with store.watch(since=since, timeout_s=0) as watch:
            with RaiseAtLine(number, KeyboardInterrupt) as strike:
                try:
                    for change in watch:
                        found.append(change)  # noqa: PERF402  # what came before the interrupt counts
                except KeyboardInterrupt:
                    assert_continues(store, watch, found, expected)
            found.extend(watch)
            has_raised = strike.has_raised
        assert found == expected, number
        assert watch.seq == store.last_seq()
    assert number > 100


def assert_continues(store: LocalCasStore, watch: Watch, found: list[Change], expected: list[Change]) -> None:
    """Where the watch says that another one can continue, that one misses nothing."""
    known = list(store.changes(since=watch.seq))
    assert [each for each in known if each not in found] == expected[len(found) :]


def test_changes_of_others_do_not_keep_a_watch_from_ending(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = store._catalog.mark
    deadline = time.monotonic() + 30

    def busy() -> object:
        assert time.monotonic() < deadline
        store.write_file("others", b"%d" % time.monotonic_ns())
        return mark()

    with store.watch(prefix="mine/", timeout_s=0.1) as watch:
        monkeypatch.setattr(store._catalog, "mark", busy)
        assert list(watch) == []


def test_a_watch_that_does_not_wait_still_reads_all_that_is_there(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_world_distfs.engine.changes.WINDOW", 2)
    since = store.last_seq()
    for number in range(9):
        store.write_file("others", b"%d" % number)
    store.write_file("mine", b"")
    with store.watch(prefix="mine", since=since, timeout_s=0) as watch:
        assert [change.path for change in watch] == ["mine"]


def test_a_closed_store_ends_its_watches_with_an_error(location: Path) -> None:
    store = LocalCasStore(location)
    with store.watch() as watch:
        threading.Timer(0.1, store.close).start()
        with pytest.raises(StoreClosedError):
            next(watch)


def test_a_watch_goes_on_where_another_stopped(store: LocalCasStore) -> None:
    since = store.last_seq()
    store.write_file("a", b"1")
    store.write_file("b", b"2")
    store.delete_files(["a", "b"])
    store.write_file("c", b"3")
    expected = list(store.changes(since=since))
    for stop in range(1, len(expected)):
        with store.watch(since=since, timeout_s=0) as first:
            handed = [next(first) for _ in range(stop)]
            assert handed == expected[:stop]
        with store.watch(since=first.seq, timeout_s=0) as second:
            rest = list(second)
        # Of a transaction that was handed out in part, all comes again.
        assert rest == [each for each in expected if each.seq > first.seq]
        assert [each for each in rest if each not in handed] == expected[stop:]


def test_falling_behind_what_is_known_is_an_error(store: LocalCasStore) -> None:
    since = store.last_seq()
    store.write_file("a", b"1")
    store.write_file("a", b"2")
    with store.watch(since=since) as watch:
        store.expire_history(max_transactions=1)
        with pytest.raises(HistoryExpiredError) as raised:
            next(watch)
    assert raised.value.seq == since
    with pytest.raises(HistoryExpiredError):
        store.watch(since=since)
    with store.watch(since=raised.value.first_seq) as watch:
        assert next(watch).path == "a"


def test_without_a_history_the_last_thousands_of_changes_are_known(location: Path) -> None:
    with LocalCasStore(location, durability="relaxed") as store:
        total = KEPT_COMMITS * 2 + 10
        for number in range(total):
            store.write_file("a", b"%d" % (number % 3))
        known = list(store.changes())
        assert KEPT_COMMITS <= len(known) < total
        assert known[-1].seq == store.last_seq()
        with pytest.raises(HistoryExpiredError):
            store.watch(since=1)


def test_a_watch_from_a_time_to_come_is_refused(store: LocalCasStore) -> None:
    with pytest.raises(InvalidInputError):
        store.watch(since=store.last_seq() + 1)
    for timeout_s in (-1, float("nan"), 10**400):
        with pytest.raises(InvalidInputError):
            store.watch(timeout_s=timeout_s)
    with pytest.raises(TypeError):
        store.watch(since="1")  # type: ignore[arg-type]


def test_an_idle_watch_keeps_no_snapshot(store: LocalCasStore, location: Path) -> None:
    with store.watch() as watch:
        thread = threading.Thread(target=lambda: list(watch))
        thread.start()
        store.write_file("a", b"1" * 5_000)
        deadline = time.monotonic() + 30
        while (location / "catalog.db-wal").stat().st_size:
            store._catalog.truncate_wal()  # as a prune does: it works only while no snapshot needs the log
            assert time.monotonic() < deadline
        watch.close()
        thread.join(30)


def test_watchers_see_every_commit_of_four_writers_once_and_in_order(location: Path, start: Start) -> None:
    total = 150
    with LocalCasStore(location) as one, LocalCasStore(location, read_only=True) as other:
        children = [start(WRITER, location, name, total) for name in "wxyz"]
        for child in children:
            assert child.hear() == "ready"
        found: list[list[Change]] = [[], []]
        watches = [one.watch(), other.watch(prefix="w/")]
        threads = [
            threading.Thread(target=_follow, args=(watch, changes, wanted))
            for watch, changes, wanted in zip(watches, found, (4 * total, total), strict=True)
        ]
        for thread in threads:
            thread.start()
        for child in children:
            child.tell("go")
        for thread in threads:
            thread.join(120)
        for watch in watches:
            watch.close()
        seqs = [change.seq for change in found[0]]
        assert seqs == sorted(set(seqs))
        for name in "wxyz":
            contents = [f"{name} {number}".encode() for number in range(total)]
            mine = [each.after for each in found[0] if each.path.startswith(name)]
            assert [each and each.content_hash for each in mine] == [
                one.hash_bytes(each) for each in contents
            ]
        assert found[1] == [change for change in found[0] if change.path.startswith("w/")]


def _follow(watch: Iterator[Change], changes: list[Change], wanted: int) -> None:
    while len(changes) < wanted:
        changes.append(next(watch))


def test_a_watch_sees_all_that_killed_writers_committed(location: Path, start: Start) -> None:
    with LocalCasStore(location) as store, store.watch() as watch:
        since = watch.seq
        for name in "wxyz":
            child = start(WRITER, location, name, 10_000)
            assert child.hear() == "ready"
            child.tell("go")
            while child.hear() != "20":
                pass
            child.kill()
        store.write_file("end", b"")
        changes: list[Change] = []
        while not changes or changes[-1].path != "end":
            changes.append(next(watch))
        assert changes == list(store.changes(since=since))
        for name in "wxyz":
            hashes = [each.after.content_hash for each in changes if each.path[0] == name and each.after]
            contents = [f"{name} {number}".encode() for number in range(len(hashes))]
            assert len(hashes) > 20
            assert hashes == [store.hash_bytes(each) for each in contents]


def test_a_watch_lives_on_on_both_sides_of_a_fork(store: LocalCasStore) -> None:
    with store.watch(timeout_s=30) as watch:
        store.write_file("a", b"")
        assert next(watch).path == "a"
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if next(watch).path == "b" else 2
            finally:
                os._exit(code)
        store.write_file("b", b"")
        assert next(watch).path == "b"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
