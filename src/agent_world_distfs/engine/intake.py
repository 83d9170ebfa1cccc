"""Bytes in: how content gets stored and, in the same transaction, named.

Small content travels inside the transaction. Large content is made durable in blob storage first, outside the
lock; under the lock the intake verifies that it is still there. So the catalog never names a blob that is not
stored and durable, and naming a blob just as a collection removes its bytes restores them.

Bytes that are already stored are not trusted, whether the stored copy is inline or a file: it is compared
with the incoming bytes, or hashed. A corrupt copy is replaced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

from agent_world_distfs.errors import BlobHashMismatchError, CatalogError
from agent_world_distfs.hashing import CHUNK_BYTES, hash_function, hash_stream, new_hasher, require_hash
from agent_world_distfs.os_failures import reading_blob
from agent_world_distfs.protocols import BlobFiles, BlobRow, Catalog, CatalogWriter, Incoming
from agent_world_distfs.records import BlobStat, HashAlgorithm, Readable

T = TypeVar("T")

OnStored = Callable[[CatalogWriter, BlobRow], T]
"""What to do, inside the transaction, with the blob that was stored."""

INLINE_MAX_BYTES = 8192
"""Up to this size content lives in the catalog: one flush instead of three. Reading knows both forms."""


class _GoneMeanwhileError(Exception):
    """The stored copy that was to be used has been collected; store another."""


class Intake:
    """The way in of one store."""

    def __init__(self, catalog: Catalog, blobs: BlobFiles, *, is_lazy: bool = False) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._write = catalog.write_lazily if is_lazy else catalog.write
        self.hash_bytes = hash_function(catalog.hash_algorithm)

    def store(self, data: bytes, change: OnStored[T], content_hash: str = "") -> T:
        """Store ``data`` and run ``change`` in the transaction that records it.

        ``content_hash``, if given, is known to be the right one.
        """
        content_hash = content_hash or self.hash_bytes(data)
        if len(data) <= INLINE_MAX_BYTES:
            return self._write(lambda tx: change(tx, settle_inline(tx, content_hash, data)))
        identity = self._find_whole_copy(content_hash)
        if identity is not None:
            with contextlib.suppress(_GoneMeanwhileError):
                return self._write(lambda tx: change(tx, self._settle_copy(tx, content_hash, identity)))
        incoming = self._blobs.incoming()
        try:
            incoming.write(data)
            return self._finish(incoming, BlobStat(content_hash, len(data)), change)
        finally:
            incoming.discard()

    def store_stream(self, reader: Readable, change: OnStored[T], expected: str | None = None) -> T:
        """The same for all that ``reader`` gives, in bounded memory; the reader is not closed.

        Raises:
            BlobHashMismatchError: the content does not hash to ``expected``; nothing is stored.
        """
        head = read_up_to(reader, INLINE_MAX_BYTES + 1)
        if len(head) <= INLINE_MAX_BYTES:
            content_hash = self.hash_bytes(head)
            require_hash(expected or content_hash, content_hash)
            return self.store(head, change, content_hash)
        incoming = self._blobs.incoming()
        try:
            stat = copy_stream(head, reader, incoming, self._catalog.hash_algorithm)
            require_hash(expected or stat.content_hash, stat.content_hash)
            return self._finish(incoming, stat, change)
        finally:
            incoming.discard()

    def _finish(self, incoming: Incoming, stat: BlobStat, change: OnStored[T]) -> T:
        incoming.publish(stat.content_hash)
        return self._write(lambda tx: change(tx, _settle_incoming(tx, stat, incoming)))

    def _find_whole_copy(self, content_hash: str) -> int | None:
        """The identity of a stored file that a committed row proves durable and that hashes right."""
        if self._catalog.read(lambda tx: tx.find_brief(content_hash)) is None:
            return None
        try:
            with reading_blob(content_hash), self._blobs.open(content_hash) as stored:
                form = self._blobs.stat(content_hash)
                actual = hash_stream(stored, self._catalog.hash_algorithm)
        except (FileNotFoundError, CatalogError, BlobHashMismatchError):  # the last: it cannot be read
            return None
        return form.identity if form is not None and actual == content_hash else None

    def _settle_copy(self, tx: CatalogWriter, content_hash: str, identity: int) -> BlobRow:
        row, form = tx.find_blob(content_hash), self._blobs.stat(content_hash)
        if row is None or row.payload is not None or form is None or form.identity != identity:
            raise _GoneMeanwhileError
        return row


def settle_inline(tx: CatalogWriter, content_hash: str, data: bytes) -> BlobRow:
    """Inside a transaction: the row of small content, added, or healed where it is damaged."""
    added = tx.add_blob(content_hash, len(data), data)  # first, since most is new: a look-up less for each
    if added is not None:
        return added
    row = _row_of(tx, content_hash)
    if row.payload == data and row.size_bytes == len(data):
        return row
    return tx.set_payload(row, len(data), data)


def _row_of(tx: CatalogWriter, content_hash: str) -> BlobRow:
    row = tx.find_blob(content_hash)
    if row is None:
        raise CatalogError(f"blob {content_hash} has a row that is not found")
    return row


def _settle_incoming(tx: CatalogWriter, stat: BlobStat, incoming: Incoming) -> BlobRow:
    incoming.ensure(stat.content_hash)
    return settle_file(tx, stat)


def settle_file(tx: CatalogWriter, stat: BlobStat) -> BlobRow:
    """The same for large content whose bytes are verified to be in blob storage, and durable."""
    added = tx.add_blob(stat.content_hash, stat.size_bytes, None)
    if added is not None:
        return added
    row = _row_of(tx, stat.content_hash)
    if row.payload is None and row.size_bytes == stat.size_bytes:
        return row
    return tx.set_payload(row, stat.size_bytes, None)


def copy_stream(head: bytes, rest: Readable, incoming: Incoming, algorithm: HashAlgorithm) -> BlobStat:
    """Write ``head``, and then all that ``rest`` gives."""
    hasher, size_bytes = new_hasher(algorithm), 0
    # Writes that begin where pages begin: others make the system touch two pages twice for each.
    chunk = head + read_up_to(rest, CHUNK_BYTES - len(head))
    while chunk:
        hasher.update(chunk)
        incoming.write(chunk)
        size_bytes += len(chunk)
        chunk = read_up_to(rest, CHUNK_BYTES)
    return BlobStat(hasher.hexdigest(), size_bytes)


def read_up_to(reader: Readable, size_bytes: int) -> bytes:
    """``size_bytes`` bytes, fewer only at the end: raw readers may give fewer at any time, bad ones more."""
    first = _read_once(reader, size_bytes)
    if len(first) == size_bytes or not first:
        return first
    parts, missing = [first], size_bytes - len(first)
    while missing > 0 and (part := _read_once(reader, missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _read_once(reader: Readable, size_bytes: int) -> bytes:
    read = getattr(reader, "read", None)
    if read is None:
        raise TypeError(f"a reader has a read(size), and {type(reader).__name__} has none")
    part = read(size_bytes)
    if isinstance(part, bytes):
        return part
    raise TypeError(f"the reader's read() gives {type(part).__name__}, not bytes: open it in binary mode")
