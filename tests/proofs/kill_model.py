"""What a store must hold after its writers were killed: told by what they said before."""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path

from agent_world_distfs import LocalCasStore

NOTHING = "-"
"""Stands for the content of a path that is not there, and for a pin that is not set."""

PINNED = "pinned"
PIN = "pin:"
"""Keys of a model are paths, and PIN with the token of the pinned content."""

_TRACE = 60


def body(token: str) -> bytes:
    """The content that a token ``name*size`` stands for; it says which it is."""
    name, size = token.split("*")
    head = f"{name}|".encode()
    return (head * (int(size) // len(head) + 1))[: int(size)]


class WriterModel:
    """One writer's paths and pins, each with what it may be: more than one value only after a kill.

    Lines: ``will key=value ...``, ``did``. A change of several keys happens whole or not at all.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.acknowledged = 0
        self.certain: dict[str, str] = {}
        self._pending: dict[str, str] = {}
        self._trace: deque[str] = deque(maxlen=_TRACE)

    def hear(self, line: str) -> None:
        """Take in a line that its child said."""
        self._trace.append(line)
        word, *changes = line.split()
        if word == "will":
            self._pending = dict(change.split("=") for change in changes)
        elif word == "saw":  # a child that starts has looked what became of the change before its time
            if self._pending and changes == ["after"]:
                self.certain |= self._pending
            self._pending = {}
        else:
            assert word == "did", line
            self.certain |= self._pending
            self._pending = {}
            self.acknowledged += 1

    def pinned(self) -> list[str]:
        """The tokens of contents that it has pinned, first come first."""
        return [key.removeprefix(PIN) for key, value in self.certain.items() if value == PINNED]

    def settle(self, store: LocalCasStore) -> str:
        """Which of both everything is as: before the change under way, or after it. It must be one."""
        before, after = self.certain, self.certain | self._pending
        keys = sorted(after)
        found = {key: _find(store, key, {before.get(key, NOTHING), after[key]}) for key in keys}
        if all(found[key] == after[key] for key in keys):
            return "after"
        if all(found[key] == before.get(key, NOTHING) for key in keys):
            return "before"
        wrong = [key for key in keys if found[key] not in (before.get(key, NOTHING), after[key])]
        raise AssertionError(self._report(wrong or sorted(self._pending), found))

    def check(self, store: LocalCasStore) -> None:
        """The same in the parent, that nobody else knows of paths of this writer included."""
        self.hear(f"saw {self.settle(store)}")
        paths = {key for key, value in self.certain.items() if value != NOTHING and not key.startswith(PIN)}
        listed = {file.path for file in store.list_files(prefix=f"{self.name}/")}
        assert listed == paths, f"{self.name}: listed and not expected, or the reverse: {listed ^ paths}"

    def _report(self, keys: list[str], found: dict[str, str]) -> str:
        lines = [f"{self.name}: what was acknowledged is not there, or a change is there in part"]
        for key in keys:
            expected = {self.certain.get(key, NOTHING), self._pending.get(key, "")} - {""}
            lines.append(f"  {key} is {found[key]}, expected {' or '.join(sorted(expected))}; what was said:")
            lines += [f"    {said}" for said in self._trace if f"{key}=" in said or said.startswith("saw")]
        return "\n".join(lines)


def _find(store: LocalCasStore, key: str, possible: set[str]) -> str:
    """What the key holds, as a token if it is one of those possible."""
    if key.startswith(PIN):
        return PINNED if store.is_pinned(store.hash_bytes(body(key.removeprefix(PIN)))) else NOTHING
    if store.stat_file(key) is None:
        return NOTHING
    data = store.read_file(key)
    for token in possible - {NOTHING}:
        if data == body(token):
            return token
    return repr(data[:60])


class CounterModel:
    """Which increments were acknowledged, and which were under way when their process was killed.

    Lines: ``try VALUE``, ``did VALUE``, ``lost VALUE`` (somebody else was first).
    """

    def __init__(self) -> None:
        self.acknowledged = 0
        self._done: Counter[int] = Counter()
        self._open: Counter[int] = Counter()
        self._trying: dict[int, int | None] = {}

    def hear(self, number: int, line: str) -> None:
        """Take in a line of the counter of this number."""
        word, value = line.split()
        if word == "try":
            left = self._trying.get(number)
            if left is not None:  # the child before was killed in it
                self._open[left] += 1
            self._trying[number] = int(value)
            return
        self._trying[number] = None
        if word == "did":
            self._done[int(value)] += 1
            self.acknowledged += 1

    def check(self, value: int) -> None:
        """Each value up to this was made by one increment, and every acknowledged one is among them."""
        may = self._open + Counter(left for left in self._trying.values() if left is not None)
        twice = [made for made, times in self._done.items() if times > 1]
        assert not twice, f"increments to {twice} were acknowledged twice: an update was lost"
        beyond = [made for made in self._done if made > value]
        assert not beyond, (
            f"the counter is {value}; acknowledged increments to {sorted(beyond)[:5]} were lost"
        )
        unknown = [made for made in range(1, value + 1) if made not in self._done and made not in may]
        assert not unknown, f"nobody made the increments to {unknown[:5]}"


def check_store(store: LocalCasStore, root: Path, *, is_emptied: bool) -> None:
    """Nothing dangles, nothing is rotten; emptied of orphans, nothing is left but what is named."""
    report = store.audit_file_index(verify=True)
    assert report.is_sound(), report
    if is_emptied:
        store.prune_orphan_blobs()
        report = store.audit_file_index(verify=True)
        assert report.is_clean(), report
        left = [entry.name for entry in (root / "tmp").iterdir() if entry.is_dir() and any(entry.iterdir())]
        assert not left, f"temporary files are left: {left}"
