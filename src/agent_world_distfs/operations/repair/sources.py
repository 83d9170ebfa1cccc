"""Where good bytes may come from. No source is trusted: the caller hashes what it returns."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO, Protocol

from agent_world_distfs.engine.directories import STORE_NAMES
from agent_world_distfs.errors import NotFoundError, WorldError
from agent_world_distfs.hashing import hash_function, hash_stream
from agent_world_distfs.os_failures import translate_reading
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
    """The regular files below a plain directory, found by size and then by hash. No symlink is followed.

    What vanishes meanwhile is left out. What cannot be read is passed over, too, since another file may have
    the bytes; if none has, the error is raised: it cannot be said that they are not there.

    Of a store on the way, only the large blobs are looked at, and nothing that is called like a catalog is
    ever opened: it may be that of the store that is repaired, or of another that this process has open.
    Closing a file drops all POSIX locks that the process has on it, those of SQLite among them.
    """

    def __init__(self, name: str, algorithm: HashAlgorithm) -> None:
        self.name = name
        self._algorithm = algorithm
        self._by_size: dict[int, list[str]] | None = None
        self._hashes: dict[str, str] = {}
        self._unread: WorldError | None = None

    def open(self, content_hash: str, size_bytes: int) -> IO[bytes] | None:
        """See ``Source.open``."""
        if self._by_size is None:
            self._by_size = self._scan()
        unread = self._unread
        for path in self._candidates(self._by_size, content_hash, size_bytes):
            try:
                if self._hash(path) == content_hash:
                    return self._opened(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                unread = unread or translate_reading(error, path)
        if unread is not None:
            raise unread
        return None

    def _candidates(self, by_size: dict[int, list[str]], content_hash: str, size_bytes: int) -> Iterable[str]:
        """Those of the size; all, if 0 stands for one that is not known: of a pin whose row was lost."""
        if size_bytes or content_hash == hash_function(self._algorithm)(b""):
            return by_size.get(size_bytes, [])
        return chain.from_iterable(by_size.values())

    def _scan(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = defaultdict(list)
        for path in self._walk():
            try:
                status = os.stat(path, follow_symlinks=False)
            except OSError as error:
                self._pass_over(error)
                continue
            if stat.S_ISREG(status.st_mode):
                found[status.st_size].append(path)
        return found

    def _walk(self) -> Iterator[str]:
        for directory, below, names in os.walk(self.name, onerror=self._pass_over):
            if {*below, *names} >= STORE_NAMES:
                below[:] = ["blobs"]
                continue
            for name in sorted(names):
                if not name.startswith("catalog.db"):
                    yield os.path.join(directory, name)

    def _pass_over(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            self._unread = self._unread or translate_reading(error, self.name)

    def _hash(self, path: str) -> str:
        if path not in self._hashes:
            with self._opened(path) as file:
                self._hashes[path] = hash_stream(file, self._algorithm)
        return self._hashes[path]

    def _opened(self, path: str) -> IO[bytes]:
        return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
