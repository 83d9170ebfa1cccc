"""Many large blobs on their way in together, with few flushes instead of two or three for each.

Where a flush of the whole file system can be relied on, a batch is published in four steps:

1. The bytes of all are in temporary files of the session. *One flush of the file system*: the bytes
   and sizes of all of them are durable.
2. Each is linked to its name; directories of names that are missing are made.
3. *A second flush of the file system*: the names, and the directories that hold them, are durable.
4. Only now may the catalog name any of them.

So bytes come before names twice: a power cut between 1 and 3 leaves some of the names, each of them
with whole bytes behind it and none in the catalog; and the catalog's rows, which prove durability, are
written after 3. One flush would do for the second alone; but then a name could be kept, and its bytes
be lost, and what is in ``blobs/`` could not be told from damage.

What failed: a flush reports to the descriptor that it goes through what could not be written since that
was opened. The batch opens one, of the session's directory, before the first byte is written, and goes
through it both times. An error of either is the error of the whole batch: nothing of it is named, and
no second try is made, since the system may have forgotten by then what it could not write.

A few files, ``FEW_FILES``, are flushed one by one, and their descriptors kept open until then. Elsewhere
each file is flushed when it is written to its end, and each directory of names once.
"""

from __future__ import annotations

import os
from typing import Protocol

from agent_world_distfs.blobs.incoming import IncomingFile, Names
from agent_world_distfs.errors import ForkedStoreError
from agent_world_distfs.flushing import FEW_FILES, flush_directory, flush_file_system
from agent_world_distfs.protocols import Incoming


class BatchNames(Names, Protocol):
    """Where blobs have their names, with what many at a time need."""

    def incoming(self) -> IncomingFile:
        """A new temporary file."""
        ...

    def path_of(self, content_hash: str) -> str:
        """Where the bytes of a blob belong."""
        ...

    def make_shards(self, content_hashes: list[str]) -> bool:
        """Make the directories that are missing; whether any has not been flushed yet."""
        ...

    def trust_shards(self, content_hashes: list[str], *, are_flushed: bool) -> None:
        """Note that they are durable, once they are."""
        ...

    def link(self, temporary: str, content_hash: str) -> None:
        """Give a temporary file its name."""
        ...


class FileBatch:
    """``IncomingBatch`` as temporary files."""

    def __init__(self, names: BatchNames, session_directory: str, *, is_flushed_as_one: bool) -> None:
        self._names = names
        self._place = session_directory
        self._is_flushed_as_one = is_flushed_as_one
        self._files: dict[str, IncomingFile] = {}
        self._unsealed: list[IncomingFile] = []
        self._pid = os.getpid()
        # Before anything is written: see above.
        self._fd = os.open(session_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def incoming(self) -> IncomingFile:
        """See ``IncomingBatch.incoming``."""
        return self._names.incoming()

    def add(self, incoming: Incoming, content_hash: str) -> None:
        """See ``IncomingBatch.add``."""
        assert isinstance(incoming, IncomingFile)
        if content_hash in self._files:
            incoming.discard()
            return
        self._files[content_hash] = incoming
        if not self._is_flushed_as_one:
            incoming.seal(is_flushed=True)
            return
        self._unsealed.append(incoming)
        if len(self._files) > FEW_FILES:
            self._seal(is_flushed=False)

    def _seal(self, *, is_flushed: bool) -> None:
        unsealed, self._unsealed = self._unsealed, []
        for file in unsealed:
            file.seal(is_flushed=is_flushed)

    def publish(self) -> None:
        """See ``IncomingBatch.publish``."""
        if self._pid != os.getpid():
            raise ForkedStoreError
        try:
            if self._is_flushed_as_one and len(self._files) > FEW_FILES:
                self._publish_as_one()
            else:
                self._publish_each()
        except OSError as error:
            raise self._names.ours(error, self._place) from error

    def _publish_as_one(self) -> None:
        hashes = list(self._files)
        flush_file_system(self._fd)
        self._names.make_shards(hashes)
        self._link_all()
        flush_file_system(self._fd)
        self._names.trust_shards(hashes, are_flushed=True)

    def _publish_each(self) -> None:
        hashes = list(self._files)
        self._seal(is_flushed=True)
        if self._names.make_shards(hashes):
            self._names.trust_shards(hashes, are_flushed=False)
        self._link_all()
        for directory in {os.path.dirname(self._names.path_of(name)) for name in hashes}:
            flush_directory(directory)

    def _link_all(self) -> None:
        for content_hash, file in self._files.items():
            self._names.link(file.path, content_hash)

    def ensure(self, content_hash: str) -> None:
        """See ``IncomingBatch.ensure``."""
        self._files[content_hash].ensure(content_hash)

    def close(self) -> None:
        """See ``IncomingBatch.close``."""
        files, self._files = self._files, {}
        for file in files.values():
            file.discard()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
