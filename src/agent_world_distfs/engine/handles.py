"""Whether a store is open: the lock on ``locks/handles``, shared by all openers, or exclusive for one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from agent_world_distfs.errors import UnavailableError
from agent_world_distfs.lock_descriptors import open_to_lock
from agent_world_distfs.os_failures import translated


def hold_handle(location: str) -> int:
    """A descriptor that tells others that the store is open, until it is closed.

    Raises:
        UnavailableError: somebody needs the store alone just now.
    """
    path = _path_of(location)
    with translated(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _lock(fd, fcntl.LOCK_SH, f"{location}: the store is being upgraded: retry")
        except BaseException:
            os.close(fd)
            raise
    return fd


@contextmanager
def held_alone(location: str) -> Iterator[None]:
    """While nobody else has the store open, nor can open it; the lock file is made where it is missing.

    Raises:
        UnavailableError: somebody has it open.
    """
    path = _path_of(location)
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
