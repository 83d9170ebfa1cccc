"""Sources of a repair, and one that gives something else time to happen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent_world_distfs import BlobNotFoundError, LocalCasStore


class OnlyRead:
    """The rest of a source of which nothing but content is wanted."""

    def has(self, content_hash: str) -> bool:
        raise AssertionError

    def put(self, content_hash: str, data: object) -> None:
        raise AssertionError

    def put_bytes(self, data: object) -> str:
        raise AssertionError


class Meanwhile(OnlyRead):
    """A source that has nothing; asking it takes so long that something else happens first."""

    location = "meanwhile"

    def __init__(self, store: LocalCasStore, happens: Callable[[], object]) -> None:
        self.hash_algorithm = store.hash_algorithm
        self._happens = happens

    def get(self, content_hash: str) -> bytes:
        self._happens()
        raise BlobNotFoundError(content_hash)


def spoil(file: Path) -> None:
    """Change the last byte."""
    file.write_bytes(file.read_bytes()[:-1] + b"!")
