"""Writing files out of the store, each verified and flushed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby

from agent_world_distfs.engine.blob_reader import BlobReader
from agent_world_distfs.engine.directories import (
    Segments,
    as_directory,
    flush_tree,
    opened_below,
    shared_length,
)
from agent_world_distfs.engine.reading import open_hash
from agent_world_distfs.engine.staging import TREE, Place, staged, swap_in
from agent_world_distfs.errors import (
    BlobHashMismatchError,
    BlobNotFoundError,
    InvalidInputError,
    PathNotFoundError,
    UnavailableError,
)
from agent_world_distfs.filesystem_kind import is_flushed_as_one
from agent_world_distfs.flushing import FEW_FILES, flush_file_system
from agent_world_distfs.operations.tree_out.leased_entries import kept_files
from agent_world_distfs.operations.tree_out.names import check_names
from agent_world_distfs.operations.tree_out.sharing import Sharing
from agent_world_distfs.os_failures import translated
from agent_world_distfs.protocols import BlobFiles, Catalog
from agent_world_distfs.records import CheckoutReport, FileMetadata, Link, Progress

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def checkout(
    catalog: Catalog,
    blobs: BlobFiles,
    place: Place,
    prefix: str,
    *,
    link: Link = "copy",
    progress: Progress | None = None,
) -> CheckoutReport:
    """Make one snapshot of a directory of the index the real directory at ``place``; progress in files.

    Raises:
        PathNotFoundError: the index has nothing below ``prefix``.
        InvalidInputError: paths that no directory can hold together, or this file system not at all.
        BlobMissingError, BlobHashMismatchError: the bytes of a file are gone or corrupt.
        UnavailableError: the store is read-only, and a file was overwritten and collected meanwhile.
        StorageError: the disk of the target failed. Whichever it is, the target is untouched.
    """
    prefix = as_directory(prefix)
    with kept_files(catalog, blobs, prefix) as entries, translated(place.path):
        if prefix and not entries.total:
            raise PathNotFoundError(prefix)
        with staged(place) as (staging, directory):
            with opened_below(directory, (TREE,)) as root:
                check_names(lambda: (file.path[len(prefix) :] for file in entries), root)
                sharing = Sharing(blobs, catalog.hash_algorithm, link)
                writer = _TreeWriter(catalog, blobs, sharing, root, len(prefix))
                total_bytes = writer.write_all(entries, entries.total, progress)
                _flush(root, place, entries.total)
            previous = swap_in(place, staging)
    return CheckoutReport(entries.total, total_bytes, previous, sharing.total_files)


def _flush(root: int, place: Place, total_files: int) -> None:
    """Make what has been written below ``root`` durable. It was opened before: see ``flush_file_system``."""
    if total_files > FEW_FILES and is_flushed_as_one(os.path.dirname(place.path)):
        flush_file_system(root)
    else:
        flush_tree(root)


class _TreeWriter:
    """Fills an empty directory. Entries ascend, so that all of one directory stands together."""

    def __init__(self, catalog: Catalog, blobs: BlobFiles, sharing: Sharing, root: int, cut: int) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._sharing = sharing
        self._root = root
        self._cut = cut  # how much of each path is the prefix
        self._current: Segments = ()

    def write_all(self, entries: Iterable[FileMetadata], total: int, progress: Progress | None) -> int:
        """Returns the bytes written."""
        done = total_bytes = 0
        for directory, found in groupby(entries, self._directory_of):
            self._go_to(directory)
            with opened_below(self._root, directory) as descriptor:
                for file in found:
                    self._write_named(descriptor, file)
                    total_bytes += file.size_bytes
                    done += 1
                    if progress is not None:
                        progress(done, total)
        return total_bytes

    def _directory_of(self, file: FileMetadata) -> Segments:
        return tuple(file.path[self._cut :].encode().split(b"/")[:-1])

    def _go_to(self, directory: Segments) -> None:
        """Make the directories that are new."""
        for end in range(shared_length(self._current, directory), len(directory)):
            with opened_below(self._root, directory[:end]) as above:
                self._make(directory[: end + 1], above)
        self._current = directory

    def _make(self, directory: Segments, above: int) -> None:
        try:
            os.mkdir(directory[-1], dir_fd=above)
        except FileExistsError:
            raise _taken(b"/".join(directory).decode()) from None

    def _write_named(self, directory: int, file: FileMetadata) -> None:
        try:
            self._write(directory, file)
        except BlobHashMismatchError as error:
            error.path = file.path
            raise

    def _write(self, directory: int, file: FileMetadata) -> None:
        name = os.path.basename(file.path).encode()
        try:
            if self._sharing.place(directory, name, file):
                return
            target = os.open(name, _NEW_FILE, 0o666, dir_fd=directory)
        except FileExistsError:
            raise _taken(file.path) from None
        try:
            with self._open(file) as reader:
                while chunk := reader.read1():
                    _write_all(target, chunk)
            with suppress(OverflowError):  # a time that no file can have
                os.utime(target, ns=(file.updated_at_ms * 1_000_000,) * 2)
        finally:
            os.close(target)

    def _open(self, file: FileMetadata) -> BlobReader:
        try:
            return open_hash(self._catalog, self._blobs, file.content_hash)
        except BlobNotFoundError:
            raise UnavailableError(
                f"{file.path!r} was overwritten and its content collected while it was checked out: retry"
            ) from None


def _taken(path: str) -> InvalidInputError:
    return InvalidInputError(f"{path!r} and another path are one name to the file system")


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
