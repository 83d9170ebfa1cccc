"""What a caller may rely on, whatever store it is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from agent_world_distfs.records import Data, FileMetadata


@runtime_checkable
class BlobStore(Protocol):
    """Bytes under their hash, which is 64 lowercase hexadecimal characters.

    Every call that takes a hash may raise BlobHashInvalidError: it has another form.
    """

    def put(self, content_hash: str, data: Data) -> None:
        """Store ``data``; durable once this returns. Storing it again counts as writing it now.

        Raises:
            BlobHashMismatchError: the bytes do not hash to ``content_hash``; nothing is stored.
        """
        ...

    def get(self, content_hash: str) -> bytes:
        """The bytes, verified.

        Raises:
            BlobNotFoundError: not stored.
            BlobHashMismatchError: what is stored is not what was stored.
        """
        ...

    def has(self, content_hash: str) -> bool:
        """Whether the blob is stored; its bytes are not read."""
        ...

    def put_bytes(self, data: Data) -> str:
        """Store ``data`` as ``put`` does, and return its hash."""
        ...


@runtime_checkable
class FileStore(Protocol):
    """Paths over blobs. Paths are relative, separated by ``/``, and normalized: ``./a//b`` is ``a/b``.

    Every call that takes a path may raise PathInvalidError: it cannot be one.
    """

    def write_file(self, path: str, data: Data) -> FileMetadata:
        """Make ``path`` hold ``data``, whatever it held before; atomic, durable."""
        ...

    def read_file(self, path: str) -> bytes:
        """The content of ``path``, verified.

        Raises:
            PathNotFoundError: no file there.
            BlobHashMismatchError: what is stored is not what was written.
        """
        ...

    def delete_file(self, path: str) -> bool:
        """Remove ``path`` from the index; False if it was not there."""
        ...

    def stat_file(self, path: str) -> FileMetadata | None:
        """The entry of ``path``, None if there is none."""
        ...

    def list_files(self) -> list[FileMetadata]:
        """All entries, ascending by the UTF-8 bytes of the path."""
        ...
