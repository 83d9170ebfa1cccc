"""Bytes out of another store, whatever it is made of."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from agent_world_distfs.engine.intake import read_up_to
from agent_world_distfs.errors import (
    BlobHashMismatchError,
    BlobMissingError,
    BlobNotFoundError,
    CorruptError,
    InvalidInputError,
    ManifestError,
)
from agent_world_distfs.protocols import BlobStore
from agent_world_distfs.records import HashAlgorithm, Readable

EXCESS_BYTES = 64 << 20
"""What is said may be too little, where it is damaged; so much more makes no difference on a disk."""

_NOT_SAID = object()


def open_at(source: BlobStore, content_hash: str) -> IO[bytes]:
    """The blob as a stream, where the source can give one; else as one piece in memory."""
    with damage_of(source):
        open_blob = getattr(source, "open_blob", None)
        if open_blob is None:
            return io.BytesIO(source.get(content_hash))
        stream: IO[bytes] = open_blob(content_hash)
        return stream


def named_by(source: object) -> str | None:
    """The hash algorithm that a source names blobs by; None if it does not say."""
    algorithm = getattr(source, "hash_algorithm", _NOT_SAID)
    if algorithm is _NOT_SAID:
        return None
    return algorithm.value if isinstance(algorithm, HashAlgorithm) else str(algorithm)  # of others: text


def require_algorithm(theirs: str | None, ours: HashAlgorithm) -> None:
    """Raise InvalidInputError if a source names blobs by another hash algorithm."""
    if theirs not in (None, ours.value):
        raise InvalidInputError(f"the source names blobs by {theirs}, this store by {ours.value}")


class Bounded:
    """What a source gives of a blob whose size is said: one that never ended would fill the disk.

    Some excess is let through, so that the hash can tell what is wrong.
    """

    def __init__(self, stream: Readable, content_hash: str, size_bytes: int) -> None:
        self._stream = stream
        self._content_hash = content_hash
        self._left_bytes = size_bytes + EXCESS_BYTES

    def read(self, size: int, /) -> bytes:
        """As of any stream.

        Raises:
            BlobHashMismatchError: there is far more than was said.
        """
        part = read_up_to(self._stream, size)
        self._left_bytes -= len(part)
        if self._left_bytes < 0:
            raise BlobHashMismatchError(self._content_hash, "")
        return part


@contextmanager
def damage_at(location: str) -> Iterator[None]:
    """While only the store in another directory is opened or read: the same as ``damage_of``."""
    try:
        yield
    except (CorruptError, BlobNotFoundError) as error:
        _name(error, location)
        raise


@contextmanager
def damage_of(source: object) -> Iterator[None]:
    """While only another store is read: what is found damaged or missing names it, for its repair."""
    try:
        yield
    except (CorruptError, BlobNotFoundError) as error:
        _name(error, getattr(source, "location", None))
        raise


@contextmanager
def damage_of_bytes(source: object) -> Iterator[None]:
    """The same while its bytes are stored here: a damaged catalog would be ours."""
    try:
        yield
    except (BlobNotFoundError, BlobMissingError, BlobHashMismatchError, ManifestError) as error:
        _name(error, getattr(source, "location", None))
        raise


def _name(error: CorruptError | BlobNotFoundError, location: object) -> None:
    if error.location is None and isinstance(location, str):  # else it is known more exactly
        error.location = location
