"""SOURCE and TARGET: files of the caller, or standard input and output for ``-``.

A TARGET that is a regular file, or does not exist yet, is replaced in one step once all bytes are written,
flushed and, since a reader of the store checks the hash at its end, verified; until then, and on any error,
it is as it was. A symbolic link is followed, so that the link stays. What is not a regular file (a device, a
named pipe) cannot be replaced and is written to.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, cast

from agent_world_distfs.faces.cli.output import named_in_errors, standard_output_bytes
from agent_world_distfs.faces.cli.progress import Watcher
from agent_world_distfs.flushing import flush, flush_name
from agent_world_distfs.hashing import CHUNK_BYTES

_MAX_LINKS = 40

STANDARD = "-"
"""As SOURCE or TARGET: standard input or output. A file of this name is ``./-``."""


@contextmanager
def open_source(source: str) -> Iterator[BinaryIO]:
    """The bytes of SOURCE, unbuffered: a buffer that waits for more to fill it would not notice Ctrl-C."""
    if source != STANDARD:
        with open(source, "rb", buffering=0) as file, named_in_errors(source):
            yield cast(BinaryIO, file)
        return
    if sys.stdin is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard input")
    stream = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    with suppress(OSError):  # not of the operating system
        os.set_blocking(stream.fileno(), True)  # a parent may have left it so that "nothing yet" ends a read
    with named_in_errors("standard input"):
        yield stream


@contextmanager
def open_target(target: str) -> Iterator[BinaryIO]:
    """Where the bytes for TARGET go; they are there when the block ends well, and only then."""
    name = "standard output" if target == STANDARD else target
    with named_in_errors(name), _open_target(target) as writer:
        yield writer


@contextmanager
def _open_target(target: str) -> Iterator[BinaryIO]:
    descriptor = _descriptor_of(target)
    existing = None if target == STANDARD else _stat_or_none(target)
    if target == STANDARD:
        yield standard_output_bytes()
    elif descriptor is not None:
        with os.fdopen(os.dup(descriptor), "wb") as opened:
            yield opened
    elif existing is not None and stat.S_ISDIR(existing.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    elif existing is not None and not stat.S_ISREG(existing.st_mode):
        with open(target, "wb") as special:
            yield special
    else:
        with _replacement(os.path.realpath(target), existing) as incoming:
            yield incoming


def _descriptor_of(target: str) -> int | None:
    """The descriptor of ours that TARGET means, as ``/dev/stdout`` and ``/dev/fd/3`` do.

    What it is open on may well be a regular file, but its place in it is ours to write at: the file is
    somebody's log, and no file of this name.
    """
    path = os.path.abspath(target)
    for _ in range(_MAX_LINKS):
        directory, name = os.path.realpath(os.path.dirname(path)), os.path.basename(path)
        if directory in ("/dev/fd", f"/proc/{os.getpid()}/fd") and name.isascii() and name.isdecimal():
            return int(name)
        path = os.path.join(directory, name)
        if not os.path.islink(path):
            return None
        path = os.path.join(directory, os.readlink(path))
    return None


def copy(source: io.BufferedIOBase, target: BinaryIO, progress: Watcher, total: int) -> None:
    """Copy all of ``source`` chunk by chunk; ``progress`` counts bytes."""
    done = 0
    while chunk := source.read(CHUNK_BYTES):
        target.write(chunk)
        done += len(chunk)
        if progress is not None:
            progress(done, total)


def watched(source: BinaryIO, progress: Watcher) -> BinaryIO:
    """``source``, telling ``progress`` how many bytes were read from it."""
    return source if progress is None else cast(BinaryIO, _WatchedReader(source, progress))


class _WatchedReader(io.RawIOBase):
    def __init__(self, source: BinaryIO, progress: Watcher) -> None:
        self._source = source
        self._progress = progress
        self._done = 0
        self._total = _size_or_none(source)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._source.read(size)
        self._done += len(chunk)
        if self._progress is not None:
            self._progress(self._done, self._total)
        return chunk


def _size_or_none(source: BinaryIO) -> int | None:
    """How much there is to read, where that is known beforehand."""
    try:
        status = os.fstat(source.fileno())
    except OSError:  # not a file of the operating system at all
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _stat_or_none(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


@contextmanager
def _replacement(path: str, existing: os.stat_result | None) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` when the block ends well, and vanishes otherwise."""
    directory = os.path.dirname(path)
    incoming = os.path.join(directory, f".distfs-{secrets.token_hex(8)}.tmp")
    try:
        with _create(incoming, path) as file:
            if existing is not None:  # what only its owner may read stays so
                os.fchmod(file.fileno(), stat.S_IMODE(existing.st_mode) & 0o777)
            yield file
            file.flush()
            flush(file.fileno())
        os.replace(incoming, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(incoming)
        raise
    flush_name(path)


def _create(incoming: str, path: str) -> BinaryIO:
    try:
        return open(incoming, "xb")
    except OSError as error:  # the caller knows TARGET, not our private name beside it
        raise OSError(error.errno, error.strerror, path) from None
