"""Conflicts of transactions: whatever one has read must still hold when it commits, and only that."""

# ruff: noqa: PT012  # what raises is the end of a block

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent_world_distfs import (
    ABSENT,
    InputConflictError,
    LeaseExpiredError,
    LocalCasStore,
    PathNotFoundError,
    Transaction,
    TransactionConflictError,
)
from agent_world_distfs.catalog.reader import SqliteReader
from agent_world_distfs.operations.transactions import inputs
from agent_world_distfs.protocols import CatalogReader, CatalogWriter
from calls import LARGE, SMALL

# ruff: noqa: PT012  # what raises is the end of a block


Read = Callable[[Transaction], object]
Other = Callable[[LocalCasStore], object]


def absent(tx: Transaction) -> None:
    with pytest.raises(PathNotFoundError):
        tx.read_file("missing")


CONFLICTS: dict[str, tuple[Read, Other]] = {
    "a content": (lambda tx: tx.read_file("d/a"), lambda s: s.write_file("d/a", b"other")),
    "a content that is gone": (lambda tx: tx.read_file("d/a"), lambda s: s.delete_file("d/a")),
    "metadata": (lambda tx: tx.stat_file("d/a"), lambda s: s.write_file("d/a", b"other")),
    "an absence": (absent, lambda s: s.write_file("missing", b"")),
    "a file that is added to a listing": (
        lambda tx: tx.list_files(prefix="d/"),
        lambda s: s.write_file("d/new", b""),
    ),
    "a file that is gone from a listing": (
        lambda tx: tx.list_files(prefix="d/"),
        lambda s: s.rename_file("d/a", "elsewhere"),
    ),
    "a file that is changed in a listing": (lambda tx: tx.list_files(), lambda s: s.write_file("d/a", b"o")),
    "a condition": (
        lambda tx: tx.write_file_if_match("d/n", ABSENT, b"n"),
        lambda s: s.write_file("d/n", b""),
    ),
    "a delete that found something": (lambda tx: tx.delete_file("d/a"), lambda s: s.write_file("d/a", b"o")),
    "a delete that found nothing": (lambda tx: tx.delete_file("d/n"), lambda s: s.write_file("d/n", b"o")),
    "what was renamed": (lambda tx: tx.rename_file("d/a", "e"), lambda s: s.write_file("d/a", b"o")),
}
each_conflict = pytest.mark.parametrize(("read", "other"), CONFLICTS.values(), ids=CONFLICTS.keys())


@each_conflict
def test_a_transaction_whose_input_changed_does_not_commit(
    store: LocalCasStore, read: Read, other: Other
) -> None:
    store.write_file("d/a", b"a")
    with pytest.raises(TransactionConflictError) as raised, store.transaction() as tx:
        read(tx)
        other(store)
        tx.write_file("result", b"r")
    assert store.stat_file("result") is None
    assert (tx.transaction_id, tx.sequence) == (None, None)
    (conflict,) = raised.value.conflicts
    assert isinstance(conflict, InputConflictError)
    assert conflict.actual == store.stat_file(conflict.path)
    assert conflict.expected != conflict.actual


@each_conflict
def test_the_next_read_tells_that_an_input_changed(store: LocalCasStore, read: Read, other: Other) -> None:
    store.write_file("d/a", b"a")
    with store.transaction() as tx:
        read(tx)
        other(store)
        for _ in range(2):
            with pytest.raises(TransactionConflictError):
                tx.stat_file("anything")
        tx._plan.clear()  # nothing to commit


def test_every_input_that_changed_is_listed_with_what_was_read_and_what_is_there(
    store: LocalCasStore,
) -> None:
    read = {path: store.write_file(path, b"1") for path in ("a", "b", "c", "d/1")}
    with pytest.raises(TransactionConflictError) as raised, store.transaction() as tx:
        for path in "abc":
            tx.read_file(path)
        absent(tx)
        tx.list_files(prefix="d/")
        tx.write_file("result", b"")
        a = store.write_file("a", b"2")
        store.delete_file("c")
        new, more = store.write_file("missing", b""), store.write_file("d/2", b"")
    assert raised.value.conflicts == raised.value.args[0]
    found = [
        (each.path, each.expected, each.actual, each.prefix)
        for each in raised.value.conflicts
        if isinstance(each, InputConflictError)
    ]
    assert found == [
        ("a", read["a"], a, None),
        ("c", read["c"], None, None),
        ("missing", None, new, None),
        ("d/2", None, more, "d/"),
    ]


def test_what_was_not_read_may_change(store: LocalCasStore) -> None:
    store.write_file("a", b"a")
    with store.transaction() as tx:
        assert tx.read_file("a") == b"a"
        tx.list_files(prefix="d/")
        store.write_file("b", b"b")
        store.write_file("result", b"overwritten")
        store.pin(store.put_bytes(b"p"))
        store.prune_orphan_blobs()
        assert tx.stat_file("b") is not None
        tx.write_file("result", b"r")
    assert store.read_file("result") == b"r"


