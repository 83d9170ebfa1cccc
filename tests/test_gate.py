"""The write lock: fair, in time, gone with whoever held it; and what it remembers of a failed commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_world_distfs import FileConflictError, LocalCasStore, StoreBusyError
from children import Start


def test_a_writer_that_waits_too_long_is_told_and_then_served(location: Path) -> None:
    with LocalCasStore(location) as holder, LocalCasStore(location, lock_timeout_s=0.2) as waiter:
        with pytest.raises(StoreBusyError) as raised:
            holder._catalog.write(lambda _: waiter.write_file("a", b"a"))
        assert raised.value.timeout_s == 0.2
        assert isinstance(raised.value, TimeoutError)
        waiter.write_file("a", b"a")
        holder.write_file("b", b"b")


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
