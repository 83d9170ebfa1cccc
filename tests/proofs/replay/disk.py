"""A disk as a power cut sees it: inodes, the operations on them, and when each became durable.

The weakest disk that POSIX allows. Flushing a file makes its data and size durable, nothing else;
flushing a directory makes its entries durable, nothing else; flushing the file system does both for
all there are. A rename within a directory is one
operation; between two directories it is two, one on each. An operation that no flush has covered
may have happened or not, independently of all others.

A flush that failed covers nothing, and no later one covers what it should have: the system may take
the pages for clean. Such operations stay in doubt for ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

NEVER = 1 << 62


@dataclass(eq=False)
class Operation:
    """One change of one inode. ``when``, ``durable``: moments, in lines of the trace."""

    inode: int
    when: int
    durable: int = field(default=NEVER, init=False)
    is_lost: bool = field(default=False, init=False)


@dataclass(eq=False)
class Write(Operation):
    """Bytes at a position of a file."""

    offset: int = 0
    data: bytes = b""

    def __str__(self) -> str:
        return f"write of {len(self.data)} bytes at {self.offset}"


@dataclass(eq=False)
class Resize(Operation):
    """A file cut, or extended by zeros."""

    size_bytes: int = 0

    def __str__(self) -> str:
        return f"change of size to {self.size_bytes}"


@dataclass(eq=False)
class Entries(Operation):
    """Names of a directory that are set to an inode, or removed (None), all or none."""

    changes: tuple[tuple[str, int | None], ...] = ()

    def __str__(self) -> str:
        return ", ".join(
            f"removal of {name}" if inode is None else f"name {name}" for name, inode in self.changes
        )


@dataclass
class Inode:
    """What was durable at the start, and every change since. ``path``: its first name, to tell people."""

    path: str
    entries: dict[str, int] | None = None
    data: bytes = b""
    operations: list[Operation] = field(default_factory=list)

    @property
    def is_directory(self) -> bool:
        return self.entries is not None


class Disk:
    """All inodes below one directory, and its names as the running system sees them."""

    ROOT = 0

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.inodes: list[Inode] = []
        self._names: dict[int, dict[str, int]] = {}
        self._removed: dict[str, int] = {}
        self._sizes: dict[int, int] = {}
        known: dict[int, int] = {}
        self._load(self.root, known)

    def _load(self, path: str, known: dict[int, int]) -> int:
        """What is there before the run counts as durable."""
        identity = os.stat(path).st_ino
        if identity in known:
            return known[identity]
        number = known[identity] = len(self.inodes)
        if os.path.isdir(path):
            self.inodes.append(Inode(path, entries={}))
            names = {name: self._load(os.path.join(path, name), known) for name in sorted(os.listdir(path))}
            self.inodes[number].entries = names
            self._names[number] = dict(names)
        else:
            data = Path(path).read_bytes()
            self.inodes.append(Inode(path, data=data))
            self._sizes[number] = len(data)
        return number

    # --- names ---------------------------------------------------------------------------------

    def holds(self, path: str) -> bool:
        """Whether a path lies in this disk."""
        return path == self.root or path.startswith(self.root + "/")

    def find(self, path: str) -> int | None:
        """The inode that a path leads to now."""
        inode = self.ROOT
        for name in filter(None, path[len(self.root) :].split("/")):
            below = self._names.get(inode, {}).get(name)
            if below is None:
                return None
            inode = below
        return inode

    def of_descriptor(self, path: str) -> int:
        """The inode behind a descriptor, which may have lost its name."""
        found = self.find(path)
        if found is None:
            found = self._removed[path.removesuffix(" (deleted)")]
        return found

    def _place(self, path: str) -> tuple[int, str]:
        parent = self.find(os.path.dirname(path))
        assert parent is not None, path
        return parent, os.path.basename(path)

    # --- changes, as the running system makes them ---------------------------------------------

    def create(self, when: int, path: str, *, is_directory: bool) -> int:
        """A new file or directory."""
        inode = len(self.inodes)
        self.inodes.append(Inode(path, entries={} if is_directory else None))
        if is_directory:
            self._names[inode] = {}
        else:
            self._sizes[inode] = 0
        self.link(when, inode, path)
        return inode

    def link(self, when: int, inode: int, path: str) -> None:
        """A name more for an inode."""
        parent, name = self._place(path)
        self._change_entries(when, parent, ((name, inode),))

    def unlink(self, when: int, path: str) -> None:
        """A name less."""
        parent, name = self._place(path)
        self._removed[path] = self._names[parent][name]
        self._change_entries(when, parent, ((name, None),))

    def rename(self, when: int, source: str, target: str) -> None:
        """Another name, which replaces what had it."""
        inode, replaced = self.find(source), self.find(target)
        assert inode is not None, source
        if inode == replaced:
            return  # two names of one file: POSIX says that nothing happens
        if replaced is not None:
            self._removed[target] = replaced
        (old, old_name), (new, new_name) = self._place(source), self._place(target)
        if old == new:
            self._change_entries(when, old, ((old_name, None), (new_name, inode)))
        else:
            self._change_entries(when, new, ((new_name, inode),))
            self._change_entries(when, old, ((old_name, None),))

    def _change_entries(self, when: int, inode: int, changes: tuple[tuple[str, int | None], ...]) -> None:
        for name, target in changes:
            if target is None:
                del self._names[inode][name]
            else:
                self._names[inode][name] = target
        self.inodes[inode].operations.append(Entries(inode, when, changes))

    def write(self, when: int, inode: int, offset: int, data: bytes) -> None:
        """Bytes into a file."""
        self.inodes[inode].operations.append(Write(inode, when, offset, data))
        self._sizes[inode] = max(self._sizes[inode], offset + len(data))

    def resize(self, when: int, inode: int, size_bytes: int) -> None:
        """A file cut or extended."""
        self.inodes[inode].operations.append(Resize(inode, when, size_bytes))
        self._sizes[inode] = size_bytes

    def size_of(self, inode: int) -> int:
        return self._sizes[inode]

    # --- flushes -------------------------------------------------------------------------------

    def flush(self, began: int, ended: int, inode: int) -> None:
        """All changes of an inode that were over when the flush began are durable when it has ended."""
        for operation in self.inodes[inode].operations:
            if operation.when < began and not operation.is_lost:
                operation.durable = min(operation.durable, ended)

    def flush_all(self, began: int, ended: int) -> None:
        """The same for all inodes: a flush of the whole file system."""
        for inode in range(len(self.inodes)):
            self.flush(began, ended, inode)

    def fail_flush_all(self, began: int) -> None:
        """Such a flush that reported an error: it may have been of any of them."""
        for inode in range(len(self.inodes)):
            self.fail_flush(began, inode)

    def fail_flush(self, began: int, inode: int) -> None:
        """A flush that reported an error."""
        for operation in self.inodes[inode].operations:
            if operation.when < began and operation.durable == NEVER:
                operation.is_lost = True

    def pending(self, moment: int) -> list[Operation]:
        """What has been done and is not durable, in order."""
        found = [o for o in self._operations() if o.when < moment <= o.durable]
        return sorted(found, key=lambda operation: operation.when)

    def _operations(self) -> Iterator[Operation]:
        for inode in self.inodes:
            yield from inode.operations
