"""Stores as the original would leave them, for tests to break."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3

from agent_world_distfs import HashAlgorithm
from agent_world_distfs.operations.original import open_original_blob

CONTENT = b"what is stored " * 1000
NAME = blake3(CONTENT).hexdigest()
OTHER = blake3(b"other").hexdigest()


def header(size_bytes: int, name: str) -> bytes:
    """What a packed blob begins with."""
    return b"O7CBLOB1" + size_bytes.to_bytes(8, "little") + name.encode()


def pack(
    content: bytes, *, frames: bytes | None = None, size_bytes: int | None = None, name: str | None = None
) -> bytes:
    """A packed blob of ``content``; each part of it can be made to lie."""
    size_bytes = len(content) if size_bytes is None else size_bytes
    name = blake3(content).hexdigest() if name is None else name
    return header(size_bytes, name) + (zstandard.compress(content) if frames is None else frames)


class Original:
    """A store at ``root``; what is put into it goes by the name that is said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs").mkdir(parents=True)

    def path_of(self, name: str) -> Path:
        return self.root / "blobs" / f"{name}.blob"

    def put(self, stored: bytes, name: str = NAME) -> str:
        self.path_of(name).write_bytes(stored)
        return name

    def write_json(self, name: str, value: object) -> None:
        (self.root / name).write_text(json.dumps(value), encoding="utf-8")

    def read(self, name: str = NAME) -> bytes:
        with open_original_blob(self.root, name) as content:
            return content.read()


SMALL, LARGE, LOOSE = b"small", b"large " * 10_000, b"named by nothing"
"""What the store that ``make_original`` makes holds, beside a pinned blob."""


def name_of(data: bytes, algorithm: HashAlgorithm = HashAlgorithm.BLAKE3) -> str:
    hasher: Any = blake3 if algorithm is HashAlgorithm.BLAKE3 else hashlib.sha256
    name: str = hasher(data).hexdigest()
    return name


def write_index(original: Original, files: Mapping[str, tuple[str, int, int]], pins: list[str]) -> None:
    entries = {
        path: {"path": path, "content_hash": content_hash, "size_bytes": size, "updated_at_ms": at}
        for path, (content_hash, size, at) in files.items()
    }
    original.write_json("files_index.json", {"version": 1, "files": entries})
    original.write_json("pins.json", {"pins": pins})


def make_original(root: Path, algorithm: HashAlgorithm = HashAlgorithm.BLAKE3) -> Original:
    """Two files of one content, a large one, one pinned blob without a path, one that nothing names."""
    original = Original(root)
    small, large, pinned = (name_of(data, algorithm) for data in (SMALL, LARGE, b"pinned"))
    for data in (SMALL, LARGE, b"pinned", LOOSE):
        original.put(data, name_of(data, algorithm))
    files = {
        "a": (small, len(SMALL), 1_600_000_000_000),
        "dir/a": (small, len(SMALL), 1),
        "dir/large": (large, len(LARGE), 2),
    }
    write_index(original, files, [pinned, large])
    return original
