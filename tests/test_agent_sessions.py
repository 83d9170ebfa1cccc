"""Sessions: what was read is remembered, and a write that rests on something stale is refused."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import pytest

from agent_world_distfs import (
    AgentSession,
    FileConflictError,
    LocalCasStore,
    OutcomeUnknownError,
    PathNotFoundError,
)
from agent_world_distfs.records import ABSENT
from calls import LARGE, SMALL


@pytest.fixture
def session(store: LocalCasStore) -> AgentSession:
    return store.session(actor="ann")


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_session_changes_what_it_has_read(store: LocalCasStore, session: AgentSession, data: bytes) -> None:
    store.write_file("a", data)
    assert session.read_file("./a") == data
    session.write_file("a", data + b"1")
    session.write_file("a", data + b"2")  # it knows its own version
    assert store.read_file("a") == data + b"2"
    assert session.delete_file("a") is True
    session.write_file("a", b"again")
    assert store.read_file("a") == b"again"


def test_a_stale_write_is_refused_with_what_is_there_until_it_is_read(
    store: LocalCasStore, session: AgentSession
) -> None:
    store.write_file("a", b"1")
    session.read_file("a")
    other = store.write_file("a", b"2")
    for change in (
        lambda: session.write_file("a", b"mine"),
        lambda: session.delete_file("a"),
        lambda: session.rename_file("a", "b"),
    ):
        with pytest.raises(FileConflictError) as raised:
            change()
        assert raised.value.actual == other
    session.read_file("a")
    session.write_file("a", b"mine")
    assert store.read_file("a") == b"mine"


def test_what_was_never_read_counts_as_absent(store: LocalCasStore, session: AgentSession) -> None:
    session.write_file("new", b"n")
    other = store.write_file("a", b"1")
    session.stat_file("a")  # shows that it is there, not what is in it
    for change in (
        lambda: session.write_file("a", b"mine"),
        lambda: session.delete_file("a"),
        lambda: session.rename_file("a", "b"),
        lambda: session.rename_file("new", "a"),
    ):
        with pytest.raises(FileConflictError) as raised:
            change()
        assert (raised.value.expected, raised.value.actual) == (ABSENT, other)
    assert (store.read_file("a"), store.read_file("new")) == (b"1", b"n")
    assert session.delete_file("missing") is False


def test_an_overwrite_is_said_on_purpose(store: LocalCasStore, session: AgentSession) -> None:
    store.write_file("a", b"1")
    session.overwrite_file("a", b"2")
    session.write_file("a", b"3")
    assert store.read_file("a") == b"3"


def test_an_absence_that_was_seen_allows_to_create(store: LocalCasStore, session: AgentSession) -> None:
    for look in (session.stat_file, session.read_file):
        store.write_file("a", b"1")
        session.read_file("a")
        store.delete_file("a")
        with pytest.raises(FileConflictError) as raised:
            session.write_file("a", b"2")
        assert raised.value.actual is None
        if look == session.read_file:
            with pytest.raises(PathNotFoundError):
                look("a")
        else:
            assert look("a") is None
        session.write_file("a", b"2")
        assert store.read_file("a") == b"2"


def test_a_rename_moves_what_the_session_knows(store: LocalCasStore, session: AgentSession) -> None:
    store.write_file("a", b"1")
    session.read_file("a")
    session.rename_file("a", "b")
    session.write_file("b", b"2")
    session.write_file("a", b"new")
    assert (store.read_file("a"), store.read_file("b")) == (b"new", b"2")
    with pytest.raises(PathNotFoundError):
        session.rename_file("missing", "c")


def test_two_sessions_do_not_overwrite_each_other(store: LocalCasStore) -> None:
    ann, bob = store.session(), store.session()
    ann.write_file("a", b"ann")
    with pytest.raises(FileConflictError):
        bob.write_file("a", b"bob")
    assert bob.read_file("a") == b"ann"
    bob.write_file("a", b"bob")
    with pytest.raises(FileConflictError):
        ann.write_file("a", b"ann again")


def test_each_change_of_a_session_is_logged_under_its_name(
    store: LocalCasStore, session: AgentSession
) -> None:
    session.write_file("a", b"1")
    session.write_file("a", LARGE)
    session.overwrite_file("a", b"2")
    session.rename_file("a", "b")
    session.delete_file("b")
    logged = store._catalog.read(
        lambda tx: [(each.actor, each.session) for each in tx.iter_transactions(0, 1_000)]
    )
    assert logged == [("ann", session.session_id)] * 5
    assert store.session().session_id != session.session_id


def test_what_a_session_and_a_transaction_did_can_be_undone_by_their_names(
    store: LocalCasStore, session: AgentSession
) -> None:
    store.set_setting("keep_history", True)
    store.write_file("a", b"before")
    session.read_file("a")
    session.write_file("a", b"after")
    session.write_file("b", b"new")
    store.undo_session(session.session_id)
    assert {file.path: store.read_file(file.path) for file in store.list_files()} == {"a": b"before"}
    with store.transaction() as tx:
        tx.rename_file("a", "c")
    assert tx.transaction_id is not None
    store.undo_transaction(tx.transaction_id)
    assert [file.path for file in store.list_files()] == ["a"]


@pytest.mark.parametrize("has_held", [True, False])
def test_a_session_does_not_conflict_with_its_own_change_of_unknown_outcome(
    store: LocalCasStore, session: AgentSession, monkeypatch: pytest.MonkeyPatch, has_held: bool
) -> None:
    commit = store._catalog._commit
    changes: dict[str, Callable[[], object]] = {
        "write": lambda: session.write_file("a", b"2"),
        "overwrite": lambda: session.overwrite_file("a", b"2"),
        "delete": lambda: session.delete_file("a"),
        "rename": lambda: session.rename_file("a", "b"),
    }

    def commit_unknown(connection: apsw.Connection, transaction_id: str) -> None:
        if has_held:
            commit(connection, transaction_id)
        raise OutcomeUnknownError(transaction_id)

    for name, change in changes.items():
        session.overwrite_file("a", b"1")
        with monkeypatch.context() as patch:
            patch.setattr(store._catalog, "_commit", commit_unknown)
            with pytest.raises(OutcomeUnknownError):
                change()
        other = store.read_file("a") if store.stat_file("a") else None
        session.write_file("a", b"3")
        session.write_file("b", b"3" if name == "rename" else b"4")
        assert other == (b"1" if not has_held else None if name in ("delete", "rename") else b"2")
        session.delete_file("b")


def test_what_somebody_else_wrote_after_a_change_of_unknown_outcome_is_a_conflict(
    store: LocalCasStore, session: AgentSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit_nothing(_: apsw.Connection, transaction_id: str) -> None:
        raise OutcomeUnknownError(transaction_id)

    session.write_file("a", b"1")
    with monkeypatch.context() as patch:
        patch.setattr(store._catalog, "_commit", commit_nothing)
        with pytest.raises(OutcomeUnknownError):
            session.write_file("a", b"2")
    store.write_file("a", b"other")
    with pytest.raises(FileConflictError):
        session.write_file("a", b"3")
