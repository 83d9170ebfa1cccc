"""Large blobs as files: ``blobs/ab/<hash>`` holds exactly the bytes of the blob ``<hash>``.

Coming in: bytes are written to a temporary file of this process's session and flushed; then the file is
linked to its name and the directory flushed. So a name in ``blobs/`` always stands for whole, durable bytes
as far as their writer is concerned; whether the *name* is durable only a committed row of the catalog proves.
The temporary name is kept until the catalog has committed: if a collection removes the file meanwhile,
``ensure`` restores it under the write lock.

Whatever already stands under the name is replaced by rename, never trusted: it may be corrupt, or a file that
another writer has not flushed yet. Open readers keep what they have.

Going out: a removed file is renamed into the session's directory under the write lock, which takes
microseconds, and unlinked after it, which for large files takes long.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat as stat_module
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from itertools import count
from typing import BinaryIO

from agent_world_distfs.blobs.batches import FileBatch
from agent_world_distfs.blobs.hints import Hints
from agent_world_distfs.blobs.incoming import IncomingFile, unlink_all
from agent_world_distfs.blobs.quarantine import Quarantine
from agent_world_distfs.blobs.reserve import fill_reserve, spare_reserve
from agent_world_distfs.blobs.sessions import Sessions
from agent_world_distfs.blobs.stored_file import StoredFile
from agent_world_distfs.errors import CatalogError, StorageError, StorageIOError, StoreClosedError, WorldError
from agent_world_distfs.filesystem_kind import is_flushed_as_one
from agent_world_distfs.flushing import flush_directory
from agent_world_distfs.hashing import is_content_hash
from agent_world_distfs.os_failures import is_disk_error, translate
from agent_world_distfs.protocols import StoredForm

_WRITABLE = 0o222
_CANNOT_LINK = {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.EROFS, errno.EOPNOTSUPP}
"""What linking says where a second name cannot be: another file system, too many, or not ours to give."""

_GONE = "the directory is gone: mount its disk, if it had one of its own, or run `distfs repair`"


class DirectoryBlobs:
    """``BlobFiles`` in a directory of one machine."""

    def __init__(
        self, root: str, *, read_only: bool = False, require_present: Callable[[], None] = lambda: None
    ) -> None:
        """``require_present`` raises if another store, or none, is at the location by now."""
        self.root = root
        self._blobs, self._temporary = os.path.join(root, "blobs"), os.path.join(root, "tmp")
        self._quarantine = Quarantine(root)
        self._hints = Hints(root)
        self._read_only = read_only
        self._require_present = require_present
        self._reserve = os.path.join(root, "reserve")
        self._sessions = Sessions(self._temporary, read_only=read_only)
        self._numbers = count()
        self._durable_shards: set[str] = set()
        self._is_flushed_as_one: bool | None = None  # not asked yet

    @staticmethod
    def create(root: str) -> None:
        """Make the directories; those that are there are left alone."""
        for name in ("blobs", "tmp"):
            os.makedirs(os.path.join(root, name), exist_ok=True)
        fill_reserve(os.path.join(root, "reserve"))

    def path_of(self, content_hash: str) -> str:
        """Where the bytes of a blob belong."""
        return f"{self._blobs}/{content_hash[:2]}/{content_hash}"  # a third of what os.path.join costs

    # --- in ------------------------------------------------------------------------------------

    def incoming(self) -> IncomingFile:
        """See ``BlobFiles.incoming``."""
        try:
            return IncomingFile(self, self._temporary_path())
        except OSError as error:
            raise self.ours(error, self._blobs) from error

    def batch(self) -> FileBatch:
        """See ``BlobFiles.batch``."""
        if self._is_flushed_as_one is None:
            self._is_flushed_as_one = is_flushed_as_one(self._blobs)
        try:
            return FileBatch(self, self._own_directory(), is_flushed_as_one=self._is_flushed_as_one)
        except OSError as error:
            raise self.ours(error, self._blobs) from error

    def ours(self, error: OSError, path: str) -> WorldError:
        """The error to raise where a temporary file failed: closing the store takes them away."""
        if self._sessions.is_ended:
            return StoreClosedError()
        try:
            self._require_present()
        except WorldError as moved:
            return moved
        if isinstance(error, FileNotFoundError):
            for directory in (self._blobs, self._temporary):
                if not os.path.isdir(directory):
                    return StorageError(directory, _GONE)
        return translate(error, path)

    def _own_directory(self) -> str:
        self._require_present()
        return self._sessions.own_directory()

    def _temporary_path(self) -> str:
        return os.path.join(self._own_directory(), str(next(self._numbers)))

    def give_name(self, temporary: str, content_hash: str) -> None:
        """Durably give a flushed temporary file its name, besides the one it has."""
        self._make_shard(content_hash[:2])
        self.link(temporary, content_hash)
        flush_directory(os.path.dirname(self.path_of(content_hash)))

    def link(self, temporary: str, content_hash: str) -> None:
        """Give a temporary file its name; what stood there is replaced, never trusted."""
        path = self.path_of(content_hash)
        try:
            os.link(temporary, path)
        except FileExistsError:
            second = self._temporary_path()
            os.link(temporary, second)
            try:
                # No rename replaces a directory; one that holds something is left alone. Or a collection has
                # just taken what was there.
                with contextlib.suppress(NotADirectoryError, FileNotFoundError):
                    os.rmdir(path)
                os.rename(second, path)
            except BaseException:
                unlink_all([second])
                raise

    def _make_shard(self, shard: str) -> None:
        if self.make_shards([shard]):
            self.trust_shards([shard], are_flushed=False)

    def make_shards(self, content_hashes: Iterable[str]) -> bool:
        """Make the directories that are missing for these names; whether any has not been flushed yet."""
        self._require_present()  # much may have happened while the bytes were written
        new = {content_hash[:2] for content_hash in content_hashes} - self._durable_shards
        for shard in new:
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.join(self._blobs, shard))
        return bool(new)  # even if it existed: its creator may not have flushed it yet

    def trust_shards(self, content_hashes: Iterable[str], *, are_flushed: bool) -> None:
        """Note that the directories of these names are durable, once they are."""
        if not are_flushed:
            flush_directory(self._blobs)
        self._durable_shards.update(content_hash[:2] for content_hash in content_hashes)

    # --- looking -------------------------------------------------------------------------------

    def open(self, content_hash: str) -> io.FileIO:
        """See ``BlobFiles.open``."""
        path = self.path_of(content_hash)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            self._require_present()
            raise
        except OSError as error:
            status = self._status(content_hash)
            if status is not None and not stat_module.S_ISREG(status.st_mode):
                raise CatalogError(f"{path} is not a regular file") from error
            raise translate(error, path) from error
        if not stat_module.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise CatalogError(f"{path} is not a regular file")
        return StoredFile(fd)

    def stat(self, content_hash: str) -> StoredForm | None:
        """See ``BlobFiles.stat``."""
        try:
            status = self._status(content_hash)
        except StorageIOError:
            return _UNREADABLE
        return None if status is None else _form(status)

    def _status(self, content_hash: str) -> os.stat_result | None:
        path = self.path_of(content_hash)
        try:
            return os.stat(path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            self._require_present()
            return None
        except OSError as error:
            raise translate(error, path) from error

    def list_shard(self, shard: str) -> dict[str, StoredForm]:
        """See ``BlobFiles.list_shard``. Names that are not hashes of this shard are not blobs."""
        self._require_present()
        path = os.path.join(self._blobs, shard)
        found: dict[str, StoredForm] = {}
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if is_content_hash(entry.name) and entry.name.startswith(shard):
                        with contextlib.suppress(FileNotFoundError):
                            found[entry.name] = _form_of(entry)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise translate(error, path) from error
        return found

    def in_flight(self) -> frozenset[int]:
        """See ``BlobFiles.in_flight``: the inodes of living sessions' temporary files."""
        try:
            return frozenset(entry.inode() for entry in self._sessions.temporary_files())
        except OSError as error:
            raise translate(error, self._blobs) from error

    # --- out -----------------------------------------------------------------------------------

    def remove(self, content_hashes: Iterable[str]) -> Callable[[], None]:
        """See ``BlobFiles.remove``."""
        self._require_present()
        trash: list[str] = []
        try:
            for content_hash in content_hashes:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    temporary = self._temporary_path()
                    os.rename(self.path_of(content_hash), temporary)
                    trash.append(temporary)
        except OSError as error:
            unlink_all(trash)
            raise translate(error, self._blobs) from error
        return lambda: unlink_all(trash)

    def keep_aside(self, content_hash: str, label: str, damaged: bytes | BinaryIO | None) -> str | None:
        """See ``BlobFiles.keep_aside``."""
        self._require_present()
        if isinstance(damaged, bytes):
            return self._quarantine.write(f"{content_hash}.{label}", damaged)
        if damaged is None:
            return self._move_aside(content_hash)
        status = self._status(content_hash)
        if status is None or not os.path.samestat(os.fstat(damaged.fileno()), status):
            return None
        name = f"{content_hash}.{label or f'{status.st_ino:x}'}"
        return self._quarantine.take(name, self.path_of(content_hash), is_linked=True)

    def _move_aside(self, content_hash: str) -> str | None:
        """What is no file, or cannot be opened as one; None also if the disk cannot even rename it."""
        try:
            self.open(content_hash).close()
        except FileNotFoundError:
            return None
        except (CatalogError, StorageIOError):
            label = f"{self._entry_number(content_hash):x}"
            with contextlib.suppress(StorageIOError):
                path = self.path_of(content_hash)
                return self._quarantine.take(f"{content_hash}.{label}", path, is_linked=False)
        return None

    def _entry_number(self, content_hash: str) -> int:
        form = self.stat(content_hash)
        return 0 if form is None else form.identity

    def name_outside(self, content_hash: str, directory: int, name: bytes) -> bool:
        """See ``BlobFiles.name_outside``: a hard link. What it leads to is made read-only before."""
        if self._read_only:
            return False
        try:
            with self.open(content_hash) as stored:
                status = os.fstat(stored.fileno())
                os.fchmod(stored.fileno(), stat_module.S_IMODE(status.st_mode) & ~_WRITABLE)
                os.link(self.path_of(content_hash), name, dst_dir_fd=directory, follow_symlinks=False)
        except (FileNotFoundError, CatalogError):
            return False
        except OSError as error:
            if error.errno in _CANNOT_LINK:
                return False
            raise
        return True

    def read_hint(self, name: str) -> bytes | None:
        """See ``BlobFiles.read_hint``."""
        return self._hints.read(name)

    def write_hint(self, name: str, data: bytes) -> None:
        """See ``BlobFiles.write_hint``."""
        with contextlib.suppress(OSError, WorldError):
            self._hints.write(name, data, self._temporary_path())

    def spare_space(self) -> AbstractContextManager[None]:
        """See ``BlobFiles.spare_space``."""
        return spare_reserve(self._reserve)

    # --- sessions ------------------------------------------------------------------------------

    def session(self) -> str:
        """See ``BlobFiles.session``."""
        try:
            self._require_present()
            return self._sessions.own()
        except OSError as error:
            raise self.ours(error, self._temporary) from error

    def live_sessions(self, sessions: Iterable[str]) -> frozenset[str]:
        """See ``BlobFiles.live_sessions``."""
        try:
            return self._sessions.living(sessions)
        except OSError as error:
            raise translate(error, self._blobs) from error

    def tidy(self) -> None:
        """See ``BlobFiles.tidy``."""
        try:
            self._sessions.tidy()
        except OSError as error:
            raise translate(error, self._blobs) from error

    def close(self) -> None:
        """See ``BlobFiles.close``."""
        self._sessions.end()


_UNREADABLE = StoredForm(0, 0, is_regular=False)
"""Of what the disk cannot even look at. No file has this number."""


def _form_of(entry: os.DirEntry[str]) -> StoredForm:
    try:
        return _form(entry.stat(follow_symlinks=False))
    except OSError as error:
        if is_disk_error(error):
            return _UNREADABLE
        raise


def _form(status: os.stat_result) -> StoredForm:
    return StoredForm(status.st_size, status.st_ino, stat_module.S_ISREG(status.st_mode))
