"""The operating system's errors in our words: no bare OSError reaches a caller."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import gettempdir

from agent_world_distfs.errors import (
    BlobHashMismatchError,
    StorageError,
    StorageFullError,
    StorageIOError,
    StorageReadOnlyError,
    UnavailableError,
    WorldError,
)

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK = {errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO)}
"""The disk failed, or what the file system has on it contradicts its checksums or itself."""
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_UNAVAILABLE = {
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.ENOMEM: "out of memory",
}


def translate(error: OSError, path: str) -> WorldError:
    """The error to raise, from this one, where the store or what is being written failed."""
    if error.errno in _READ_ONLY:
        return StorageReadOnlyError(_where(error, path), _reason(error))
    return translate_reading(error, path)


def translate_reading(error: OSError, path: str) -> WorldError:
    """The same where files of the caller are only read: that they may not be says nothing of writing."""
    where, reason = _where(error, path), _reason(error)
    if error.errno in _FULL:
        return StorageFullError(where, reason)
    if error.errno in _DISK:
        return StorageIOError(where, reason)
    if error.errno in _UNAVAILABLE:
        return UnavailableError(f"{where}: {_UNAVAILABLE[error.errno]}")
    return StorageError(where, reason)


def _where(error: OSError, path: str) -> str:
    """The path that failed; ``path`` where the call that failed named none or one below a descriptor."""
    return error.filename if isinstance(error.filename, str) else path


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


@contextmanager
def translated(path: str, to_ours: Callable[[OSError, str], WorldError] = translate) -> Iterator[None]:
    """Within it, what the operating system refuses is one of ours; ours pass, though some are OSErrors."""
    try:
        yield
    except WorldError:
        raise
    except OSError as error:
        raise to_ours(error, path) from error


@contextmanager
def reading_blob(content_hash: str) -> Iterator[None]:
    """The same while a blob is opened and read, and what the disk cannot read counts as corrupt.

    That it is not there passes as it is.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except StorageIOError as error:
        raise BlobHashMismatchError(content_hash, "") from error
    except WorldError:
        raise
    except OSError as error:
        ours = translate(error, f"blob {content_hash}")
        if isinstance(ours, StorageIOError):
            raise BlobHashMismatchError(content_hash, "") from error
        raise ours from error


def is_disk_error(error: OSError) -> bool:
    """Whether the disk failed, or the file system contradicts itself, and no more is known."""
    return error.errno in _DISK


def temporary_place() -> str:
    """Where the system puts temporary files; having no such place is an error only when one is needed."""
    try:
        return gettempdir()
    except OSError:
        return "the directory of temporary files"
