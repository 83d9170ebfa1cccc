"""was_committed: settles what is open, and never says no and later yes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent_world_distfs import (
    InvalidInputError,
    LocalCasStore,
    StorageReadOnlyError,
    TransactionForgottenError,
    UnavailableError,
)
from agent_world_distfs.catalog.commits import KEPT_COMMITS
from behind import look


def commit(store: LocalCasStore, path: str = "a") -> str:
    with store.transaction() as tx:
        tx.write_file(path, b"a")
    assert tx.transaction_id is not None
    return tx.transaction_id


def test_a_transaction_that_committed_is_known_after_others_and_after_reopening(location: Path) -> None:
    with LocalCasStore(location) as store:
        first = commit(store)
        second = commit(store)
        assert store.was_committed(first)
    with LocalCasStore(location) as store:
        assert store.was_committed(first)
        assert store.was_committed(second)


def test_one_that_did_not_is_not_whether_its_number_is_taken_or_still_free(store: LocalCasStore) -> None:
    known = commit(store)
    number, _, nonce = known.partition("-")
    other = "0" * 16 if nonce != "0" * 16 else "1" * 16
    assert not store.was_committed(f"{number}-{other}")
    assert not store.was_committed(f"{int(number) + 1}-{nonce}")
    assert not store.was_committed(f"{(1 << 63) - 1}-{nonce}")


def test_a_no_is_given_only_once_the_log_is_empty(store: LocalCasStore) -> None:
    number, _, nonce = commit(store).partition("-")
    log = Path(store.location) / "catalog.db-wal"
    assert log.stat().st_size > 0
    assert store.was_committed(f"{number}-{nonce}")
    assert log.stat().st_size > 0
    assert not store.was_committed(f"{int(number) + 1}-{nonce}")
    assert log.stat().st_size == 0


def test_what_cannot_be_settled_cannot_be_told(store: LocalCasStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_world_distfs.catalog.connections.BUSY_MS", 50)
    number, _, nonce = commit(store).partition("-")
    loan = store._catalog._readers.take()  # a snapshot keeps the log in use
    try:
        loan.connection.execute("BEGIN")
        loan.connection.execute("SELECT count(*) FROM files").fetchall()
        commit(store, "b")
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            store.was_committed(f"{int(number) + 9}-{nonce}")
        assert time.monotonic() - began < 30
    finally:
        store._catalog._readers.give_back(loan)
    assert not store.was_committed(f"{int(number) + 9}-{nonce}")


def test_a_store_that_is_only_read_cannot_settle(location: Path) -> None:
    with LocalCasStore(location) as store:
        known = commit(store)
    with LocalCasStore(location, read_only=True) as store, pytest.raises(StorageReadOnlyError):
        store.was_committed(known)


def test_what_is_older_than_is_kept_is_said_to_be(location: Path) -> None:
    with LocalCasStore(location, durability="relaxed") as store:
        known = commit(store)
        while look(location, "SELECT count(*) FROM commits WHERE sequence = ?", int(known.split("-")[0])) == [
            (1,)
        ]:
            for _ in range(KEPT_COMMITS // 2):
                store.put_bytes(str(time.monotonic_ns()).encode())
        with pytest.raises(TransactionForgottenError) as raised:
            store.was_committed(known)
        assert raised.value.transaction_id == known


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1-",
        "x-0000000000000000",
        "1-000000000000000G",
        "-1-0000000000000000",
        "01-0000000000000000",
        "1-0000000000000000\n",
        f"{1 << 63}-{'0' * 16}",
        "9" * 5_000 + "-0000000000000000",
    ],
)
def test_what_is_no_id_is_refused(kept: LocalCasStore, text: str) -> None:
    for ask in (kept.was_committed, kept.undo_transaction):
        with pytest.raises(InvalidInputError, match="such as 12-0123456789abcdef"):  # a seq alone is none
            ask(text)
        for other in (1, None, b"1-0000000000000000"):
            with pytest.raises(TypeError, match="a transaction id is a str"):
                ask(other)  # type: ignore[arg-type]
