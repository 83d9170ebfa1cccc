"""A large blob on its way in: a temporary file of this process's session."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Protocol

from agent_world_distfs.errors import ForkedStoreError, WorldError
from agent_world_distfs.flushing import WriteBehind, flush
from agent_world_distfs.os_failures import translate
from agent_world_distfs.protocols import StoredForm


class Names(Protocol):
    """Where blobs have their names."""

    def give_name(self, temporary: str, content_hash: str) -> None:
        """Durably give a flushed temporary file its name, besides the one it has."""
        ...

    def stat(self, content_hash: str) -> StoredForm | None:
        """What has the name."""
        ...

    def ours(self, error: OSError, path: str) -> WorldError:
        """The error to raise where a temporary file failed."""
        ...


class IncomingFile:
    """``Incoming`` as a temporary file."""

    def __init__(self, names: Names, path: str) -> None:
        self._names = names
        self.path = path
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        self._behind = WriteBehind(self._fd)
        self._is_there = True
        self._identity = os.fstat(self._fd).st_ino
        self._pid = os.getpid()

    def write(self, chunk: bytes | memoryview) -> None:
        """See ``Incoming.write``."""
        self._require_own()  # a forked child would write over its parent's bytes
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise translate(error, self.path) from error
        self._behind.wrote(len(chunk))

    def publish(self, content_hash: str) -> None:
        """See ``Incoming.publish``."""
        self._require_own()
        try:
            flush(self._fd)
            self._names.give_name(self.path, content_hash)
        except OSError as error:
            raise self._names.ours(error, self.path) from error

    def seal(self, *, is_flushed: bool) -> None:
        """All is written: flush it, or leave that to a batch that flushes many, and close the descriptor."""
        self._require_own()
        try:
            if is_flushed:
                flush(self._fd)
        except OSError as error:
            raise self._names.ours(error, self.path) from error
        finally:
            self._close()

    def ensure(self, content_hash: str) -> None:
        """See ``Incoming.ensure``."""
        form = self._names.stat(content_hash)
        if form is not None and form.identity == self._identity:
            return
        try:
            self._names.give_name(self.path, content_hash)
        except OSError as error:
            raise self._names.ours(error, self.path) from error

    def discard(self) -> None:
        """See ``Incoming.discard``."""
        self._close()
        is_there, self._is_there = self._is_there, False
        if is_there and self._pid == os.getpid():
            unlink_all([self.path])

    def _require_own(self) -> None:
        if self._pid != os.getpid():
            raise ForkedStoreError

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def unlink_all(paths: Iterable[str]) -> None:
    """Remove temporary files; the end of the session tidies what is left."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
