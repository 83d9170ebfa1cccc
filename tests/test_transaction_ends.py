"""How a transaction ends where a closed store or an interrupt meets its end."""

# ruff: noqa: PT012  # what raises is the end of a block

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore, Transaction
from agent_world_distfs.catalog.write_side import WriteSide
from agent_world_distfs.catalog.writer import SqliteWriter
from calls import LARGE


def test_a_store_that_is_closed_once_a_transaction_has_committed_does_not_make_it_an_error(
    location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalCasStore(location)
    commit = Transaction._commit

    def commit_and_close(tx: Transaction) -> None:
        commit(tx)
        store.close()

    monkeypatch.setattr(Transaction, "_commit", commit_and_close)
    with store.transaction() as tx:
        tx.write_file("a", LARGE)
    with LocalCasStore(location) as other:
        assert other.read_file("a") == LARGE


def test_an_error_of_the_block_is_not_hidden_by_a_closed_store(location: Path) -> None:
    store = LocalCasStore(location)
    with pytest.raises(KeyError), store.transaction() as tx:
        tx.write_file("a", LARGE)
        store.close()
        raise KeyError


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("has_committed", [True, False])
def test_after_an_interrupt_of_its_commit_a_transaction_can_be_asked_about(
    store: LocalCasStore, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], has_committed: bool
) -> None:
    after_commit, commit = WriteSide._after_commit, WriteSide._commit

    def interrupt(side: WriteSide, writer: SqliteWriter) -> None:
        after_commit(side, writer)
        raise error

    def interrupt_before(side: WriteSide, *_: object) -> None:
        raise error

    with pytest.raises(error), store.transaction() as tx:
        tx.write_file("a", b"1")
        if has_committed:
            monkeypatch.setattr(WriteSide, "_after_commit", interrupt)
        else:
            monkeypatch.setattr(WriteSide, "_commit", interrupt_before)
    monkeypatch.setattr(WriteSide, "_after_commit", after_commit)
    monkeypatch.setattr(WriteSide, "_commit", commit)
    assert tx.transaction_id is not None
    assert tx.sequence is None
    assert store.was_committed(tx.transaction_id) is (store.stat_file("a") is not None) is has_committed
