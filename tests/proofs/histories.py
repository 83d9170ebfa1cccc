"""Histories of conditional operations of many processes, of several threads each, on few paths, under kills.

Whether they can be is what is checked. Threads of a process share commits.

python tests/proofs/histories.py SEED OPERATIONS
"""

from __future__ import annotations

import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from crowd import FAILED, Forked, Say, hear_some, place_for

from agent_world_distfs import (
    ABSENT,
    FileConflictError,
    FileMetadata,
    LocalCasStore,
    OutcomeUnknownError,
    PathNotFoundError,
)
from agent_world_distfs.records import Expected
from agent_world_distfs.testing.linearizability import (
    NEVER,
    Change,
    Observation,
    Operation,
    Value,
    find_violation,
)

PROCESSES = 8
THREADS = 3
PATHS = tuple(f"hot/{number}" for number in range(6))
ROUND = 5_000
"""Operations on one store before it is checked and another begun: what kills leave open costs the checker."""

NO_FILE = "-"
KILL_EVERY_S = 0.1


class Call(NamedTuple):
    """What a process said when it began an operation. ``changes``: the value to be, None if it only looks."""

    called: float
    path: str
    expected: Expected
    changes: str | None
    label: str


@dataclass
class Recorder:
    """Turns what one thread says into operations.

    Lines: ``call TIME PATH look`` or ``call TIME PATH CONDITION VALUE``; then ``done TIME``, or
    ``found TIME VALUE``, or ``unknown``.
    """

    label: str
    histories: dict[str, list[Operation]]
    _open: Call | None = field(default=None)

    def hear(self, line: str) -> bool:
        """Take in a line; whether an operation has returned with it."""
        word, *rest = line.split()
        if word == FAILED:
            raise AssertionError(line.encode().decode("unicode_escape"))
        if word == "call":
            self.lose()
            self._open = _parse_call(rest, self.label)
            return False
        call, self._open = self._open, None
        assert call is not None, line
        if word == "found":
            self.histories[call.path].append(
                Observation(call.called, float(rest[0]), _value(rest[1]), call.label)
            )
        elif word == "done":
            self._add_change(call, float(rest[0]))
        else:
            self._add_change(call, NEVER)
        return True

    def lose(self) -> None:
        """The process is dead; what it had begun may have happened."""
        if self._open is not None and self._open.changes is not None:
            self._add_change(self._open, NEVER)
        self._open = None

    def _add_change(self, call: Call, returned: float) -> None:
        assert call.changes is not None
        value = _value(call.changes)
        self.histories[call.path].append(Change(call.called, returned, call.expected, value, call.label))


def _value(word: str) -> Value:
    return None if word == NO_FILE else word


def _parse_call(words: list[str], label: str) -> Call:
    called, path, condition, *changes = words
    if condition == "look":
        return Call(float(called), path, None, None, label)
    expected: Expected = ABSENT if condition == NO_FILE else condition
    return Call(float(called), path, expected, changes[0], label)


# --- what a thread does ----------------------------------------------------------------------


class Caller:
    """Does conditional operations for ever, with what it last saw as the condition."""

    def __init__(self, store: LocalCasStore, say: Say, name: str, chance: random.Random) -> None:
        self._store, self._say, self._name, self._chance = store, say, name, chance
        self._known: dict[str, str] = {}
        self._number = 0

    def step(self) -> None:
        path, kind = self._chance.choice(PATHS), self._chance.random()
        known = self._known.get(path, NO_FILE)
        if kind < 0.45:
            self._do(path, "look", self._read if kind < 0.3 else self._stat)
        elif kind < 0.53:
            self._do(path, f"{known} {NO_FILE}", lambda path: self._delete(path, known))
        else:
            expected = NO_FILE if kind > 0.97 else known
            self._number += 1
            large = 9_000 if self._chance.random() < 0.05 else 1
            data = f"{self._name} {self._number} ".encode() * large
            value = self._store.hash_bytes(data)
            self._do(path, f"{expected} {value}", lambda path: self._write(path, expected, data))

    def _do(self, path: str, what: str, operation: Callable[[str], FileMetadata | str | None]) -> None:
        self._say(f"call {_now()} {path} {what}")
        try:
            found = operation(path)
        except OutcomeUnknownError:
            self._say("unknown")
            return
        except FileConflictError as conflict:
            found = conflict.actual
        except PathNotFoundError:
            found = None
        if isinstance(found, str):
            self._say(f"done {_now()}")
            self._known[path] = found
            return
        self._known[path] = NO_FILE if found is None else found.content_hash
        self._say(f"found {_now()} {self._known[path]}")

    def _read(self, path: str) -> FileMetadata:
        meta, data = self._store.read_file_with_metadata(path)
        assert self._store.hash_bytes(data) == meta.content_hash
        return meta

    def _stat(self, path: str) -> FileMetadata | None:
        return self._store.stat_file(path)

    def _write(self, path: str, expected: str, data: bytes) -> str:
        condition = ABSENT if expected == NO_FILE else expected
        return self._store.write_file_if_match(path, condition, data).content_hash

    def _delete(self, path: str, expected: str) -> str | None:
        """The value that it leaves; None if there was nothing to delete, which is something found."""
        condition = ABSENT if expected == NO_FILE else expected
        return NO_FILE if self._store.delete_file_if_match(path, condition) else None


