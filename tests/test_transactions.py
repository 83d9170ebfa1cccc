"""Transactions: everything written comes at once, and is seen by the block that wrote it."""

# ruff: noqa: PT012  # what raises is the end of a block

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs import (
    ABSENT,
    FileConflictError,
    ForkedStoreError,
    InvalidInputError,
    LocalCasStore,
    PathNotFoundError,
)
from behind import log_of
from calls import LARGE, SMALL

# ruff: noqa: PT012  # what raises is the end of a block


each_size = pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])


# --- all or nothing ---------------------------------------------------------------------------


@each_size
def test_what_a_transaction_writes_is_there_once_its_block_ends(store: LocalCasStore, data: bytes) -> None:
    store.write_file("old", b"old")
    with store.transaction() as tx:
        tx.write_file("a", data)
        tx.write_file("./b//c", data + b"!")
        tx.delete_file("old")
        assert [file.path for file in store.list_files()] == ["old"]
    assert [file.path for file in store.list_files()] == ["a", "b/c"]
    assert (store.read_file("a"), store.read_file("b/c")) == (data, data + b"!")
    assert store.audit_file_index(verify=True).is_sound()


@each_size
def test_an_exception_in_the_block_gives_everything_up(store: LocalCasStore, data: bytes) -> None:
    store.write_file("old", b"old")
    with pytest.raises(KeyError), store.transaction() as tx:
        tx.write_file("a", data)
        tx.delete_file("old")
        raise KeyError
    assert [file.path for file in store.list_files()] == ["old"]
    store.prune_orphan_blobs()  # the lease has ended, too
    assert store.audit_file_index().is_clean()
    assert not list((Path(store.location) / "blobs").rglob("?" * 64))


def test_a_transaction_is_one_entry_of_the_change_log_with_actor_and_message(store: LocalCasStore) -> None:
    with store.transaction(actor="planner", message="two at once") as tx:
        tx.write_file("a", b"1")
        tx.write_file("b", b"2")
        id_before = tx.transaction_id
    ((sequence, actor, _, changes),) = log_of(store)
    assert (sequence, actor, [change.path for change in changes]) == (tx.sequence, "planner", ["a", "b"])
    assert id_before is None
    assert tx.transaction_id is not None
    assert store.was_committed(tx.transaction_id)
    transactions = store._catalog.read(
        lambda reader: [each.message for each in reader.iter_transactions(0, sequence)]
    )
    assert transactions == ["two at once"]


def test_all_files_of_a_transaction_have_the_time_of_its_commit(store: LocalCasStore) -> None:
    with store.transaction() as tx:
        for name in "abc":
            tx.write_file(name, b"")
    assert len({file.updated_at_ms for file in store.list_files()}) == 1


def test_a_transaction_that_changes_nothing_commits_nothing(store: LocalCasStore) -> None:
    store.write_file("a", b"a")
    before = log_of(store)
    with store.transaction() as tx:
        assert tx.read_file("a") == b"a"
        assert tx.delete_file("missing") is False
    assert (tx.transaction_id, tx.sequence) == (None, None)
    assert log_of(store) == before


def test_what_is_written_and_deleted_again_leaves_no_trace(store: LocalCasStore) -> None:
    with store.transaction() as tx:
        tx.write_file("a", b"a")
        assert tx.delete_file("a") is True
    assert (tx.transaction_id, log_of(store)) == (None, [])


# --- reading its own writes --------------------------------------------------------------------


@each_size
def test_a_transaction_sees_its_own_writes(store: LocalCasStore, data: bytes) -> None:
    store.write_file("d/old", b"old")
    store.write_file("d/gone", b"gone")
    with store.transaction() as tx:
        written = tx.write_file("d/new", data)
        assert tx.read_file_with_metadata("d/new") == (written, data)
        assert tx.stat_file("d/new") == written
        assert tx.delete_file("d/gone") is True
        assert tx.delete_file("d/gone") is False
        assert tx.stat_file("d/gone") is None
        with pytest.raises(PathNotFoundError):
            tx.read_file("d/gone")
        assert [file.path for file in tx.list_files(prefix="d/")] == ["d/new", "d/old"]
        assert tx.list_files(prefix="e") == []


