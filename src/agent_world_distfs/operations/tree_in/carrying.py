"""Bringing the files of a tree into the store, and then into the index."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from typing import TypeVar

from agent_world_distfs.clock import now_ms
from agent_world_distfs.engine.bulk import FULL_BLOBS, Bulk, Rows
from agent_world_distfs.engine.directories import Segments, open_directory
from agent_world_distfs.engine.intake import INLINE_MAX_BYTES, read_up_to
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.engine.reading import find_stored
from agent_world_distfs.engine.stored_copies import keep_whole
from agent_world_distfs.engine.writable import require_writable
from agent_world_distfs.errors import LeaseExpiredError, WorldError
from agent_world_distfs.hashing import hash_stream
from agent_world_distfs.operations.tree_in.regular import UpTo, held_still, open_regular
from agent_world_distfs.operations.tree_in.remembered import Memory
from agent_world_distfs.operations.tree_in.scan import Tree, changed
from agent_world_distfs.os_failures import translate_reading
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogWriter
from agent_world_distfs.records import BlobStat, Progress, TreeImportReport

READ_ATTEMPTS = 5

AT_ONCE_FILES = 10_000
"""A tree of up to this many files waits in memory for the commit that names it, as far as it fits."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """How to lay a tree over the index. ``mirror``: remove what it does not have; ``read_all``: read all."""

    mirror: bool = False
    read_all: bool = False


@dataclass(frozen=True, slots=True)
class _Content:
    """What a path is to hold. ``is_read``: else it is remembered, and may not be stored any more."""

    segments: Segments
    path: str
    content_hash: str
    size_bytes: int
    is_read: bool


class _NotStoredError(Exception):
    """What was remembered is right, and not stored: it has to be read."""

    def __init__(self, contents: Sequence[_Content]) -> None:
        super().__init__(contents)
        self.contents = contents


def import_tree(
    catalog: Catalog, blobs: BlobFiles, tree: Tree, *, options: TreeOptions, progress: Progress | None
) -> TreeImportReport:
    """Store what a tree holds and name it, all at once; progress in files.

    A path that holds the same content already is left as it is, with its time. With ``mirror`` the
    index afterwards has, below the prefix, the regular files of the tree and nothing else. Files that are as
    an earlier import saw them are not read, except with ``read_all``.

    Raises:
        UnavailableError: a file changed again and again while it was read; nothing is named.
        StorageError: a file cannot be read; nothing is named.
    """
    require_writable(catalog)
    with Lease(catalog, blobs) as lease:
        memory = Memory(blobs, tree.root, catalog.hash_algorithm)
        if not options.read_all:
            memory.load()
        carrier = _Carrier(catalog, blobs, lease, tree, memory, progress)
        with carrier.bulk:
            carrier.bring_all()
            changes = _name_all(blobs, carrier, tree.prefix if options.mirror else None)
        memory.keep()
    contents = carrier.contents.values()
    total_bytes = sum(content.size_bytes for content in contents)
    unread_files = sum(not content.is_read for content in contents)
    return TreeImportReport(
        len(contents), total_bytes, *changes, tree.skipped_paths, unread_files, tree.skipped_reasons
    )


def _name_all(blobs: BlobFiles, carrier: _Carrier, mirrored: str | None) -> tuple[int, int, int]:
    while True:
        try:
            return carrier.store(lambda tx, rows: _name(tx, blobs, rows, carrier.contents, mirrored))
        except _NotStoredError as error:
            carrier.bring_again(error.contents)  # then it is leased: each is brought once at the most


def _name(
    tx: CatalogWriter,
    blobs: BlobFiles,
    rows: Rows,
    contents: Mapping[str, _Content],
    mirrored: str | None,
) -> tuple[int, int, int]:
    """How many entries were added, changed and removed.

    ``rows``: of what this transaction stores. ``mirrored``: the prefix below which to remove.
    """
    added = replaced = 0
    not_stored: list[_Content] = []
    now, is_new = now_ms(), not tx.count_files()
    for content in contents.values():
        held = None if is_new else tx.stat_file(content.path)
        if held is not None and held.content_hash == content.content_hash:
            continue
        row = rows.get(content.content_hash) or find_stored(tx, blobs, content.content_hash)
        if row is None:
            not_stored.append(content)
            continue
        tx.set_file(content.path, row, now)
        added += held is None
        replaced += held is not None
    if any(content.is_read for content in not_stored):
        raise LeaseExpiredError
    if not_stored:
        raise _NotStoredError(not_stored)
    if mirrored is None:
        return added, replaced, 0
    others = [file.path for file in tx.iter_files(mirrored) if file.path not in contents]
    return added, replaced, sum(tx.remove_file(path) for path in others)


class _Carrier:
    """Brings the content of a tree into the store: under a lease, but for what fits into the last commit."""

    def __init__(
        self,
        catalog: Catalog,
        blobs: BlobFiles,
        lease: Lease,
        tree: Tree,
        memory: Memory,
        progress: Progress | None,
    ) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._lease = lease
        self._tree = tree
        self._memory = memory
        self._progress = progress
        self._total = sum(len(branch.names) for branch in tree.branches)
        fits = self._total <= AT_ONCE_FILES
        self.bulk = Bulk(catalog, blobs, full_blobs=self._total + 1 if fits else FULL_BLOBS)
        self._unread_files = 0
        self._was_empty = not catalog.read(lambda tx: tx.count_files())
        self.contents: dict[str, _Content] = {}
        """What is to be named, by path."""

    def bring_all(self) -> None:
        """Store everything that is not remembered."""
        with self._opened_root() as root:
            for branch in self._tree.branches:
                with self._tree.opened(root, branch.segments) as directory:
                    for name in branch.names:
                        segments = (*branch.segments, name)
                        if not self._recall(directory, segments):
                            self._bring(directory, segments)
        if self._unread_files:
            self._flush()  # whoever finds in the last commit that one of them has to be read begins it again
        else:
            self._report()

    def store(self, name: Callable[[CatalogWriter, Rows], T]) -> T:
        """Store what waits, and run ``name``, in one transaction."""
        return self.bulk.store(self._catalog.write, name)

    def bring_again(self, contents: Iterable[_Content]) -> None:
        """Store what was remembered and is not stored."""
        with self._opened_root() as root:
            for content in contents:
                with self._tree.opened(root, content.segments[:-1]) as directory:
                    self._bring(directory, content.segments)
            self._flush()

    @contextmanager
    def _opened_root(self) -> Iterator[int]:
        root = open_directory(self._tree.root)
        try:
            yield root
        finally:
            os.close(root)

    def _recall(self, directory: int, segments: Segments) -> bool:
        """Whether it is known without reading what a file holds."""
        if self._memory.is_empty:
            return False
        try:
            status = os.stat(segments[-1], dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False  # reading will tell
        content_hash = self._memory.recall(b"/".join(segments), status)
        if content_hash is None or not stat.S_ISREG(status.st_mode):
            return False
        self._add(segments, BlobStat(content_hash, status.st_size), is_read=False)
        return True

    def _bring(self, directory: int, segments: Segments) -> None:
        try:
            found = self._store_steady(directory, segments)
        except WorldError:
            raise
        except OSError as error:  # as ``translated`` does it, for less: this is once for each file
            raise translate_reading(error, self._tree.host_path(segments)) from error
        if found is None:
            raise changed(self._tree.host_path(segments))
        self._add(segments, found, is_read=True)
        if self.bulk.is_full:
            self._flush()

    def _add(self, segments: Segments, found: BlobStat, *, is_read: bool) -> None:
        path = self._tree.path(segments)
        self._unread_files += not is_read
        self.contents[path] = _Content(segments, path, found.content_hash, found.size_bytes, is_read)

    def _flush(self) -> None:
        self._lease.put_bulk(self.bulk)
        self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(len(self.contents), self._total)

    # --- one file ------------------------------------------------------------------------------

    def _store_steady(self, directory: int, segments: Segments) -> BlobStat | None:
        """Store what a file held at one moment; None if it did not hold still in several attempts."""
        for _ in range(READ_ATTEMPTS):
            source = open_regular(directory, segments[-1])
            if source is not None:
                with source:
                    before = os.fstat(source.fileno())
                    found = self._store(source, before, self._tree.path(segments))
                if found is not None:
                    self._memory.note(b"/".join(segments), before, found.content_hash)
                    return found
        return None

    def _store(self, source: FileIO, before: os.stat_result, path: str) -> BlobStat | None:
        """None if the file changed meanwhile."""
        if before.st_size <= INLINE_MAX_BYTES:
            data = source.read(before.st_size + 1) or b""
            if len(data) < before.st_size:  # few file systems give less than there is
                data += read_up_to(source, before.st_size + 1 - len(data))
            if len(data) != before.st_size or not held_still(source, before):
                return None
            return self.bulk.add_small(data)
        found = self._store_large(source, before.st_size, path)
        return found if found.size_bytes == before.st_size and held_still(source, before) else None

    def _store_large(self, source: FileIO, size_bytes: int, path: str) -> BlobStat:
        """If the index has this very content at the path, and whole, nothing is written."""
        held = None if self._was_empty else self._catalog.stat_file(path)
        if held is not None and held.size_bytes == size_bytes:
            actual = hash_stream(UpTo(source, size_bytes), self._catalog.hash_algorithm)
            is_same = actual == held.content_hash
            if is_same and keep_whole(self._catalog, self._blobs, self._lease, held.content_hash):
                return BlobStat(held.content_hash, size_bytes)
            source.seek(0)
        return self.bulk.add_stream(UpTo(source, size_bytes + 1))
