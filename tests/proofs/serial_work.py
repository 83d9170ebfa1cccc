"""Processes that read and write a few files in transactions and by plain writes, and say what they saw.

python tests/proofs/serial_work.py SEED PROCESSES ROUNDS
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from again import command_of
from crowd import FAILED, Forked, Say, place_for
from serial import Done, find_cycle

from agent_world_distfs import (
    ABSENT,
    FileConflictError,
    LocalCasStore,
    PathNotFoundError,
    Retry,
    Transaction,
    TransactionConflictError,
)

PATHS = [f"{directory}/{number}" for directory in "ab" for number in range(4)]
Bug = Callable[[], None]


class Worker:
    """One process: its operations are numbered, and what they write says who wrote it."""

    def __init__(self, store: LocalCasStore, name: str, seed: int, say: Say) -> None:
        self._store, self._name, self._say = store, name, say
        self._chance = random.Random(f"{seed}-{name}")
        self._count = 0
        self._lost = 0

    def work(self, rounds: int) -> None:
        """So many operations that have committed."""
        done = 0
        while done < rounds:
            kind = self._chance.choices(
                [self._transaction, self._write, self._write_if_match, self._run], [8, 1, 2, 2]
            )[0]
            done += self._record(kind)
        self._say(f"lost {self._lost}")

    def _record(self, operation: Callable[[str, dict[str, str | None], dict[str, str]], None]) -> bool:
        self._count += 1
        name = f"{self._name}.{self._count}"
        reads: dict[str, str | None] = {}
        writes: dict[str, str] = {}
        began = time.monotonic_ns()
        try:
            operation(name, reads, writes)
        except (FileConflictError, TransactionConflictError):
            self._lost += 1
            return False
        self._say(json.dumps([name, began, time.monotonic_ns(), reads, writes]))
        return True

    def _transaction(self, name: str, reads: dict[str, str | None], writes: dict[str, str]) -> None:
        with self._store.transaction(actor=name) as tx:
            self._steps(tx, name, reads, writes)

    def _run(self, name: str, reads: dict[str, str | None], writes: dict[str, str]) -> None:
        def fn(tx: Transaction) -> None:
            reads.clear()
            writes.clear()
            self._steps(tx, name, reads, writes)

        self._store.run_transaction(fn, retry=Retry(max_attempts=5))

    def _steps(
        self, tx: Transaction, name: str, reads: dict[str, str | None], writes: dict[str, str]
    ) -> None:
        for _ in range(self._chance.randrange(4)):
            if self._chance.random() < 0.3:
                self._list(tx, reads)
            else:
                path = self._chance.choice(PATHS)
                try:
                    reads[path] = _value(tx.read_file(path))
                except PathNotFoundError:
                    reads[path] = None
            if self._chance.random() < 0.3:
                time.sleep(self._chance.random() * 0.002)
        for path in self._chance.sample(PATHS, self._chance.randrange(3)):
            tx.write_file(path, self._content(name))
            writes[path] = name

    def _list(self, tx: Transaction, reads: dict[str, str | None]) -> None:
        prefix = self._chance.choice(["a/", "b/", ""])
        there = {file.path for file in tx.list_files(prefix=prefix)}
        for path in PATHS:
            if path.startswith(prefix):
                reads[path] = _value(tx.read_file(path)) if path in there else None

    def _write(self, name: str, reads: dict[str, str | None], writes: dict[str, str]) -> None:
        path = self._chance.choice(PATHS)
        self._store.write_file(path, self._content(name))
        writes[path] = name

    def _write_if_match(self, name: str, reads: dict[str, str | None], writes: dict[str, str]) -> None:
        path = self._chance.choice(PATHS)
        try:
            meta, data = self._store.read_file_with_metadata(path)
        except PathNotFoundError:
            self._store.write_file_if_match(path, ABSENT, self._content(name))
            reads[path] = None
        else:
            self._store.write_file_if_match(path, meta.content_hash, self._content(name))
            reads[path] = _value(data)
        writes[path] = name

    def _content(self, name: str) -> bytes:
        """The name, and sometimes as much again as makes a file of it."""
        return name.encode() + b" " * (self._chance.random() < 0.1) * 10_000


def _value(content: bytes) -> str:
    return content.decode().rstrip()


def run(seed: int, processes: int, rounds: int, bug: Bug | None = None) -> Counter[str]:
    """Let them work; AssertionError if no order explains what they say."""
    with place_for("serial") as place:
        root = place / "store"
        LocalCasStore(root).close()

        def work(number: int, say: Say) -> None:
            if bug is not None:
                bug()
            with LocalCasStore(root, create=False, durability="relaxed") as store:
                Worker(store, f"w{number}", seed, say).work(rounds)

        children = [Forked(lambda say, number=number: work(number, say)) for number in range(processes)]  # type: ignore[misc]
        lines = [line for child in children for line in child.hear_all()]
        for child in children:
            child.reap()
        versions = _versions(root)
    for line in lines:
        assert not line.startswith(FAILED), line.encode().decode("unicode_escape")
    lost = sum(int(line.split()[1]) for line in lines if line.startswith("lost"))
    history = [Done(*json.loads(line)) for line in lines if not line.startswith("lost")]
    cycle = find_cycle(history, versions)
    shown = "\n".join(f"  {begin} -> {end}: {why}" for begin, end, why in cycle)
    assert not cycle, f"no order fits:\n{shown}\n{command_of(__file__, seed, processes, rounds)}"
    return Counter(
        operations=len(history), lost=lost, versions=sum(len(values) for values in versions.values())
    )


def _versions(root: Path) -> dict[str, list[str]]:
    """What each path held, first to last."""
    versions: dict[str, list[str]] = defaultdict(list)
    with LocalCasStore(root) as store:
        for change in store.changes():
            assert change.after is not None
            versions[change.path].append(_value(store.get(change.after.content_hash)))
    return versions


if __name__ == "__main__":
    print(dict(run(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
