"""Bytes to store, and where a store keeps them."""

from __future__ import annotations

from pathlib import Path

from agent_world_distfs import LocalCasStore

CHUNK = 1 << 20
"""As much as streams carry at a time."""


def content_of(size: int) -> bytes:
    """Bytes of which no two stretches are alike."""
    return b"".join(number.to_bytes(8, "little") for number in range(size // 8 + 1))[:size]


def file_of(store: LocalCasStore, content_hash: str) -> Path:
    """Where a large blob's bytes are."""
    return Path(store.location, "blobs", content_hash[:2], content_hash)


def temporary_files(store: LocalCasStore) -> list[Path]:
    """What stands there only as long as something is being stored."""
    return list(Path(store.location).glob("tmp/*/*"))
