"""A new directory, whole or not at all: filled in a staging directory beside its target, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from agent_world_distfs.engine.directories import (
    as_host_path,
    open_directory,
    opened_below,
    remove_tree,
    require_apart,
)
from agent_world_distfs.errors import InvalidInputError
from agent_world_distfs.flushing import flush
from agent_world_distfs.os_failures import translated

_NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST}
NAME_BYTES = 255
"""The longest name that the file systems of Linux and macOS take."""

TREE = b"tree"
"""In the staging directory: what becomes the target. With the modes that it gets there."""


@dataclass(frozen=True, slots=True)
class Place:
    """A target that may be written. ``parent``: a descriptor of its directory; ``name``: its name there."""

    path: str
    parent: int
    name: bytes
    may_replace: bool


@contextlib.contextmanager
def open_place(target: str | os.PathLike[str], store_location: str, *, replace: bool) -> Iterator[Place]:
    """The target, if it may be written: it is missing, an empty directory, or to be replaced.

    Raises:
        NotFoundError: there is no directory that it could be in.
        InvalidInputError: it is not empty and not to be replaced; it is a file, a symlink, a mount point or
            the current directory; it holds the store or lies in it.
    """
    path = as_host_path(target)
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    if not os.path.basename(path):
        raise InvalidInputError(f"{path} cannot be replaced")
    require_apart(path, store_location)
    parent = open_directory(os.path.dirname(path))
    try:
        place = Place(path, parent, os.fsencode(os.path.basename(path)), replace)
        with translated(path):
            _require_free(place)
        yield place
    finally:
        os.close(parent)


def _require_free(place: Place) -> None:
    try:
        status = os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        what = "a symlink: name what it points to" if stat.S_ISLNK(status.st_mode) else "not a directory"
        raise InvalidInputError(f"{place.path} is {what}")
    if os.path.ismount(place.path):  # which no other directory can be renamed to
        raise InvalidInputError(f"{place.path} is a mount point: name a directory in it")
    if _is_current(status):  # and another one would take its place
        raise InvalidInputError(f"{place.path} is the current directory: go to another one")
    with opened_below(place.parent, (place.name,)) as directory, os.scandir(directory) as entries:
        if next(entries, None) is not None and not place.may_replace:
            raise _not_empty(place)


def _is_current(status: os.stat_result) -> bool:
    try:
        return os.path.samestat(status, os.stat(os.curdir))
    except OSError:  # it may not be looked at by this user
        return False


def _not_empty(place: Place) -> InvalidInputError:
    return InvalidInputError(f"{place.path} is not empty")


@contextlib.contextmanager
def staged(place: Place) -> Iterator[tuple[bytes, int]]:
    """A new private directory beside the target, and a descriptor of it; removed at the end."""
    name, pid = _beside(place, b".staging-"), os.getpid()
    try:
        os.mkdir(name, 0o700, dir_fd=place.parent)
        os.mkdir(os.path.join(name, TREE), dir_fd=place.parent)
        with opened_below(place.parent, (name,)) as directory:
            yield name, directory
    finally:
        if pid == os.getpid():  # else a forked child leaves the block, and what is there to its parent
            with contextlib.suppress(OSError):  # harmless if it stays
                remove_tree(place.parent, name)


def _beside(place: Place, ending: bytes) -> bytes:
    """A new name beside the target, which tells whose it is; of one that is very long its beginning only."""
    ending += secrets.token_hex(4).encode()
    text = os.fsdecode(place.name)
    while len(os.fsencode(text)) + len(ending) > NAME_BYTES:
        text = text[:-1]  # not bytes: half of a character is no name on macOS
    return os.fsencode(text) + ending


def swap_in(place: Place, staging: bytes) -> str | None:
    """Make the staged tree the target, durably; returns where the old one is kept, if there was one.

    The new one has the permissions of the old one.

    Raises:
        InvalidInputError: something is there by now that may not be replaced.
    """
    tree = os.path.join(staging, TREE)
    previous = None
    mode = _take_over_mode(place, tree)
    try:
        _rename(place, tree, place.name)
    except NotADirectoryError:
        raise InvalidInputError(f"{place.path} is not a directory") from None
    except OSError as error:
        if error.errno not in _NOT_EMPTY:
            raise
        if not place.may_replace:
            raise _not_empty(place) from None
        previous = _replace(place, tree)
    if mode is not None:
        _finish_mode(place, mode)
    flush(place.parent)
    return previous


def _take_over_mode(place: Place, tree: bytes) -> int | None:
    """Give it the mode of what it replaces; returns what is missing of that, if anything is.

    A directory that its owner may not write can neither be renamed to another directory nor be removed with
    what is in it: it becomes read-only when it has its name.
    """
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            os.chmod(tree, mode | stat.S_IRWXU, dir_fd=place.parent)
            return None if mode & stat.S_IRWXU == stat.S_IRWXU else mode
    return None


def _finish_mode(place: Place, mode: int) -> None:
    with opened_below(place.parent, (place.name,)) as directory:
        os.fchmod(directory, mode)
        flush(directory)


def _replace(place: Place, tree: bytes) -> str:
    kept = _beside(place, b".before-")
    try:
        _rename(place, place.name, kept)
        _rename(place, tree, place.name)
    except BaseException:
        # Whatever came through of the two: a target that is missing gets the old one back.
        with contextlib.suppress(OSError):
            _restore(place, kept)
        raise
    return os.path.join(os.path.dirname(place.path), os.fsdecode(kept))


def _restore(place: Place, kept: bytes) -> None:
    try:
        os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)
    except FileNotFoundError:
        _rename(place, kept, place.name)


def _rename(place: Place, source: bytes, target: bytes) -> None:
    os.rename(source, target, src_dir_fd=place.parent, dst_dir_fd=place.parent)
