"""The content of the original's blobs, plain or packed, and the algorithm that names them."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO, cast

from agent_world_distfs.errors import (
    BlobNotFoundError,
    CorruptError,
    IncompatibleStoreError,
    UnavailableError,
)
from agent_world_distfs.hashing import CHUNK_BYTES, check_hash, new_hasher
from agent_world_distfs.operations.original.directory import BLOBS_NAME, open_regular, opened_blobs
from agent_world_distfs.operations.original.snapshot import OriginalSnapshot
from agent_world_distfs.os_failures import translate_reading, translated
from agent_world_distfs.records import BlobStat, HashAlgorithm

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from zstandard import ZstdDecompressionReader

MAGIC = b"O7CBLOB1"
HEADER_BYTES = 80
MAX_CONTENT_BYTES = 1 << 40
"""A packed blob that declares more is damaged."""

MAX_WINDOW_BYTES = 1 << 27
"""What unpacking may hold in memory: zstd's own limit, so what needs more the original cannot read either."""


def open_original_blob(directory: str | os.PathLike[str], content_hash: str) -> BinaryIO:
    """The content of a blob as a stream, unpacked as it is read, in bounded memory; the caller closes it.

    Not verified: the reader hashes it. A packed blob never gives more than it declares.

    Raises:
        BlobNotFoundError: no such blob.
        CorruptError: no regular file; or packed and damaged, which reading raises too, at the end at
            the latest.
        UnavailableError: packed, and ``zstandard`` is not installed.
    """
    name = check_hash(content_hash) + ".blob"
    location = os.path.join(directory, BLOBS_NAME, name)
    with translated(location, translate_reading):
        try:
            with opened_blobs(directory) as blobs:
                source = _PlainContent(open_regular(name, blobs), location)
        except FileNotFoundError:
            raise BlobNotFoundError(content_hash) from None
    try:
        return io.BufferedReader(_unpacked(source, content_hash), 1 << 16)
    except BaseException:
        source.close()
        raise


def _unpacked(source: _PlainContent, content_hash: str) -> io.RawIOBase:
    """What gives the content: the source itself, if the blob is plain."""
    header = source.read_header()
    if header[:8] != MAGIC or header[16:] != content_hash.encode():
        return source
    size_bytes = int.from_bytes(header[8:16], "little")
    if size_bytes > MAX_CONTENT_BYTES:
        raise CorruptError(f"packed blob {content_hash} declares an impossible size")
    try:
        import zstandard
    except ImportError as error:
        needed = 'packed blobs need zstandard: pip install "agent-world-distfs[adopt]"'
        raise UnavailableError(needed) from error
    source.skip_header()
    unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    frames = unpacker.stream_reader(cast("BinaryIO", source), CHUNK_BYTES, read_across_frames=True)
    return _PackedContent(source, frames, zstandard.ZstdError, BlobStat(content_hash, size_bytes))


class _PlainContent(io.RawIOBase):
    """The bytes of a file."""

    def __init__(self, descriptor: int, location: str) -> None:
        self._descriptor = descriptor
        self._location = location

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        with translated(self._location, translate_reading):
            return os.readv(self._descriptor, [buffer])

    def read_header(self) -> bytes:
        """The first bytes, as many as a header has; where reading stands does not change."""
        with translated(self._location, translate_reading):
            return os.pread(self._descriptor, HEADER_BYTES, 0)

    def skip_header(self) -> None:
        """Go on reading behind the header."""
        os.lseek(self._descriptor, HEADER_BYTES, os.SEEK_SET)

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._descriptor)


class _PackedContent(io.RawIOBase):
    """What zstd frames hold: exactly what was declared, or it is damage. Owns the source below the frames."""

    def __init__(
        self,
        source: _PlainContent,
        frames: ZstdDecompressionReader,
        failure: type[Exception],
        declared: BlobStat,
    ) -> None:
        self._source = source
        self._frames = frames
        self._failure = failure
        self._content_hash = declared.content_hash
        self._left_bytes = declared.size_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._left_bytes + 1)  # the one more shows a bomb before it goes off
        try:
            read = self._frames.readinto(view[:wanted])
        except self._failure as error:
            raise self._damaged("cannot be unpacked") from error
        if read > self._left_bytes:
            raise self._damaged("unpacks to more than it declares")
        if read == 0 < min(wanted, self._left_bytes):
            raise self._damaged("unpacks to less than it declares")
        self._left_bytes -= read
        return read

    def _damaged(self, kind: str) -> CorruptError:
        return CorruptError(f"packed blob {self._content_hash} {kind}")

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._source.close()


# --- the algorithm ----------------------------------------------------------------------------


def find_algorithm(directory: str | os.PathLike[str], snapshot: OriginalSnapshot) -> HashAlgorithm | None:
    """The algorithm that names the blobs; None if no blob verifies under any.

    The first blob that verifies decides. The smallest are tried first, so that little is read. That
    the others are of the same kind shows when they are copied, see ``require_algorithm``.

    Raises:
        UnavailableError: packed blobs, and ``zstandard`` is not installed.
    """
    for content_hash in sorted(snapshot.blobs, key=lambda name: snapshot.blobs[name].size_bytes):
        algorithm = _algorithm_of(directory, content_hash)
        if algorithm is not None:
            return algorithm
    return None


def require_algorithm(directory: str | os.PathLike[str], content_hash: str, algorithm: HashAlgorithm) -> None:
    """Of a blob that did not verify under ``algorithm``: return if it is damaged, or gone.

    Raises:
        IncompatibleStoreError: it verifies under another algorithm, so that the store is mixed.
    """
    found = _algorithm_of(directory, content_hash)
    if found is not None and found is not algorithm:
        reason = f"mixed: blob {content_hash} is named by {found.value}, not by {algorithm.value}"
        raise IncompatibleStoreError(os.fspath(directory), reason)


def _algorithm_of(directory: str | os.PathLike[str], content_hash: str) -> HashAlgorithm | None:
    hashers = {algorithm: new_hasher(algorithm) for algorithm in HashAlgorithm}
    try:
        with open_original_blob(directory, content_hash) as content:
            while chunk := content.read(CHUNK_BYTES):
                for hasher in hashers.values():
                    hasher.update(chunk)
    except (CorruptError, BlobNotFoundError):
        return None
    names = {hasher.hexdigest(): algorithm for algorithm, hasher in hashers.items()}
    return names.get(content_hash)
