"""Many files written in one call: one commit for each chunk, chunks in the order of the files.

A chunk is written whole or not at all. Its content is brought in first, without the write lock, and one
transaction then names all of it; files that are named twice end up with what came last.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice

from agent_world_distfs.clock import now_ms
from agent_world_distfs.engine.bulk import Bulk, Rows
from agent_world_distfs.engine.intake import INLINE_MAX_BYTES
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.engine.reading import find_stored
from agent_world_distfs.engine.stored_copies import keep_whole
from agent_world_distfs.errors import LeaseExpiredError
from agent_world_distfs.hashing import hash_function
from agent_world_distfs.protocols import BlobBrief, BlobFiles, BlobRow, Catalog, CatalogWriter
from agent_world_distfs.records import Progress, Readable

CHUNK_FILES = 1_000
"""Files written in one commit: some tens of milliseconds of the write lock."""

Item = tuple[str, bytes | Readable]
"""A path and what it is to hold."""


def write_files(
    catalog: Catalog, blobs: BlobFiles, items: Iterable[Item], total: int | None, progress: Progress | None
) -> int:
    """Make each path hold its content; returns how many items there were. ``total``: if it is known."""
    source, done = iter(items), 0
    while written := _write_chunk(catalog, blobs, islice(source, CHUNK_FILES)):
        done += written
        if progress is not None:
            progress(done, total)
        if written < CHUNK_FILES:
            break
    return done


def _write_chunk(catalog: Catalog, blobs: BlobFiles, items: Iterator[Item]) -> int:
    with Bulk(catalog, blobs) as bulk, ExitStack() as stack:
        chunk = _Chunk(catalog, blobs, bulk, stack)
        written = [(path, chunk.bring(content)) for path, content in items]
        if written:
            bulk.store(catalog.write, lambda tx, rows: chunk.name(tx, rows, written))
        return len(written)


class _Chunk:
    """What one commit is to write."""

    def __init__(self, catalog: Catalog, blobs: BlobFiles, bulk: Bulk, stack: ExitStack) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._bulk = bulk
        self._stack = stack
        self._lease: Lease | None = None
        self._hash_bytes = hash_function(catalog.hash_algorithm)

    def bring(self, content: bytes | Readable) -> str:
        """Have the content ready to be stored, or kept if it is stored already; returns its hash."""
        if not isinstance(content, bytes):
            return self._bulk.add_stream(content).content_hash
        content_hash = self._hash_bytes(content)
        if len(content) <= INLINE_MAX_BYTES:
            self._bulk.add_small(content, content_hash)
        elif not self._is_kept(content_hash):
            self._bulk.add_stream(io.BytesIO(content), content_hash)
        return content_hash

    def _is_kept(self, content_hash: str) -> bool:
        """Whether a stored copy will do: then nothing is written, and a lease keeps it."""
        if self._catalog.read(lambda tx: tx.find_brief(content_hash)) is None:
            return False
        if self._lease is None:
            self._lease = self._stack.enter_context(Lease(self._catalog, self._blobs))
        return keep_whole(self._catalog, self._blobs, self._lease, content_hash)

    def name(self, tx: CatalogWriter, rows: Rows, written: list[tuple[str, str]]) -> None:
        """Name everything, in the order in which it came."""
        now = now_ms()
        for path, content_hash in written:
            tx.set_file(path, rows.get(content_hash) or self._stored(tx, content_hash), now)

    def _stored(self, tx: CatalogWriter, content_hash: str) -> BlobRow | BlobBrief:
        row = find_stored(tx, self._blobs, content_hash)
        if row is None:
            raise LeaseExpiredError
        return row
