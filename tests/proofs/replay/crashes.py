"""The states that a disk may be in after a power cut.

A *choice* says for each pending operation what became of it: nothing, all, or, for a write, a part:
its first bytes, or room for it without its bytes. What was durable has happened.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import product
from pathlib import Path

from replay.disk import Disk, Entries, Operation, Resize, Write

ALL, NOTHING, HOLE = -1, -2, -3
"""What became of an operation. A number from 0 on: so many bytes of a write."""

EXHAUSTIVE = 12
"""Up to so many pending operations every subset is tried, if the budget allows."""

Choice = tuple[int, ...]


def choices(pending: Sequence[Operation], seed: int) -> Iterator[Choice]:
    """What may have become of pending operations: the telling cases first, then every subset or samples."""
    chance, count = random.Random(seed), len(pending)
    everything, nothing = (ALL,) * count, (NOTHING,) * count
    yield nothing
    yield everything
    for index in range(count):
        yield _replaced(everything, index, NOTHING)
        yield _replaced(nothing, index, ALL)
    for index in range(1, count):
        yield everything[:index] + nothing[index:]
    for index, operation in enumerate(pending):
        for part in _parts(operation, chance):
            yield _replaced(everything, index, part)
            yield (*everything[:index], part, *nothing[index + 1 :])
    if count <= EXHAUSTIVE:
        subsets = list(product((ALL, NOTHING), repeat=count))
        chance.shuffle(subsets)
        yield from subsets
    while count:
        yield tuple(_sample(operation, chance) for operation in pending)


def _replaced(choice: Choice, index: int, part: int) -> Choice:
    return (*choice[:index], part, *choice[index + 1 :])


def _parts(operation: Operation, chance: random.Random) -> list[int]:
    """Ways for a write to have happened in part: torn at a sector, torn at a page, zeros."""
    if not isinstance(operation, Write):
        return []
    ends = [
        chance.choice(bounds)
        for unit in (512, 4096)
        if (bounds := list(range(unit - operation.offset % unit, len(operation.data), unit)))
    ]
    return [*dict.fromkeys(ends), HOLE]


def _sample(operation: Operation, chance: random.Random) -> int:
    parts = _parts(operation, chance)
    if parts and chance.random() < 0.2:
        return chance.choice(parts)
    return chance.choice((ALL, NOTHING))


@dataclass(frozen=True)
class Tree:
    """What a disk holds. ``files``: content of each inode; ``names``: path and inode (None: a directory)."""

    names: tuple[tuple[str, int | None], ...]
    files: Mapping[int, bytes]
    key: bytes

    def make(self, root: Path) -> None:
        """Lay it out as a real directory; zeros take no space."""
        made: dict[int, str] = {}
        for name, inode in self.names:
            path = os.path.join(root, name)
            if inode is None:
                os.mkdir(path)
            elif inode in made:
                os.link(made[inode], path)
            else:
                made[inode] = path
                _write_file(path, self.files[inode])


def _write_file(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    try:
        content = data.rstrip(b"\0")
        if content:
            os.write(fd, content)
        if len(content) < len(data):
            os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


class Crashes:
    """Builds states of one disk; contents that states have in common are made once."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._contents: dict[tuple[int, tuple[tuple[int, int], ...]], tuple[bytes, bytes]] = {}

    def tree(self, moment: int, pending: Sequence[Operation], choice: Choice) -> Tree:
        """What is there after a power cut at ``moment``, with this choice."""
        fate = {id(operation): part for operation, part in zip(pending, choice, strict=True)}
        names: list[tuple[str, int | None]] = []
        files: dict[int, bytes] = {}
        key = blake2b(digest_size=16)
        todo = [("", Disk.ROOT)]
        order: dict[int, int] = {}
        while todo:
            path, inode = todo.pop()
            happened = self._happened(inode, moment, fate)
            is_directory = self._disk.inodes[inode].is_directory
            if path:
                names.append((path, None if is_directory else inode))
            if is_directory:
                below = self._entries(inode, happened)
                todo += [(os.path.join(path, name), below[name]) for name in sorted(below, reverse=True)]
                key.update(f"{path}\0/\0".encode("utf-8", "surrogateescape"))
                continue
            files[inode], digest = self._content(inode, happened)
            same = order.setdefault(inode, len(order))
            key.update(f"{path}\0{same}\0".encode("utf-8", "surrogateescape") + digest)
        return Tree(tuple(names), files, key.digest())

    def _happened(self, inode: int, moment: int, fate: Mapping[int, int]) -> list[tuple[int, int]]:
        """Which operations of an inode, by position, and how much of each."""
        found = []
        for position, operation in enumerate(self._disk.inodes[inode].operations):
            if operation.when >= moment:
                break
            part = ALL if operation.durable < moment else fate[id(operation)]
            if part != NOTHING:
                found.append((position, part))
        return found

    def _entries(self, inode: int, happened: Sequence[tuple[int, int]]) -> dict[str, int]:
        directory = self._disk.inodes[inode]
        assert directory.entries is not None
        entries = dict(directory.entries)
        for position, _ in happened:
            operation = directory.operations[position]
            assert isinstance(operation, Entries)
            for name, target in operation.changes:
                if target is not None:
                    entries[name] = target
                else:
                    entries.pop(name, None)
        return {name: target for name, target in entries.items() if not name.endswith("-shm")}

    def _content(self, inode: int, happened: Sequence[tuple[int, int]]) -> tuple[bytes, bytes]:
        key = inode, tuple(happened)
        if key not in self._contents:
            data = self._apply(inode, happened)
            self._contents[key] = data, blake2b(data, digest_size=16).digest()
        return self._contents[key]

    def _apply(self, inode: int, happened: Sequence[tuple[int, int]]) -> bytes:
        file = self._disk.inodes[inode]
        data = bytearray(file.data)
        for position, part in happened:
            operation = file.operations[position]
            if isinstance(operation, Resize):
                del data[operation.size_bytes :]
                data.extend(bytes(operation.size_bytes - len(data)))
            elif isinstance(operation, Write):
                _put(data, operation, part)
        return bytes(data)


def _put(data: bytearray, write: Write, part: int) -> None:
    end = write.offset + len(write.data)
    if part == HOLE:
        data.extend(bytes(max(0, end - len(data))))
        return
    content = write.data if part == ALL else write.data[:part]
    data.extend(bytes(max(0, write.offset - len(data))))
    data[write.offset : write.offset + len(content)] = content
