"""Bytes under their hash, and pins."""

from __future__ import annotations

from agent_world_distfs.engine import reading
from agent_world_distfs.engine.blob_reader import BlobReader
from agent_world_distfs.hashing import as_bytes, check_hash, require_hash
from agent_world_distfs.operations import files
from agent_world_distfs.records import BlobStat, Data, Readable
from agent_world_distfs.store.base import StoreBase, stat_row


class BlobMethods(StoreBase):
    """Implements ``BlobStore``."""

    def hash_bytes(self, data: Data) -> str:
        """The content hash that ``data`` has in this store; nothing is stored."""
        return self._intake.hash_bytes(as_bytes(data))

    def put(self, content_hash: str, data: Data) -> None:
        """See ``BlobStore.put``."""
        data = as_bytes(data)
        require_hash(check_hash(content_hash), self._intake.hash_bytes(data))
        self._intake.store(data, stat_row, content_hash)

    def put_bytes(self, data: Data) -> str:
        """See ``BlobStore.put_bytes``."""
        return self._intake.store(as_bytes(data), stat_row).content_hash

    def put_stream(self, reader: Readable, *, expected_content_hash: str | None = None) -> BlobStat:
        """Store all that ``reader`` returns, in bounded memory. The reader is not closed.

        Raises:
            BlobHashMismatchError: the content is not what was expected; nothing is stored.
        """
        if expected_content_hash is not None:
            check_hash(expected_content_hash)
        return self._intake.store_stream(reader, stat_row, expected_content_hash)

    def get(self, content_hash: str) -> bytes:
        """See ``BlobStore.get``.

        Raises:
            BlobMissingError: a path or pin names the blob, but its bytes are gone.
        """
        return reading.read_hash(self._catalog, self._blobs, check_hash(content_hash))

    def get_verified(self, content_hash: str) -> bytes:
        """The same as ``get``: both verify."""
        return self.get(content_hash)

    def has(self, content_hash: str) -> bool:
        """See ``BlobStore.has``."""
        return reading.is_stored(self._catalog, self._blobs, check_hash(content_hash))

    def open_blob(self, content_hash: str) -> BlobReader:
        """The blob as a seekable stream. Read to its end, it is verified before its last bytes come."""
        return reading.open_hash(self._catalog, self._blobs, check_hash(content_hash))

    # --- pins ----------------------------------------------------------------------------------

    def pin(self, content_hash: str) -> None:
        """Keep a blob from collection until it is unpinned; pins are a set, not counted.

        Raises:
            BlobNotFoundError: it is not stored.
        """
        check_hash(content_hash)
        self._catalog.write(lambda tx: files.pin_blob(tx, self._blobs, content_hash))

    def unpin(self, content_hash: str) -> bool:
        """Remove a pin; False if there was none."""
        check_hash(content_hash)
        return self._remove(lambda tx: tx.remove_pin(content_hash))

    def list_pins(self) -> list[str]:
        """The pinned hashes, ascending."""
        return [blob.content_hash for blob in self._catalog.read(lambda tx: tx.list_pins())]

    def is_pinned(self, content_hash: str) -> bool:
        """Whether a blob is pinned."""
        check_hash(content_hash)
        return self._catalog.read(lambda tx: tx.is_pinned(content_hash))
