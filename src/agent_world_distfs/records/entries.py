"""What a store holds: files, blobs, and whole indexes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent_world_distfs.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class FileMetadata:
    """One file of the index. ``updated_at_ms``: milliseconds since 1970 in UTC."""

    path: str
    content_hash: str
    size_bytes: int
    updated_at_ms: int


@dataclass(frozen=True, slots=True)
class BlobStat:
    """One stored blob."""

    content_hash: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileIndexManifestRef:
    """Names one manifest: the hash and the size of its bytes. As text ``HASH:SIZE``."""

    content_hash: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.content_hash}:{self.size_bytes}"

    @classmethod
    def parse(cls, text: str) -> FileIndexManifestRef:
        """Read ``HASH:SIZE``: 64 lowercase hexadecimal characters, a colon, a plain decimal number.

        Raises:
            InvalidInputError: the text has another form.
        """
        match = re.fullmatch(r"([0-9a-f]{64}):(0|[1-9][0-9]{0,18})", text, re.ASCII)
        if match is None:
            raise InvalidInputError(f"not a manifest reference (HASH:SIZE): {text[:100]!r}")
        return cls(match[1], int(match[2]))


@dataclass(frozen=True, slots=True)
class FileIndexManifest:
    """A decoded manifest. ``files``: ascending by the UTF-8 bytes of ``path``, unique."""

    version: int
    files: tuple[FileMetadata, ...]
