"""Content hashes: BLAKE3 or SHA-256 of the bytes, written as 64 lowercase hexadecimal characters."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Protocol

from blake3 import blake3

from agent_world_distfs.errors import BlobHashInvalidError, BlobHashMismatchError
from agent_world_distfs.records import Data, HashAlgorithm, Readable

CHUNK_BYTES = 1 << 20
"""What streams are read and written in; larger pieces fall out of the processor's cache and cost more."""

_is_content_hash = re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch


class Hasher(Protocol):
    """Hashes bytes as they come."""

    def update(self, data: bytes | memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


def new_hasher(algorithm: HashAlgorithm) -> Hasher:
    """A hasher of nothing yet."""
    return blake3() if algorithm is HashAlgorithm.BLAKE3 else hashlib.sha256()


def hash_function(algorithm: HashAlgorithm) -> Callable[[bytes], str]:
    """The function from bytes to their content hash."""
    return _hash_blake3 if algorithm is HashAlgorithm.BLAKE3 else _hash_sha256


def _hash_blake3(data: bytes) -> str:
    return blake3(data).hexdigest()


def _hash_sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def hash_stream(source: Readable, algorithm: HashAlgorithm) -> str:
    """The content hash of all that ``source`` still gives, read in pieces."""
    hasher = new_hasher(algorithm)
    while chunk := source.read(CHUNK_BYTES):
        hasher.update(chunk)
    return hasher.hexdigest()


def check_hash(content_hash: str) -> str:
    """Return ``content_hash`` if it is one.

    Raises:
        TypeError: not a str.
        BlobHashInvalidError: not 64 lowercase hexadecimal characters.
    """
    if not isinstance(content_hash, str):
        raise TypeError(f"a content hash is a str, not {type(content_hash).__name__}")
    if _is_content_hash(content_hash) is None:
        raise BlobHashInvalidError(content_hash)
    return content_hash


def is_content_hash(text: str) -> bool:
    """Whether ``text`` has the form of a content hash."""
    return _is_content_hash(text) is not None


def require_hash(expected: str, actual: str) -> None:
    """Raise BlobHashMismatchError unless the two are the same."""
    if expected != actual:
        raise BlobHashMismatchError(expected, actual)


def as_bytes(data: Data) -> bytes:
    """``data`` as bytes that nobody can change: a mutable one is copied, a view counts in bytes.

    Raises:
        TypeError: not bytes, bytearray or memoryview.
    """
    if type(data) is bytes:
        return data
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"content is bytes, bytearray or memoryview, not {type(data).__name__}")
