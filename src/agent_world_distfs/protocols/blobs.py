"""What blob storage must offer: the bytes of large blobs, one object each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from agent_world_distfs.protocols.rows import StoredForm


class Incoming(Protocol):
    """Bytes on their way in, under a private name that dies with the process."""

    def write(self, chunk: bytes | memoryview) -> None:
        """Append."""
        ...

    def publish(self, content_hash: str) -> None:
        """Make the bytes durable, then durably give them their name."""
        ...

    def ensure(self, content_hash: str) -> None:
        """Under the write lock: if these bytes are no longer under their name, restore them, durably."""
        ...

    def discard(self) -> None:
        """Give up the private name."""
        ...


class IncomingBatch(Protocol):
    """Many blobs on their way in, made durable and named together."""

    def incoming(self) -> Incoming:
        """Room for one of them; it is written, and then added or discarded."""
        ...

    def add(self, incoming: Incoming, content_hash: str) -> None:
        """It is written to its end; from here on it is the batch's. The same hash again is discarded."""
        ...

    def publish(self) -> None:
        """Make the bytes of all that were added durable, then durably give them their names."""
        ...

    def ensure(self, content_hash: str) -> None:
        """See ``Incoming.ensure``."""
        ...

    def close(self) -> None:
        """Give up the private names."""
        ...


class BlobFiles(Protocol):
    """Large blobs, one object each, which holds exactly the blob's bytes."""

    def incoming(self) -> Incoming:
        """Room for a new blob."""
        ...

    def batch(self) -> IncomingBatch:
        """Room for many new blobs, with fewer flushes than each would take alone."""
        ...

    def open(self, content_hash: str) -> BinaryIO:
        """The stored bytes as an unbuffered seekable stream that outlives their removal; not verified.

        Raises:
            FileNotFoundError: not stored.
            CatalogError: what stands there is not a regular file.
        """
        ...

    def stat(self, content_hash: str) -> StoredForm | None:
        """What is stored under the name, None if nothing is.

        What the disk cannot look at counts as no regular file.
        """
        ...

    def list_shard(self, shard: str) -> dict[str, StoredForm]:
        """What is stored under names that begin with the two characters ``shard``."""
        ...

    def in_flight(self) -> frozenset[int]:
        """The identities of bytes that live writers have not named in the catalog yet."""
        ...

    def remove(self, content_hashes: Iterable[str]) -> Callable[[], None]:
        """Remove these names, under the write lock; the result, called after it, frees the space."""
        ...

    def keep_aside(self, content_hash: str, label: str, damaged: bytes | BinaryIO | None) -> str | None:
        """Under the write lock: keep damaged bytes apart, durably; returns their name in the store.

        They are ``damaged`` itself if that is bytes. Else they are what stands under the blob's name: the
        very file that ``open`` gave as ``damaged``, still open, which also keeps the name; or, if that is
        None, something that is no regular file or that the disk cannot open, which loses it, if the disk
        lets it. If anything else stands there, the result is None, and nothing is done. A file that is open
        can be told from all others: no other gets its number meanwhile. ``label`` distinguishes different
        bytes of one name, and the same bytes are kept only once; if it is empty, the file's number does.
        """
        ...

    def name_outside(self, content_hash: str, directory: int, name: bytes) -> bool:
        """Give the stored bytes another name, in a directory that is not the store's, for reading only.

        ``directory``: a descriptor. False, and nothing done, if they cannot have one there.

        Raises:
            FileExistsError: something has that name.
        """
        ...

    def read_hint(self, name: str) -> bytes | None:
        """What ``write_hint`` has kept under a name; None if that is no longer there, or not whole."""
        ...

    def write_hint(self, name: str, data: bytes) -> None:
        """Keep what saves work later, whole or not at all: best effort, not durable."""
        ...

    def spare_space(self) -> AbstractContextManager[None]:
        """While held, the reserve that removals on a full disk need is free; afterwards it is taken again."""
        ...

    def session(self) -> str:
        """The name of this process's session; it lives as long as the process has the store open."""
        ...

    def live_sessions(self, sessions: Iterable[str]) -> frozenset[str]:
        """The live ones. An OS lock decides, never a clock."""
        ...

    def tidy(self) -> None:
        """Remove what dead sessions left: private names only, never blobs."""
        ...

    def close(self) -> None:
        """End this process's session."""
        ...
