"""Bytes to store, and where a store keeps them."""

from __future__ import annotations

CHUNK = 1 << 20
"""As much as streams carry at a time."""


def content_of(size: int) -> bytes:
    """Bytes of which no two stretches are alike."""
    return b"".join(number.to_bytes(8, "little") for number in range(size // 8 + 1))[:size]
