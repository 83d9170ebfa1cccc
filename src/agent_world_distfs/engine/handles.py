"""Whether a store is open: the lock on ``locks/handles``, shared by all openers, or exclusive for one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from agent_world_distfs.errors import UnavailableError
from agent_world_distfs.lock_descriptors import open_to_lock
from agent_world_distfs.os_failures import translated


class Handle:
    """Tells others that a store is open, until it is closed or forgotten."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        """Tell it no more. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


def hold_handle(location: str) -> Handle:
    """The handle of one who opens the store.

    Raises:
        UnavailableError: somebody needs the store alone just now.
    """
    path = _path_of(location)
    with translated(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _lock(fd, fcntl.LOCK_SH, f"{location}: the store is being upgraded or repaired: retry")
        except BaseException:
            os.close(fd)
            raise
    return Handle(fd)


@contextmanager
def held_alone(location: str, *, create: bool = True) -> Iterator[None]:
    """While nobody else has the store open, nor can open it.

    The lock file is made where it is missing; with ``create`` false it is not, and nobody is excluded then.

    Raises:
        UnavailableError: somebody has it open.
    """
    path = _path_of(location)
    if not create and not os.path.lexists(path):
        yield
        return
    with translated(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = open_to_lock(path, os.O_RDONLY | os.O_CREAT)
    try:
        with translated(path):
            refusal = f"{location}: somebody has the store open: close it there first"
            _lock(descriptor.number, fcntl.LOCK_EX, refusal)
        yield
    finally:
        descriptor.close()


def _path_of(location: str) -> str:
    return os.path.join(location, "locks", "handles")


def _lock(fd: int, kind: int, refusal: str) -> None:
    """Take the lock, at once or not at all."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UnavailableError(refusal) from None
