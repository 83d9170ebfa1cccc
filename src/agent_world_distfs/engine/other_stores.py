"""Bytes out of another store, whatever it is made of."""

from __future__ import annotations

import io
from typing import IO

from agent_world_distfs.protocols import BlobStore


def open_at(source: BlobStore, content_hash: str) -> IO[bytes]:
    """The blob as a stream, where the source can give one; else as one piece in memory."""
    open_blob = getattr(source, "open_blob", None)
    if open_blob is None:
        return io.BytesIO(source.get(content_hash))
    stream: IO[bytes] = open_blob(content_hash)
    return stream