@each_size
def test_a_rename_moves_what_is_stored_and_what_was_just_written(store: LocalCasStore, data: bytes) -> None:
    store.write_file("stored", data)
    with store.transaction() as tx:
        tx.write_file("written", data + b"!")
        assert tx.rename_file("stored", "a").content_hash == store.hash_bytes(data)
        tx.rename_file("a", "b")
        tx.rename_file("written", "c")
        tx.rename_file("c", "c")
        assert tx.read_file("b") == data
        assert tx.read_file("c") == data + b"!"
        with pytest.raises(PathNotFoundError):
            tx.rename_file("stored", "d")
        with pytest.raises(FileConflictError):
            tx.rename_file("b", "c", expected_content_hash=ABSENT)
    assert {file.path: store.read_file(file.path) for file in store.list_files()} == {
        "b": data,
        "c": data + b"!",
    }


def test_two_files_change_places(store: LocalCasStore) -> None:
    store.write_file("a", b"a")
    store.write_file("b", LARGE)
    with store.transaction() as tx:
        tx.rename_file("a", "aside")
        tx.rename_file("b", "a")
        tx.rename_file("aside", "b")
    assert (store.read_file("a"), store.read_file("b"), store.stat_file("aside")) == (LARGE, b"a", None)


def test_conditions_hold_against_what_the_transaction_sees(store: LocalCasStore) -> None:
    store.write_file("a", b"a")
    with store.transaction() as tx:
        with pytest.raises(FileConflictError):
            tx.write_file_if_match("a", ABSENT, b"b")
        with pytest.raises(FileConflictError):
            tx.delete_file_if_match("a", store.hash_bytes(b"b"))
        with pytest.raises(FileConflictError):
            tx.delete_file_if_match("missing", store.hash_bytes(b"b"))
        assert tx.delete_file_if_match("missing", ABSENT) is False
        written = tx.write_file_if_match("a", store.hash_bytes(b"a"), b"b")
        tx.write_file_if_match("a", written.content_hash, b"c")
    assert store.read_file("a") == b"c"


# --- the life of a transaction -----------------------------------------------------------------


def test_a_transaction_is_of_no_use_outside_of_its_block(store: LocalCasStore) -> None:
    tx = store.transaction()
    uses: list[Callable[[], object]] = [
        lambda: tx.read_file("a"),
        lambda: tx.stat_file("a"),
        tx.list_files,
        lambda: tx.write_file("a", b""),
        lambda: tx.delete_file("a"),
        lambda: tx.rename_file("a", "b"),
    ]
    for use in uses:
        with pytest.raises(InvalidInputError, match="not begun"):
            use()
    with tx:
        tx.write_file("a", b"a")
        with pytest.raises(InvalidInputError):
            tx.__enter__()
    for use in uses:
        with pytest.raises(InvalidInputError, match="ended"):
            use()
    with pytest.raises(InvalidInputError):
        tx.__enter__()


def test_wrong_input_is_refused_where_it_is_given(store: LocalCasStore) -> None:
    with store.transaction() as tx:
        with pytest.raises(ValueError, match="absolute"):
            tx.write_file("/a", b"")
        with pytest.raises(TypeError):
            tx.write_file("a", "text")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            tx.write_file_if_match("a", 1, b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.transaction(actor=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError):
        store.transaction(message="\ud800")


def test_a_mutable_content_is_copied(store: LocalCasStore) -> None:
    data = bytearray(b"a")
    with store.transaction() as tx:
        tx.write_file("a", data)
        data[:] = b"b"
    assert store.read_file("a") == b"a"


def test_a_collection_beside_a_transaction_leaves_what_it_will_name(store: LocalCasStore) -> None:
    with store.transaction() as tx:
        tx.write_file("a", LARGE)
        store.prune_orphan_blobs()
        assert tx.read_file("a") == LARGE
    assert store.read_file("a") == LARGE


def test_a_forked_child_cannot_commit_its_parents_transaction(store: LocalCasStore) -> None:
    with store.transaction() as tx:
        tx.write_file("a", LARGE)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                tx.write_file("b", b"")
            except ForkedStoreError:
                try:
                    tx.__exit__(None, None, None)
                except ForkedStoreError:
                    code = 0
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.list_files() == []
    assert store.read_file("a") == LARGE
