"""Real directories, entered by descriptors: below the one that the caller named, no symlink is followed.

Names are bytes: what the file system holds, whatever the locale. However deep a tree is, two
descriptors are open at a time and no path grows too long, since each step is one name below another
directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence

from agent_world_distfs.errors import InvalidInputError, NotFoundError
from agent_world_distfs.flushing import flush
from agent_world_distfs.os_failures import translate_reading, translated
from agent_world_distfs.paths import normalize_path

Segments = tuple[bytes, ...]

STORE_NAMES = {"blobs", "catalog.db", "locks"}
"""A directory that has all of these is a store."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def as_host_path(path: str | os.PathLike[str]) -> str:
    """The absolute path of a file or directory of this host; ``..`` is where the system finds it.

    Raises:
        TypeError: not a path.
        InvalidInputError: empty, with a NUL, or with what no name of this host can hold.
        NotFoundError: relative to a current directory that was removed.
    """
    text = os.fsdecode(path)
    if not text or "\0" in text or not _is_encodable(text):
        raise InvalidInputError(f"not a path of this host: {text!r}")
    with translated(text, translate_reading):
        try:
            return os.path.abspath(_without_ascents(text))
        except FileNotFoundError:
            raise NotFoundError(text, "the current directory was removed") from None


def _without_ascents(text: str) -> str:
    """The path without ``..``: behind a symlink it is not what the text says. What comes after it stays."""
    names = text.split(os.sep)
    if os.pardir not in names:
        return text
    end = len(names) - names[::-1].index(os.pardir)
    return os.path.join(os.path.realpath(os.sep.join(names[:end])), *names[end:])


def _is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return False
    return True


def as_directory(prefix: str) -> str:
    """The prefix of all paths below a directory of the index: ``docs/`` for ``docs``, empty for the top."""
    return normalize_path(prefix) + "/" if prefix else ""


def shared_length(segments: Sequence[object], others: Sequence[object]) -> int:
    """How many segments two paths begin with together."""
    pairs = enumerate(zip(segments, others, strict=False))
    return next((end for end, (one, other) in pairs if one != other), min(len(segments), len(others)))


def mode_like(location: str) -> int:
    """The mode for the directory of a copy of the store at ``location``: no wider than that of the store.

    A store may be private by its directory, or by its files alone.
    """
    try:
        mode = stat.S_IMODE(os.stat(location).st_mode) & 0o777
        files = stat.S_IMODE(os.stat(os.path.join(location, "catalog.db")).st_mode)
    except FileNotFoundError:  # moved away: whoever reads it will say so
        return stat.S_IRWXU
    for others in (stat.S_IRWXG, stat.S_IRWXO):
        if not files & others:
            mode &= ~others
    return mode | stat.S_IRWXU


def require_apart(path: str, location: str) -> None:
    """Raise InvalidInputError if one of two directories is the other or lies in it; they need not exist.

    A location that is no absolute path is not one of this host, and lies nowhere.
    """
    if os.path.isabs(location) and (_is_within(path, location) or _is_within(location, path)):
        raise InvalidInputError(f"{path}: this and the store's directory {location} may not hold one another")


def require_other(source: str, location: str) -> None:
    """Raise InvalidInputError if a source is the store itself: nothing could come of it but a log entry."""
    with contextlib.suppress(OSError):
        if os.path.samefile(source, location):
            raise InvalidInputError(f"{source}: that is the store itself")


def _is_within(inner: str, outer: str) -> bool:
    """By identity, so that no second name and no folding of names hides it."""
    try:
        wanted = os.stat(outer)
    except OSError:
        return False
    inner = os.path.realpath(inner)
    while True:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(inner), wanted):
                return True
        above = os.path.dirname(inner)
        if above == inner:
            return False
        inner = above


def open_directory(path: str) -> int:
    """A descriptor of a directory that the caller named, through symlinks if need be.

    Raises:
        NotFoundError: nothing is there.
        InvalidInputError: it is not a directory.
        StorageError: it cannot be read.
    """
    try:
        return os.open(path, _DIRECTORY)
    except FileNotFoundError:
        raise NotFoundError(path, "no such directory") from None
    except NotADirectoryError:
        raise InvalidInputError(f"{path} is not a directory") from None
    except OSError as error:
        raise translate_reading(error, path) from error


@contextlib.contextmanager
def opened_below(root: int, segments: Segments) -> Iterator[int]:
    """A descriptor of the directory that the names lead to from ``root``.

    Raises:
        FileNotFoundError, NotADirectoryError: one of them is not there, or is something else, such as
            a symlink.
    """
    descriptor = os.open(b".", _DIRECTORY, dir_fd=root)
    try:
        for segment in segments:
            above, descriptor = descriptor, _open_child(descriptor, segment)
            os.close(above)
        yield descriptor
    finally:
        os.close(descriptor)


def _open_child(directory: int, name: bytes) -> int:
    try:
        return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ELOOP:  # what some systems say of a symlink, where Linux says ENOTDIR
            raise NotADirectoryError(error.errno, error.strerror, name) from error
        raise


def flush_tree(root: int) -> None:
    """Make all regular files below a directory, and their names, durable.

    Afterwards, not as each is written: by then much of it is on its way to the disk already, and
    one commit of the file system's journal covers many files.
    """
    pending: list[Segments] = [()]
    while pending:
        segments = pending.pop()
        with opened_below(root, segments) as directory:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((*segments, os.fsencode(entry.name)))
                    else:
                        _flush_file(entry.name, directory)
            flush(directory)


def _flush_file(name: str, directory: int) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(parent: int, name: bytes) -> None:
    """Remove a directory and all that is in it; what its symlinks point to is left alone."""
    pending: list[Segments] = [(name,)]
    while pending:
        segments = pending[-1]
        with opened_below(parent, segments) as directory:
            found = _remove_files(directory)
        if found:
            pending.extend((*segments, below) for below in found)
            continue
        pending.pop()
        with opened_below(parent, segments[:-1]) as above:
            os.rmdir(segments[-1], dir_fd=above)


def _remove_files(directory: int) -> list[bytes]:
    """The names of the directories, which are left."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found.append(os.fsencode(entry.name))
            else:
                os.unlink(entry.name, dir_fd=directory)
    return found
