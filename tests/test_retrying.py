"""Turns and nested calls, where interrupts and second names get in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs import InvalidInputError, LocalCasStore, Retry
from striking import RaiseAtLine


class Struck(BaseException):
    pass


def update(store: LocalCasStore) -> None:
    store.update_file("n", lambda content: (content or b"") + b"1")


def run(store: LocalCasStore) -> None:
    store.run_transaction(lambda tx: tx.write_file("n", b""))


@pytest.mark.parametrize(
    "part", ["engine/retrying.py", "operations/updating.py", "operations/transactions/running.py"]
)
@pytest.mark.parametrize(
    ("call", "name", "insists"), [(update, "path n", True), (run, "transactions", False)]
)
def test_an_interrupt_at_any_line_leaves_no_turn_taken_and_no_call_open(
    store: LocalCasStore, part: str, call: Callable[[LocalCasStore], None], name: str, insists: bool
) -> None:
    kept: list[Struck] = []  # as by a log: what it hit is not forgotten
    for number in range(1, 1000):
        striking = RaiseAtLine(number, Struck, part)
        try:
            with striking:
                call(store)
        except Struck as struck:
            kept.append(struck)
        turn = store._catalog.turn(name, insists=insists)
        assert turn.take()
        turn.release()
        call(store)
        if not striking.has_raised:
            break
    assert len(kept) == number - 1


def test_a_nested_call_is_refused_by_whatever_name_the_store_was_opened(
    store: LocalCasStore, tmp_path: Path
) -> None:
    (tmp_path / "other").symlink_to(store.location)
    once = Retry(max_attempts=1)
    with LocalCasStore(tmp_path / "other") as other:

        def change(_: bytes | None) -> bytes:
            update(other)
            return b""

        with pytest.raises(InvalidInputError, match="within"):
            store.update_file("n", change, retry=once)
        with pytest.raises(InvalidInputError, match="within"):
            store.run_transaction(lambda _: run(other), retry=once)
    assert store.list_files() == []


def test_a_call_within_one_of_another_store_is_none_within_itself(
    store: LocalCasStore, tmp_path: Path
) -> None:
    with LocalCasStore(tmp_path / "another") as another:

        def change(_: bytes | None) -> bytes:
            update(another)
            return b""

        store.update_file("n", change)
        assert another.read_file("n") == b"1"
