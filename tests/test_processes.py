"""Many processes on one store: nothing is lost, nothing live is collected, the dead block nobody."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore
from children import Start

INCREMENT = """
with LocalCasStore(location) as store:
    say("ready")
    hear()
    for _ in range(int(sys.argv[2])):
        while True:
            meta, data = store.read_file_with_metadata("counter")
            try:
                store.write_file_if_match("counter", meta.content_hash, b"%d" % (int(data) + 1))
                break
            except FileConflictError:
                pass
"""

WRITE = """
with LocalCasStore(location) as store:
    me, large = sys.argv[2], int(sys.argv[4])
    say("ready")
    hear()
    for number in range(int(sys.argv[3])):
        body = b"%s %d" % (me.encode(), number)
        store.write_file(f"{me}/{number}", body * 4000 if large and number % large == 0 else body)
        store.write_file(f"shared/{number % 50}", b"shared")   # dedup hits on what others overwrite
"""

COLLECT = """
with LocalCasStore(location) as store:
    say("ready")
    while True:
        store.prune_orphan_blobs()
"""


def count_up(start: Start, location: Path, processes: int, increments: int) -> int:
    with LocalCasStore(location) as store:
        store.write_file("counter", b"0")
        children = [start(INCREMENT, location, increments) for _ in range(processes)]
        for child in children:
            assert child.hear() == "ready"
        for child in children:
            child.tell()
        for child in children:
            child.finish()
        return int(store.read_file("counter"))


def test_increments_of_four_processes_all_count(start: Start, location: Path) -> None:
    assert count_up(start, location, 4, 100) == 400


@pytest.mark.proof
def test_increments_of_eight_processes_all_count(start: Start, location: Path) -> None:
    assert count_up(start, location, 8, 1000) == 8000


def write_beside_a_collector(start: Start, location: Path, processes: int, paths: int) -> None:
    collector = start(COLLECT, location)
    assert collector.hear() == "ready"
    writers = [start(WRITE, location, f"w{number}", paths, 10) for number in range(processes)]
    for writer in writers:
        assert writer.hear() == "ready"
    for writer in writers:
        writer.tell()
    for writer in writers:
        writer.finish()
    collector.kill()
    with LocalCasStore(location) as store:
        names = [file.path for file in store.list_files() if not file.path.startswith("shared/")]
        assert len(names) == processes * paths
        for name in names:
            assert store.read_file(name).split()[0].decode() == name.split("/", maxsplit=1)[0]
        assert store.audit_file_index(verify=True).is_sound()
        store.prune_orphan_blobs()
        assert store.audit_file_index(verify=True).is_clean()
        assert len(store.list_files()) == len(names) + min(paths, 50)


def test_four_writers_beside_a_collector_lose_nothing(start: Start, location: Path) -> None:
    write_beside_a_collector(start, location, 4, 100)


@pytest.mark.proof
def test_eight_writers_beside_a_collector_lose_nothing(start: Start, location: Path) -> None:
    write_beside_a_collector(start, location, 8, 1000)


ACKNOWLEDGE = """
with LocalCasStore(location) as store:
    number = int(sys.argv[2])
    while True:
        number += 1
        store.write_file(f"{sys.argv[3]}/{number}", b"%d" % number * (1 if number % 4 else 5000))
        say(number)
"""


def kill_writers(start: Start, location: Path, rounds: int, seed: int) -> None:
    """Kill writers and a collector at random moments; what was acknowledged is there at the next open."""
    chance = random.Random(seed)
    acknowledged: dict[str, int] = {"a": 0, "b": 0}
    for number in range(rounds):
        collector = start(COLLECT, location)
        writers = {name: start(ACKNOWLEDGE, location, done, name) for name, done in acknowledged.items()}
        for writer in writers.values():
            writer.hear()
        time.sleep(chance.uniform(0.0, 0.05))
        victims = [collector, *writers.values()]
        chance.shuffle(victims)
        for victim in victims:
            victim.kill()
        with LocalCasStore(location, lock_timeout_s=2) as store:
            store.write_file("next", b"%d" % number)
            for name, writer in writers.items():
                lines = writer.hear_all()
                acknowledged[name] = max(acknowledged[name] + 1, *map(int, lines or ["0"]))
                for path in range(1, acknowledged[name] + 1):
                    body = b"%d" % path * (1 if path % 4 else 5000)
                    assert store.read_file(f"{name}/{path}") == body, f"seed {seed}, round {number}"
            assert store.audit_file_index().is_sound()
            assert [entry.name for entry in (location / "tmp").iterdir() if entry.suffix != ".lock"] in (
                [],
                [store._blobs.session()],
            )


def test_killed_writers_lose_nothing_that_was_acknowledged(start: Start, location: Path) -> None:
    kill_writers(start, location, 4, seed=1)


@pytest.mark.proof
def test_killed_writers_lose_nothing_in_many_rounds(start: Start, location: Path) -> None:
    kill_writers(start, location, 60, seed=2)