def _now() -> int:
    return time.monotonic_ns() // 1000


def _call_for_ever(root: Path, say: Say, name: str, bug: Callable[[], None] | None) -> None:
    if bug is not None:
        bug()

    def call(number: int) -> None:
        own_name = f"{name}.{number}"
        caller = Caller(store, lambda line: say(f"{number} {line}"), own_name, random.Random(own_name))
        try:
            while True:
                caller.step()
        except BaseException:  # noqa: BLE001  # whatever it is, the parent shall hear of it
            say(f"{number} {FAILED} {traceback.format_exc()!r}")

    with LocalCasStore(root, create=False) as store:
        threads = [threading.Thread(target=call, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _collect_for_ever(root: Path) -> None:
    with LocalCasStore(root, create=False) as store:
        while True:
            store.prune_orphan_blobs()
            time.sleep(0.02)


# --- one round and all of them ----------------------------------------------------------------


class Round:
    """The processes of one store and the history that they made."""

    def __init__(self, root: Path, name: str, bug: Callable[[], None] | None) -> None:
        self._root, self._name, self._bug = root, name, bug
        self.histories: dict[str, list[Operation]] = {path: [] for path in PATHS}
        self.returned = self.killed = 0
        self._chance = random.Random(name)
        LocalCasStore(root).close()
        self._children: dict[Forked, list[Recorder]] = {}

    def record(self, operations: int) -> None:
        """Let everybody call until so many calls have returned, and kill one after the other meanwhile."""
        collector = Forked(lambda _: _collect_for_ever(self._root))
        try:
            for _ in range(PROCESSES):
                self._start()
            next_kill = time.monotonic() + KILL_EVERY_S
            while self.returned < operations:
                for child, lines in hear_some(self._children, KILL_EVERY_S):
                    self._hear(child, lines)
                if time.monotonic() > next_kill:
                    self._kill(self._chance.choice(list(self._children)))
                    self._start()
                    next_kill += self._chance.uniform(0, 2 * KILL_EVERY_S)
        finally:
            collector.kill()
            for child in list(self._children):
                self._kill(child)
        self._look()

    def _start(self) -> None:
        name = f"{self._name}.{self.killed}.{len(self._children)}"
        child = Forked(lambda say: _call_for_ever(self._root, say, name, self._bug))
        self._children[child] = [Recorder(f"{name}.{number}", self.histories) for number in range(THREADS)]

    def _hear(self, child: Forked, lines: list[str]) -> None:
        for line in lines:
            number, _, said = line.partition(" ")
            if number == FAILED:
                raise AssertionError(said.encode().decode("unicode_escape"))
            self.returned += self._children[child][int(number)].hear(said)

    def _kill(self, child: Forked) -> None:
        self._hear(child, child.kill())
        for recorder in self._children.pop(child):
            recorder.lose()
        self.killed += 1

    def _look(self) -> None:
        """What is there in the end was seen, too."""
        with LocalCasStore(self._root) as store:
            for path, history in self.histories.items():
                found = store.stat_file(path)
                value = None if found is None else found.content_hash
                history.append(Observation(_now(), _now() + 1, value, "at the end"))
            assert store.audit_file_index(verify=True).is_sound()

    def check(self) -> None:
        for path, history in self.histories.items():
            violation = find_violation(history)
            assert violation is None, f"{path}: {violation}"


def run(seed: int, operations: int, bug: Callable[[], None] | None = None) -> Counter[str]:
    """Record so many operations and check them; what was done. AssertionError if they cannot have been."""
    counts: Counter[str] = Counter()
    while counts["operations"] < operations:
        with place_for("histories") as place:
            name = f"{seed}.{counts['rounds']}"
            recorded = Round(place / "store", name, bug)
            try:
                recorded.record(min(ROUND, operations - counts["operations"]))
                recorded.check()
            except AssertionError as error:
                again = f"python tests/proofs/histories.py {seed} {operations}"
                raise AssertionError(
                    f"seed {seed}, {name}: {error}\nagain (moments differ): {again}"
                ) from error
        counts.update(operations=recorded.returned, kills=recorded.killed, rounds=1)
        steps = [step for history in recorded.histories.values() for step in history]
        counts["changes"] += sum(isinstance(step, Change) for step in steps)
        counts["unfinished"] += sum(step.returned == NEVER for step in steps)
    return counts


if __name__ == "__main__":
    print(dict(run(int(sys.argv[1]), int(sys.argv[2]))))