def test_reads_are_of_one_state_even_if_the_transaction_only_reads(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    store.write_file("b", b"1")
    with pytest.raises(TransactionConflictError), store.transaction() as tx:
        assert tx.read_file("a") == b"1"
        with store.transaction() as other:
            other.write_file("a", b"2")
            other.write_file("b", b"2")
        tx.read_file("b")


def test_a_large_content_that_is_overwritten_and_collected_while_it_is_read_is_a_conflict(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_file("a", LARGE)
    opened = store._blobs.open

    def open_late(content_hash: str) -> object:
        if store.read_file("b") == b"":
            store.write_file("b", b"done")
            store.write_file("a", b"other")
            store.prune_orphan_blobs()
        return opened(content_hash)

    store.write_file("b", b"")
    monkeypatch.setattr(store._blobs, "open", open_late)
    with pytest.raises(TransactionConflictError), store.transaction() as tx:
        tx.read_file("a")


def test_an_import_is_a_conflict_only_where_it_changed_an_input(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    store.write_file("b", b"1")
    ref = store.export_file_index_manifest()
    store.write_file("b", b"2")
    with store.transaction() as tx:
        tx.read_file("a")
        tx.list_files(prefix="a")
        store.import_file_index_manifest(ref)
        tx.write_file("c", b"")
    store.write_file("b", b"2")
    with pytest.raises(TransactionConflictError) as raised, store.transaction() as tx:
        tx.read_file("b")
        tx.list_files()
        store.import_file_index_manifest(ref)
        tx.write_file("d", b"")
    assert {each.path for each in raised.value.conflicts if isinstance(each, InputConflictError)} == {
        "b",
        "c",
    }


def test_write_skew_does_not_happen(store: LocalCasStore) -> None:
    store.write_file("on-call/ann", b"")
    store.write_file("on-call/bob", b"")
    with pytest.raises(TransactionConflictError), store.transaction() as ann:
        assert len(ann.list_files(prefix="on-call/")) == 2
        with store.transaction() as bob:
            assert len(bob.list_files(prefix="on-call/")) == 2
            bob.delete_file("on-call/bob")
        ann.delete_file("on-call/ann")
    assert [file.path for file in store.list_files()] == ["on-call/ann"]


# --- what was moved -----------------------------------------------------------------------------


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_reading_what_was_moved_after_others_changed_it_is_a_conflict_and_retried(
    store: LocalCasStore, data: bytes
) -> None:
    store.write_file("a", data)
    runs = 0

    def move(tx: Transaction) -> bytes:
        nonlocal runs
        runs += 1
        tx.rename_file("a", "b")
        if runs == 1:
            store.write_file("a", data + b"!")
            store.prune_orphan_blobs()
        return tx.read_file("b")

    assert store.run_transaction(move) == store.read_file("b") == data + b"!"
    assert runs == 2


def test_reading_what_the_transaction_wrote_after_its_lease_was_taken_for_dead(store: LocalCasStore) -> None:
    with pytest.raises(LeaseExpiredError), store.transaction() as tx:
        tx.write_file("a", LARGE)
        assert tx._lease is not None
        tx._lease.end()
        store.prune_orphan_blobs()
        tx.read_file("a")


# --- what is compared under the lock --------------------------------------------------------------


def import_again(store: LocalCasStore) -> None:
    store.restore_snapshot("before")


def write_more(store: LocalCasStore) -> None:
    store.write_files((f"other/{number}", b"") for number in range(50))


@pytest.mark.parametrize("other", [import_again, write_more])
def test_what_was_committed_before_the_end_is_compared_without_the_write_lock(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch, other: Other
) -> None:
    store.write_file("d/a", b"a")
    store.snapshot("before")
    looked_up: list[type[object]] = []
    changed_paths = inputs.changed_paths

    def note(tx: CatalogReader, since: int, last: int) -> set[str] | None:
        looked_up.append(type(tx))
        return changed_paths(tx, since, last)

    monkeypatch.setattr(inputs, "changed_paths", note)
    with store.transaction() as tx:
        tx.list_files(prefix="d/")
        other(store)
        tx.write_file("result", b"")
    assert looked_up == [SqliteReader]
    assert store.stat_file("result") is not None


@each_conflict
def test_what_is_committed_after_that_is_compared_under_the_write_lock(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch, read: Read, other: Other
) -> None:
    store.write_file("d/a", b"a")
    write = store._catalog.write

    def write_after_other(change: Callable[[CatalogWriter], object]) -> object:
        monkeypatch.undo()
        other(store)
        return write(change)

    with pytest.raises(TransactionConflictError), store.transaction() as tx:
        read(tx)
        tx.write_file("result", b"r")
        monkeypatch.setattr(store._catalog, "write", write_after_other)
    assert store.stat_file("result") is None
