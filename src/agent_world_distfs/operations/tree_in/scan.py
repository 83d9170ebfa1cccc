"""What is below a real directory: which files can go into the index, and what cannot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from agent_world_distfs.engine.directories import (
    STORE_NAMES,
    Segments,
    as_directory,
    as_host_path,
    open_directory,
    opened_below,
    require_apart,
)
from agent_world_distfs.errors import InvalidInputError, PathInvalidError, UnavailableError
from agent_world_distfs.os_failures import translate_reading, translated
from agent_world_distfs.paths import normalize_path


@dataclass(frozen=True, slots=True)
class Branch:
    """One directory: where it is below the root, and the names of the regular files directly in it."""

    segments: Segments
    names: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """What is below a real directory. ``prefix``: of the paths that its files get.

    ``skipped_paths``: what cannot be a file of the index, ascending; a name that is no text is shown
    with backslash escapes. ``skipped_reasons``: why, for each of them.
    """

    root: str
    prefix: str
    branches: tuple[Branch, ...]
    skipped_paths: tuple[str, ...]
    skipped_reasons: tuple[str, ...]

    def path(self, segments: Segments) -> str:
        """The path in the index."""
        return self.prefix + b"/".join(segments).decode()

    def host_path(self, segments: Segments) -> str:
        """The path on this host, to be shown."""
        return _host_path(self.root, segments)

    @contextmanager
    def opened(self, descriptor: int, segments: Segments) -> Iterator[int]:
        """One of its directories, below the descriptor of the root."""
        with _opened(self.root, descriptor, segments) as directory:
            yield directory


def scan_tree(directory: str | os.PathLike[str], prefix: str, store_location: str) -> Tree:
    """Find the regular files below a real directory. Symlinks below it are not followed.

    Raises:
        NotFoundError: nothing is there.
        InvalidInputError: it is not a directory; or it is a store; or it holds this store, or lies in it.
        StorageError: a directory cannot be read.
        UnavailableError: a directory was removed meanwhile.
    """
    root, prefix = as_host_path(directory), as_directory(prefix)
    require_apart(root, store_location)
    descriptor = open_directory(root)
    try:
        return _Scan(root, prefix).run(descriptor)
    finally:
        os.close(descriptor)


class _Scan:
    """One walk, directory by directory."""

    def __init__(self, root: str, prefix: str) -> None:
        self._root = root
        self._prefix = prefix
        self._pending: list[Segments] = [()]
        self._branches: list[Branch] = []
        self._skipped: list[tuple[str, str]] = []

    def run(self, descriptor: int) -> Tree:
        while self._pending:
            segments = self._pending.pop()
            with (
                _opened(self._root, descriptor, segments) as directory,
                translated(_host_path(self._root, segments), translate_reading),
            ):
                self._look_at(directory, segments)
        skipped = sorted(self._skipped, key=lambda each: each[0].encode())
        paths, reasons = tuple(path for path, _ in skipped), tuple(why for _, why in skipped)
        return Tree(self._root, self._prefix, tuple(self._branches), paths, reasons)

    def _look_at(self, directory: int, segments: Segments) -> None:
        with os.scandir(directory) as found:
            entries = list(found)
        if {entry.name for entry in entries} >= STORE_NAMES:
            self._leave_out_store(segments)
            return
        names = []
        for entry in entries:
            below = (*segments, os.fsencode(entry.name))
            if (why := self._why_not(below)) is not None:
                self._skip(below, why)
            elif entry.is_dir(follow_symlinks=False):
                self._pending.append(below)
            elif entry.is_file(follow_symlinks=False):
                names.append(below[-1])
            else:
                self._skip(below, "not a regular file")
        self._branches.append(Branch(segments, tuple(sorted(names))))

    def _leave_out_store(self, segments: Segments) -> None:
        if not segments:
            raise InvalidInputError(f"{self._root} is a store: pull from it, or check it out first")
        self._skip(segments, "a store")

    def _skip(self, segments: Segments, why: str) -> None:
        path = self._prefix + b"/".join(segments).decode(errors="backslashreplace")
        self._skipped.append((path, why))

    def _why_not(self, segments: Segments) -> str | None:
        """Why this can be no path of the index; None if it can."""
        try:
            normalize_path(self._prefix + b"/".join(segments).decode())
        except UnicodeDecodeError:
            return "the name is not UTF-8"
        except PathInvalidError as error:
            return error.reason
        return None


def changed(where: str) -> UnavailableError:
    """The tree did not hold still."""
    return UnavailableError(f"{where} changed while it was read in: retry when it holds still")


@contextmanager
def _opened(root: str, descriptor: int, segments: Segments) -> Iterator[int]:
    where = _host_path(root, segments)
    with ExitStack() as stack:
        with translated(where, translate_reading):
            try:
                directory = stack.enter_context(opened_below(descriptor, segments))
            except (FileNotFoundError, NotADirectoryError):
                raise changed(where) from None
        yield directory


def _host_path(root: str, segments: Segments) -> str:
    return os.path.join(root, os.fsdecode(b"/".join(segments)))
