"""Where good bytes may come from. No source is trusted: the caller hashes what it returns."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable
from typing import IO, Protocol

from agent_world_distfs.errors import NotFoundError
from agent_world_distfs.hashing import hash_stream
from agent_world_distfs.os_failures import translate_reading, translated
from agent_world_distfs.records import HashAlgorithm


class Source(Protocol):
    """One place to ask."""

    name: str

    def open(self, content_hash: str, size_bytes: int) -> IO[bytes] | None:
        """What it has under a hash, as a stream that the caller closes; None: nothing."""
        ...


class OpenedSource:
    """Whatever a function can open by hash."""

    def __init__(self, name: str, open_blob: Callable[[str], IO[bytes]]) -> None:
        self.name = name
        self._open = open_blob

    def open(self, content_hash: str, size_bytes: int) -> IO[bytes] | None:  # noqa: ARG002  # a hash will do
        """See ``Source.open``."""
        try:
            return self._open(content_hash)
        except NotFoundError:
            return None


class TreeSource:
    """The regular files below a plain directory, found by size and then by hash. No symlink is followed."""

    def __init__(self, name: str, algorithm: HashAlgorithm) -> None:
        self.name = name
        self._algorithm = algorithm
        self._by_size: dict[int, list[str]] | None = None
        self._hashes: dict[str, str] = {}

    def open(self, content_hash: str, size_bytes: int) -> IO[bytes] | None:
        """See ``Source.open``."""
        if self._by_size is None:
            self._by_size = self._scan()
        for path in self._by_size.get(size_bytes, []):
            if path not in self._hashes:
                self._hashes[path] = self._hash(path)
            if self._hashes[path] == content_hash:
                return self._opened(path)
        return None

    def _scan(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = defaultdict(list)
        for directory, _, names in os.walk(self.name, onerror=self._refuse):
            for name in sorted(names):
                path = os.path.join(directory, name)
                with translated(path, translate_reading):
                    status = os.stat(path, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    found[status.st_size].append(path)
        return found

    def _refuse(self, error: OSError) -> None:
        raise translate_reading(error, self.name) from error

    def _hash(self, path: str) -> str:
        with self._opened(path) as file, translated(path, translate_reading):
            return hash_stream(file, self._algorithm)

    def _opened(self, path: str) -> IO[bytes]:
        with translated(path, translate_reading):
            return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
