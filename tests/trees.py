"""What goes from a real directory into an index, or out to one: made, and read back whole."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from agent_world_distfs import LocalCasStore

LARGE = bytes(range(256)) * 200
"""More than is stored inline."""

DEPTH = 500
"""Directories in directories: more than a process may have descriptors where it matters."""


CONTENTS = {
    "a.txt": b"a",
    "empty": b"",
    "docs/sub/large.bin": LARGE,
    "docs/sub/inline-at-most": b"i" * 8192,
    "docs/a-b/c": b"c",
    "docs-and/more": b"between docs and docs/ as bytes go",
    "docs/z": b"z",
    "文件/é e\u0301/\x1b[31m \\x:*?": b"any text is a name",
}
"""A bit of everything that a file can be called and can hold."""


def plant(root: Path, contents: dict[str, bytes]) -> Path:
    """Make a directory with these files."""
    for path, data in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def files_of(root: Path) -> dict[str, bytes]:
    """What a directory holds; there must be nothing else in it."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        assert stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


def looks(root: Path) -> list[tuple[str, int, int, int, bytes | None]]:
    """All that a change to a directory or a file would show in. The time of reading is left out: it moves."""
    found = []
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else None
        found.append((str(path), status.st_mode, status.st_mtime_ns, status.st_ctime_ns, data))
    return found


def write_all(store: LocalCasStore, contents: dict[str, bytes]) -> None:
    """Write these files, one by one."""
    for path, data in contents.items():
        store.write_file(path, data)


def held(store: LocalCasStore) -> dict[str, bytes]:
    """What the index holds."""
    return {file.path: store.read_file(file.path) for file in store.list_files()}


def once(work: Callable[[], object]) -> Callable[[int, int | None], None]:
    """Progress that does something after the first file."""

    def progress(done: int, _: int | None) -> None:
        if done == 1:
            work()

    return progress


def interrupt_at(number: int) -> Callable[[int, int | None], None]:
    """Progress that is interrupted after so many files."""

    def progress(done: int, _: int | None) -> None:
        if done == number:
            raise KeyboardInterrupt

    return progress
