"""The files of a tree into the store, and then into the index."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from agent_world_distfs.clock import now_ms
from agent_world_distfs.engine.bulk import Bulk
from agent_world_distfs.engine.directories import Segments, open_directory
from agent_world_distfs.engine.intake import INLINE_MAX_BYTES
from agent_world_distfs.engine.keeping import keep_whole
from agent_world_distfs.engine.leases import Lease
from agent_world_distfs.errors import LeaseExpiredError
from agent_world_distfs.hashing import CHUNK_BYTES, new_hasher
from agent_world_distfs.operations.tree_in.scan import Tree, changed
from agent_world_distfs.os_failures import translate_reading, translated
from agent_world_distfs.protocols import BlobFiles, Catalog, CatalogWriter
from agent_world_distfs.records import BlobStat, Progress, Readable, TreeImportReport

READ_ATTEMPTS = 5

_NOT_A_FILE = {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENODEV}
"""What opening says where a regular file was and now is nothing, a symlink, a socket or a device."""


@dataclass(frozen=True, slots=True)
class _Content:
    """What a path is to hold."""

    path: str
    content_hash: str
    size_bytes: int


def import_tree(
    catalog: Catalog, files: BlobFiles, tree: Tree, *, mirror: bool, progress: Progress | None
) -> TreeImportReport:
    """Store what a tree holds and name it, all at once; progress in files.

    A path that holds the same content already is left as it is, with its time. With ``mirror`` the
    index afterwards has, below the prefix, the regular files of the tree and nothing else.

    Raises:
        UnavailableError: a file changed again and again while it was read; nothing is named.
        StorageError: a file cannot be read; nothing is named.
    """
    catalog.write(lambda _: None)  # a store that cannot be written says so before anything is read
    with Lease(catalog, files) as lease:
        contents = _Carrier(catalog, files, lease, tree, progress).bring_all()
        mirrored = tree.prefix if mirror else None
        added, replaced, removed = catalog.write(lambda tx: _name(tx, contents, mirrored))
    total_bytes = sum(content.size_bytes for content in contents)
    return TreeImportReport(len(contents), total_bytes, added, replaced, removed, tree.skipped_paths)


def _name(tx: CatalogWriter, contents: Sequence[_Content], mirrored: str | None) -> tuple[int, int, int]:
    """How many entries were added, changed and removed. ``mirrored``: the prefix below which to remove."""
    added = replaced = 0
    now = now_ms()
    for content in contents:
        held = tx.stat_file(content.path)
        if held is not None and held.content_hash == content.content_hash:
            continue
        row = tx.find_brief(content.content_hash)
        if row is None:
            raise LeaseExpiredError
        tx.set_file(content.path, row, now)
        added += held is None
        replaced += held is not None
    if mirrored is None:
        return added, replaced, 0
    kept = {content.path for content in contents}
    others = [file.path for file in tx.iter_files(mirrored) if file.path not in kept]
    return added, replaced, sum(tx.remove_file(path) for path in others)


class _Carrier:
    """Brings the content of a tree into the store, under a lease."""

    def __init__(
        self, catalog: Catalog, files: BlobFiles, lease: Lease, tree: Tree, progress: Progress | None
    ) -> None:
        self._catalog = catalog
        self._files = files
        self._lease = lease
        self._tree = tree
        self._progress = progress
        self._total = sum(len(branch.names) for branch in tree.branches)
        self._bulk = Bulk(catalog, files)
        self._contents: list[_Content] = []

    def bring_all(self) -> Sequence[_Content]:
        """Store everything; returns what is to be named."""
        root = open_directory(self._tree.root)
        try:
            for branch in self._tree.branches:
                with self._tree.opened(root, branch.segments) as directory:
                    for name in branch.names:
                        self._bring(directory, (*branch.segments, name))
            self._flush()
        finally:
            self._bulk.discard()
            os.close(root)
        return self._contents

    def _bring(self, directory: int, segments: Segments) -> None:
        path, where = self._tree.path(segments), self._tree.host_path(segments)
        with translated(where, translate_reading):
            found = self._store_steady(directory, segments[-1], path)
        if found is None:
            raise changed(where)
        self._contents.append(_Content(path, found.content_hash, found.size_bytes))
        if self._bulk.is_full:
            self._flush()

    def _flush(self) -> None:
        self._lease.put_bulk(self._bulk)
        if self._progress is not None:
            self._progress(len(self._contents), self._total)

    # --- one file ------------------------------------------------------------------------------

    def _store_steady(self, directory: int, name: bytes, path: str) -> BlobStat | None:
        """Store what a file held at one moment; None if it did not hold still in several attempts."""
        for _ in range(READ_ATTEMPTS):
            source = open_regular(directory, name)
            if source is not None:
                with source:
                    found = self._store(source, path)
                if found is not None:
                    return found
        return None

    def _store(self, source: BinaryIO, path: str) -> BlobStat | None:
        """None if the file changed meanwhile."""
        before = os.fstat(source.fileno())
        if before.st_size <= INLINE_MAX_BYTES:
            data = source.read(before.st_size + 1)
            if len(data) != before.st_size or not _held_still(source, before):
                return None
            return self._bulk.add_small(data)
        found = self._store_large(source, before.st_size, path)
        return found if found.size_bytes == before.st_size and _held_still(source, before) else None

    def _store_large(self, source: BinaryIO, size_bytes: int, path: str) -> BlobStat:
        """If the index has this very content at the path, and whole, nothing is written."""
        held = self._catalog.read(lambda tx: tx.stat_file(path))
        if held is not None and held.size_bytes == size_bytes:
            is_same = self._hash_of(_UpTo(source, size_bytes)) == held.content_hash
            if is_same and keep_whole(self._catalog, self._files, self._lease, held.content_hash):
                return BlobStat(held.content_hash, size_bytes)
            source.seek(0)
        return self._bulk.add_stream(_UpTo(source, size_bytes + 1))

    def _hash_of(self, source: Readable) -> str:
        hasher = new_hasher(self._catalog.hash_algorithm)
        while chunk := source.read(CHUNK_BYTES):
            hasher.update(chunk)
        return hasher.hexdigest()


class _UpTo:
    """The beginning of a file: one that grows as fast as it is read would never end."""

    def __init__(self, source: BinaryIO, size_bytes: int) -> None:
        self._source = source
        self._left_bytes = size_bytes

    def read(self, size: int, /) -> bytes:
        part = self._source.read(min(size, self._left_bytes))
        self._left_bytes -= len(part)
        return part


def open_regular(directory: int, name: bytes) -> BinaryIO | None:
    """A regular file to read; None if there is none of this name any more."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a fifo would make us wait
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            return None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    return None


def _held_still(source: BinaryIO, before: os.stat_result) -> bool:
    now = os.fstat(source.fileno())
    return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
