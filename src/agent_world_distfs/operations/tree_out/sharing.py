"""Files that share their bytes with the store instead of having a copy of them.

*Reflink*: the file system lets two files share blocks until one of them is written to; nothing that is done
to the file reaches the store. *Hard link*: the file *is* the blob's file, under a second name. It is made
read-only, also in the store, since writing to it changes the stored blob: it is then damaged for everybody,
and the audit finds it. It has one modification time, so it cannot have that of each of its paths.

Either way the bytes are read and verified before the target gets its name. What cannot be shared (small
blobs, which are no files; another file system; one that cannot clone) is copied.
"""

from __future__ import annotations

import contextlib
import os

from agent_world_distfs.engine.cloning import is_cloned
from agent_world_distfs.errors import CatalogError
from agent_world_distfs.hashing import CHUNK_BYTES, new_hasher, require_hash
from agent_world_distfs.protocols import BlobFiles
from agent_world_distfs.records import FileMetadata, HashAlgorithm, Link

_SHARED = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Sharing:
    """Puts files into directories that share their bytes with the store. ``total_files``: how many do."""

    def __init__(self, blobs: BlobFiles, algorithm: HashAlgorithm, link: Link) -> None:
        self._blobs = blobs
        self._algorithm = algorithm
        self._link = link
        self.total_files = 0

    def place(self, directory: int, name: bytes, file: FileMetadata) -> bool:
        """Put one there, whole and verified; False, and nothing there, if it has to be copied.

        Raises:
            FileExistsError: something of this name is there.
            BlobHashMismatchError: the stored bytes are corrupt.
        """
        if self._link == "copy":
            return False
        place = self._clone if self._link == "reflink" else self._name
        is_placed = place(directory, name, file)
        self.total_files += is_placed
        return is_placed

    def _clone(self, directory: int, name: bytes, file: FileMetadata) -> bool:
        try:
            source = self._blobs.open(file.content_hash)
        except (FileNotFoundError, CatalogError):
            return False  # inline, or gone: copying will tell
        with source:
            target = os.open(name, _SHARED, 0o666, dir_fd=directory)
            try:
                has_cloned = is_cloned(source, target)
                if has_cloned:
                    self._verify(target, file)
                    with contextlib.suppress(OverflowError):  # a time that no file can have
                        os.utime(target, ns=(file.updated_at_ms * 1_000_000,) * 2)
            finally:
                os.close(target)
        if not has_cloned:
            os.unlink(name, dir_fd=directory)
            self._link = "copy"  # nor will the next be
        return has_cloned

    def _name(self, directory: int, name: bytes, file: FileMetadata) -> bool:
        if not self._blobs.name_outside(file.content_hash, directory, name):
            return False
        target = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            self._verify(target, file)
        finally:
            os.close(target)
        return True

    def _verify(self, target: int, file: FileMetadata) -> None:
        hasher, position = new_hasher(self._algorithm), 0
        while chunk := os.pread(target, CHUNK_BYTES, position):
            hasher.update(chunk)
            position += len(chunk)
        require_hash(file.content_hash, hasher.hexdigest())
