"""Undo: an ordinary transaction that restores what another changed, unless somebody has been there since."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs import (
    ABSENT,
    BlobMissingError,
    FileConflictError,
    HistoryExpiredError,
    HistoryNotKeptError,
    InvalidInputError,
    LocalCasStore,
    NotFoundError,
    TransactionConflictError,
    UndoReport,
)
from agent_world_distfs.protocols import CatalogWriter
from behind import blob_file
from calls import LARGE
from trees import held

Contents = dict[str, bytes]


@pytest.fixture
def kept(kept: LocalCasStore) -> LocalCasStore:
    """A store that keeps its history, with a little of it."""
    kept.write_file("a", b"first")
    kept.write_file("large", LARGE)
    return kept


def last_id(store: LocalCasStore) -> str:
    return list(store.changes())[-1].transaction_id


def write_in_session(store: LocalCasStore, session: str, path: str, data: bytes) -> None:
    """As a session of the library writes: the log says whose it is."""
    content_hash = store.put_bytes(data)

    def change(tx: CatalogWriter) -> None:
        row = tx.find_brief(content_hash)
        assert row is not None
        tx.set_file(path, row, 0)
        tx.describe(session=session)

    store._catalog.write(change)


def _import(store: LocalCasStore) -> None:
    with LocalCasStore(store.location + ".other") as other:
        other.write_file("a", b"theirs")
        other.write_file("b/c", LARGE * 2)
        store.pull_index(other)


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.write_file("new", b"new"),
        lambda store: store.write_file("a", LARGE * 2),
        lambda store: store.delete_files(["a", "large"]),
        lambda store: store.rename_file("large", "a"),
        _import,
    ],
    ids=["write-new", "overwrite", "delete", "rename", "import"],
)
def test_what_one_transaction_did_is_undone_and_done_again(
    kept: LocalCasStore, act: Callable[[LocalCasStore], object]
) -> None:
    before = held(kept)
    act(kept)
    after, transaction_id = held(kept), last_id(kept)
    kept.prune_orphan_blobs()
    report = kept.undo_transaction(transaction_id, actor="reviewer", message="a mistake")
    assert held(kept) == before
    changes = list(kept.changes(since=kept.last_seq() - 1))
    assert {(each.transaction_id, each.seq) for each in changes} == {(report.transaction_id, report.seq)}
    assert {(each.actor, each.message) for each in changes} == {("reviewer", "a mistake")}
    assert tuple(sorted(each.path for each in changes)) == report.restored_paths
    assert report.transaction_id is not None
    kept.undo_transaction(report.transaction_id)
    assert held(kept) == after
    assert kept.audit_file_index(verify=True).is_clean()


def test_what_somebody_changed_since_is_a_conflict_and_nothing_is_undone(kept: LocalCasStore) -> None:
    kept.delete_files(["a", "large"])
    transaction_id = last_id(kept)
    theirs = kept.write_file("a", b"theirs")
    with pytest.raises(TransactionConflictError) as raised:
        kept.undo_transaction(transaction_id)
    (conflict,) = raised.value.conflicts
    assert isinstance(conflict, FileConflictError)
    assert (conflict.path, conflict.expected, conflict.actual) == ("a", ABSENT, theirs)
    assert held(kept) == {"a": b"theirs"}
    kept.delete_file("a")
    assert kept.undo_transaction(transaction_id).restored_paths == ("a", "large")


def test_what_is_undone_already_is_left_alone(kept: LocalCasStore) -> None:
    kept.write_file("a", b"second")
    transaction_id = last_id(kept)
    kept.undo_transaction(transaction_id)
    seq = kept.last_seq()
    assert kept.undo_transaction(transaction_id) == UndoReport(None, None, ())
    assert kept.last_seq() == seq


def test_a_session_is_undone_as_a_whole(kept: LocalCasStore) -> None:
    before = held(kept)
    write_in_session(kept, "one", "a", b"1")
    write_in_session(kept, "one", "new", b"2")
    kept.write_file("others", b"stay")
    write_in_session(kept, "one", "a", b"3")
    write_in_session(kept, "two", "theirs", b"4")
    report = kept.undo_session("one")
    assert report.restored_paths == ("a", "new")
    assert held(kept) == before | {"others": b"stay", "theirs": b"4"}
    assert report.transaction_id is not None
    kept.undo_transaction(report.transaction_id)
    assert kept.read_file("a") == b"3"


def test_a_session_of_the_library_is_undone_by_its_id(kept: LocalCasStore) -> None:
    before = held(kept)
    session = kept.session(actor="planner")
    session.write_file("new", b"1")
    session.read_file("a")
    session.write_file("a", b"2")
    assert {each.session_id for each in kept.changes(since=kept.last_seq() - 1)} == {session.session_id}
    kept.undo_session(session.session_id)
    assert held(kept) == before


def test_what_no_session_did_is_not_undone_as_one(kept: LocalCasStore) -> None:
    kept.write_file("a", b"1")
    with pytest.raises(InvalidInputError, match="not empty"):
        kept.undo_session("")
    assert kept.read_file("a") == b"1"


def test_who_came_between_two_writes_of_a_session_is_not_overwritten(kept: LocalCasStore) -> None:
    write_in_session(kept, "one", "a", b"1")
    kept.write_file("a", b"theirs")
    for number in (2, 3, 4):
        write_in_session(kept, "one", "a", b"%d" % number)
        kept.write_file("a", b"%d, theirs" % number)
    with pytest.raises(TransactionConflictError) as raised:
        kept.undo_session("one")
    (conflict,) = raised.value.conflicts
    assert isinstance(conflict, FileConflictError)
    assert (conflict.expected, conflict.actual) == (kept.hash_bytes(b"1"), kept.stat_file("a"))
    assert kept.read_file("a") == b"4, theirs"


def test_a_session_that_went_on_after_it_was_undone_is_undone_again(kept: LocalCasStore) -> None:
    before = held(kept)
    for number in range(3):
        write_in_session(kept, "one", "a", b"%d" % number)
        write_in_session(kept, "one", "new", b"%d" % number)
        write_in_session(kept, "one", "new", b"again")
        assert kept.undo_session("one").restored_paths == ("a", "new")
        assert held(kept) == before
    assert kept.undo_session("one") == UndoReport(None, None, ())


def test_what_others_restored_before_a_session_went_on_is_no_conflict_and_what_it_did_itself_is(
    kept: LocalCasStore,
) -> None:
    for path in ("a", "b"):
        kept.write_file(path, b"first")
        write_in_session(kept, "one", path, b"1")
        kept.write_file(path, b"theirs")
        write_in_session(kept, "one", path, b"2")
    kept.write_file("a", b"first")
    write_in_session(kept, "one", "b", b"first")
    for path in ("a", "b"):
        write_in_session(kept, "one", path, b"3")
    with pytest.raises(TransactionConflictError) as raised:
        kept.undo_session("one")
    (conflict,) = raised.value.conflicts
    assert isinstance(conflict, FileConflictError)
    assert conflict.path == "b"
    kept.delete_file("b")
    kept.write_file("b", b"first")
    assert kept.undo_session("one").restored_paths == ("a",)


def test_undo_wants_a_history(store: LocalCasStore) -> None:
    store.write_file("a", b"1")
    transaction_id = last_id(store)
    with pytest.raises(HistoryNotKeptError, match="keep_history"):
        store.undo_transaction(transaction_id)
    with pytest.raises(HistoryNotKeptError, match="keep_history"):
        store.undo_session("one")
    store.set_setting("keep_history", True)
    with pytest.raises(HistoryExpiredError):
        store.undo_transaction(transaction_id)


def test_what_expired_cannot_be_undone(kept: LocalCasStore) -> None:
    kept.write_file("a", b"second")
    transaction_id = last_id(kept)
    kept.write_file("a", b"third")
    kept.expire_history(max_transactions=1)
    with pytest.raises(HistoryExpiredError):
        kept.undo_transaction(transaction_id)


@pytest.mark.parametrize("is_off", [False, True])
@pytest.mark.parametrize(
    "undo",
    [
        lambda store: store.undo_transaction(last_id(store)),
        lambda store: store.undo_session("one"),
    ],
    ids=["transaction", "session"],
)
def test_what_expires_while_it_is_to_be_undone_is_no_damage(
    kept: LocalCasStore,
    monkeypatch: pytest.MonkeyPatch,
    undo: Callable[[LocalCasStore], object],
    *,
    is_off: bool,
) -> None:
    write_in_session(kept, "one", "a", b"second")
    written, write = kept.stat_file("a"), kept._catalog.write

    def expire_first(change: Callable[[CatalogWriter], UndoReport]) -> UndoReport:
        monkeypatch.undo()
        if is_off:
            kept.set_setting("keep_history", False)
        else:
            kept.expire_history(before_seq=kept.last_seq())
        kept.prune_orphan_blobs()
        return write(change)

    monkeypatch.setattr(kept._catalog, "write", expire_first)
    with pytest.raises(HistoryNotKeptError if is_off else HistoryExpiredError):
        undo(kept)
    assert kept.stat_file("a") == written


def test_a_transaction_that_never_was_is_not_found(kept: LocalCasStore) -> None:
    seq, _, nonce = last_id(kept).partition("-")
    for unknown in (f"{seq}-{'0' * 16}", f"{int(seq) + 1000}-{nonce}"):
        with pytest.raises(NotFoundError):
            kept.undo_transaction(unknown)
    with pytest.raises(NotFoundError):
        kept.undo_session("nobody")
    for malformed in ("", "12", f"{seq}-{nonce}\n", f"-1-{nonce}"):
        with pytest.raises(InvalidInputError):
            kept.undo_transaction(malformed)


def test_a_name_that_the_log_cannot_hold_is_bad_input_and_no_damage(kept: LocalCasStore) -> None:
    kept.write_file("a", b"before")
    with kept.transaction() as tx:
        tx.write_file("a", b"after")
    assert tx.transaction_id is not None
    for text in ({"actor": "\ud800"}, {"message": "\ud800"}):
        with pytest.raises(InvalidInputError, match="UTF-8"):
            kept.undo_transaction(tx.transaction_id, **text)
        with pytest.raises(InvalidInputError, match="UTF-8"):
            kept.undo_session("one", **text)
    with pytest.raises(TypeError):
        kept.undo_transaction(tx.transaction_id, actor=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        kept.undo_session(7)  # type: ignore[arg-type]
    assert kept.read_file("a") == b"after"


def test_bytes_that_are_lost_are_not_restored(location: Path) -> None:
    with LocalCasStore(location) as store:
        store.set_setting("keep_history", True)
        lost = store.write_file("a", LARGE)
        store.delete_file("a")
        blob_file(location, lost.content_hash).unlink()
        with pytest.raises(BlobMissingError) as raised:
            store.undo_transaction(last_id(store))
        assert (raised.value.content_hash, raised.value.path) == (lost.content_hash, "a")
        assert store.list_files() == []
