"""A stored blob as a stream."""

from __future__ import annotations

import io
from typing import BinaryIO, NoReturn

from agent_world_distfs.errors import BlobHashMismatchError
from agent_world_distfs.hashing import CHUNK_BYTES, Hasher, new_hasher
from agent_world_distfs.os_failures import translated
from agent_world_distfs.records import FileMetadata, HashAlgorithm


class BlobReader(io.BufferedIOBase):
    """The bytes of one blob, readable and seekable; they stay readable even if the blob is collected.

    A blob read from its start to its end is verified before its last bytes are handed out: then
    BlobHashMismatchError is raised instead. Bytes that a ``seek`` went around cannot be: whoever
    reads only ranges reads unverified bytes. ``metadata``: of the file that was opened, None for a
    blob opened by hash.

    For one thread at a time; after a fork both sides read on, each at a position of its own. As with any
    stream of Python, use after ``close`` is ValueError.
    """

    def __init__(
        self,
        source: BinaryIO,
        content_hash: str,
        size_bytes: int,
        algorithm: HashAlgorithm,
        metadata: FileMetadata | None = None,
    ) -> None:
        self.content_hash = content_hash
        self.size_bytes = size_bytes
        self.metadata = metadata
        self._source = source
        self._position = 0
        self._algorithm = algorithm
        self._hasher: Hasher = new_hasher(algorithm)
        self._hashed_bytes = 0
        self._is_verified = False
        if size_bytes == 0:
            self._verify()

    @property
    def name(self) -> str:
        """What was opened, as files have it: the path, or the content hash."""
        return self.content_hash if self.metadata is None else self.metadata.path

    # --- reading -------------------------------------------------------------------------------

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes; all that are left if it is None or negative.

        Raises:
            BlobHashMismatchError: these would be the last bytes, and what was read is not the blob; or its
                file has become shorter.
            StorageError: the file could not be read.
        """
        self._check_open()
        left = max(0, self.size_bytes - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        parts = []
        while wanted > 0:
            part = self._read_part(wanted)
            parts.append(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read1(self, size: int = -1, /) -> bytes:
        """The same in at most one read of the file, of at most 1 MiB."""
        self._check_open()
        left = max(0, self.size_bytes - self._position)
        wanted = min(CHUNK_BYTES, left if size < 0 else min(size, left))
        return self._read_part(wanted) if wanted else b""

    def _read_part(self, wanted: int) -> bytes:
        part = self._read_source(min(wanted, CHUNK_BYTES))
        if not part:
            self._fail()
        end = self._position + len(part)
        if self._position <= self._hashed_bytes < end:  # also where a seek went back meanwhile
            self._hasher.update(part[self._hashed_bytes - self._position :])
            self._hashed_bytes = end
        if self._hashed_bytes == self.size_bytes and not self._is_verified:
            self._verify()
        self._position = end
        return part

    def _read_source(self, size: int) -> bytes:
        with translated(f"blob {self.content_hash}"):
            return self._source.read(size)

    def _verify(self) -> None:
        if self._hasher.hexdigest() != self.content_hash or self._read_source(1):
            self._fail()
        self._is_verified = True

    def _fail(self) -> NoReturn:
        """Say what all the stored bytes hash to: they are others, fewer or more than they should be."""
        hasher = new_hasher(self._algorithm)
        self._source.seek(0)
        while part := self._read_source(CHUNK_BYTES):
            hasher.update(part)
        error = BlobHashMismatchError(self.content_hash, hasher.hexdigest())
        if self.metadata is not None:
            error.path = self.metadata.path
        raise error

    # --- the rest of a stream ------------------------------------------------------------------

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position, in bytes from the start."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position, in bytes, and return it; beyond the end reads give nothing.

        Raises:
            ValueError: it would be before the start, or there is no such ``whence``.
        """
        self._check_open()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}
        if whence not in base:
            raise ValueError(f"invalid whence: {whence}")
        position = base[whence] + offset
        if position < 0:
            raise ValueError("negative position")
        self._source.seek(min(position, self.size_bytes))  # what is beyond may be beyond the system, too
        self._position = position
        return position

    def close(self) -> None:
        """Release the file. Idempotent."""
        if not self.closed:
            self._source.close()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed reader")
