"""Byte for byte: what a store has of a directory against what the disk has now.

Goes by the disk, not by the store, so that a file which the import overlooked shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from io import FileIO

from agent_world_distfs import LocalCasStore, Progress
from agent_world_distfs.faces.tour.disk import Disk, as_told
from agent_world_distfs.faces.tour.facts import Compared

CHUNK_BYTES = 1 << 20


@dataclass
class _Findings:
    identical_files: int = 0
    identical_bytes: int = 0
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    unstored: list[str] = field(default_factory=list)


def compare(
    store: LocalCasStore,
    prefix: str,
    disk: Disk,
    *,
    skipped: frozenset[str],
    since_ns: int,
    progress: Progress | None,
) -> Compared:
    """Read every file below ``prefix`` back and compare it with the disk; progress in files.

    ``skipped``: what the import said that it left out. ``since_ns``: when the tour began.
    """
    stored = {file.path.removeprefix(prefix): file.size_bytes for file in store.iter_files(prefix=prefix)}
    total, found = len(stored), _Findings()
    for path, is_file in disk.walk(lambda path: as_told(path) in skipped):
        if path not in stored:
            if is_file:
                (found.new if disk.is_touched(path, since_ns) else found.unstored).append(as_told(path))
            continue
        size_bytes = stored.pop(path)
        if is_file and is_identical(store, prefix, disk, path):
            found.identical_files += 1
            found.identical_bytes += size_bytes
        else:
            (found.changed if disk.is_touched(path, since_ns) else found.different).append(path)
        if progress is not None:
            progress(total - len(stored), total)
    found.gone.extend(stored)
    return Compared(
        total,
        found.identical_files,
        found.identical_bytes,
        changed_paths=tuple(sorted(found.changed)),
        gone_paths=tuple(sorted(found.gone)),
        new_paths=tuple(sorted(found.new)),
        different_paths=tuple(sorted(found.different)),
        unstored_paths=tuple(sorted(found.unstored)),
    )


def is_identical(store: LocalCasStore, prefix: str, disk: Disk, path: str) -> bool:
    """Whether the disk has exactly the bytes that the store has; in bounded memory."""
    with store.open_file(prefix + path) as stored:
        try:
            with disk.open(path) as file:
                while theirs := stored.read(CHUNK_BYTES):
                    if _read_up_to(file, len(theirs)) != theirs:
                        return False
                return not file.read(1)
        except OSError:
            return False  # it could be read before: somebody took it away


def _read_up_to(file: FileIO, size_bytes: int) -> bytes:
    data = file.read(size_bytes)
    while len(data) < size_bytes and (more := file.read(size_bytes - len(data))):
        data += more
    return data
