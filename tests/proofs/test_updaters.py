"""Updaters: each update counts, everybody comes through, and nobody waits for much longer than the others."""

from __future__ import annotations

import pytest
from updaters import by_transaction, run

UNFAIR = 20
"""How many times the median one may wait at the longest, or his share."""


def test_ten_updaters_of_one_path_seldom_run_their_change_for_nothing() -> None:
    waits = run(processes=10, updates=10, paths=1)
    assert waits.updates == 100
    assert waits.calls <= 110, "only the first may meet"


@pytest.mark.proof
def test_a_hundred_updaters_of_one_path_all_finish_and_none_waits_much_longer_than_the_others() -> None:
    waits = run(processes=100, updates=5, paths=1)
    print(waits)
    assert waits.updates == 500
    assert waits.longest_s <= UNFAIR * waits.median_s, waits


@pytest.mark.proof
def test_updaters_of_different_paths_do_not_conflict() -> None:
    waits = run(processes=32, updates=20, paths=32)
    print(waits)
    assert waits.calls == waits.updates == 640


@pytest.mark.proof
def test_thirty_processes_that_change_one_file_in_transactions_all_come_through() -> None:
    """Whoever has not lost does not queue, so that the median is that of those who never met."""
    waits = run(processes=30, updates=10, paths=1, update=by_transaction)
    print(waits)
    assert waits.updates == 300
    assert waits.longest_s <= UNFAIR * waits.share_s, waits


@pytest.mark.proof
def test_transactions_on_different_files_do_not_queue() -> None:
    waits = run(processes=30, updates=10, paths=30, update=by_transaction)
    print(waits)
    assert waits.calls == waits.updates == 300
