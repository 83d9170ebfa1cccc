"""Backups beside four writers and a collector: each is a state that existed, whole, and restores to the same.

Each writer counts, and writes every number to a large file, then to a small one. In any state that
existed the small one is the same number or one behind; and in a later backup no number is lower.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from crowd import Forked, Say

from agent_world_distfs import LocalCasStore, restore_backup

pytestmark = pytest.mark.proof

WRITERS, BACKUPS = 4, 6


def write(location: Path, writer: int, say: Say) -> None:
    with LocalCasStore(location, durability="relaxed") as store:
        number = 0
        while not (location.parent / "stop").exists():
            number += 1
            store.write_file(f"{writer}/large", b"%012d" % number * 1_000)
            store.write_file(f"{writer}/small", b"%012d" % number)
        say(str(number))


def collect(location: Path, say: Say) -> None:
    taken = 0
    with LocalCasStore(location) as store:
        while not (location.parent / "stop").exists():
            taken += store.prune_orphan_blobs().pruned_blobs
    say(str(taken))


def numbers(location: Path) -> list[int]:
    """What each writer had come to; checks that it is a state that existed."""
    found = []
    with LocalCasStore(location, create=False, read_only=True) as store:
        report = store.audit_file_index(verify=True)
        assert report.is_sound(), report
        for writer in range(WRITERS):
            small = large = 0
            if store.stat_file(f"{writer}/small") is not None:
                small = int(store.read_file(f"{writer}/small"))
            if store.stat_file(f"{writer}/large") is not None:
                content = store.read_file(f"{writer}/large")
                large = int(content[:12])
                assert content == b"%012d" % large * 1_000
            assert large - 1 <= small <= large
            found.append(large)
    return found


def test_each_backup_beside_writers_and_a_collector_is_a_state_that_existed(tmp_path: Path) -> None:
    location = tmp_path / "store"
    LocalCasStore(location).close()
    children = [
        Forked(lambda say, writer=writer: write(location, writer, say))  # type: ignore[misc]
        for writer in range(WRITERS)
    ]
    children.append(Forked(lambda say: collect(location, say)))
    reached = [[0] * WRITERS]
    try:
        with LocalCasStore(location) as store:
            for number in range(BACKUPS):
                time.sleep(0.5)  # so that there is something new
                report = store.backup(tmp_path / "backup")
                assert report.is_whole(), report
                reached.append(numbers(tmp_path / "backup"))
                restore_backup(tmp_path / "backup", tmp_path / f"restored-{number}")
                assert numbers(tmp_path / f"restored-{number}") == reached[-1]
    finally:
        (tmp_path / "stop").touch()
        said = [child.hear_all() for child in children]
        statuses = [child.reap() for child in children]
    assert not any(statuses), said
    for earlier, later in itertools.pairwise(reached):
        assert all(one <= other for one, other in zip(earlier, later, strict=True))
    assert sum(reached[-1]) > 10 * WRITERS
    taken = int(said[-1][-1])
    assert taken > 0  # or nothing stood in the way
