"""Descriptors that may hold a lock of the operating system, and what becomes of them at a fork.

A flock belongs to what ``open`` made, not to the process: a child inherits it with the descriptor, and it
lasts until every copy is closed or one of them unlocks it. So a child that knows nothing of its parent's
descriptors keeps the locks of a parent that has died for as long as it lives, and all others wait for it.

The rule: **no child keeps a copy of a descriptor that is locked at the fork or later.** It holds whatever the
other threads of the parent are in the middle of, between any two bytecodes or in a system call, since a fork
finds them anywhere:

- A descriptor is *known* from before it is first locked until after it is last unlocked; a child closes all
  that are known, in its first hook.
- **Opening.** Between ``open`` and its becoming known a fork may copy it. So ``try_open`` makes it known, and
  then asks whether a fork has been under way at any moment since before the ``open``. If so, it is closed,
  never having been locked: the copy that the child may have harms nobody. No fork is overlooked: each notes
  that it is under way, forks, is counted, and only then takes its note away. If it came between ``open`` and
  "known", the count was read before it; after it the notes are looked at first, then the count: so either its
  note is still there, or it has been counted since.
- **Closing.** First unlocked, then unknown, then closed. A fork in between copies what is unlocked and will
  not be locked again. What is known is open, so that a child never closes a number that has been given to
  something else meanwhile.
- **In the child** nothing is unlocked: that would unlock it for the parent, too. ``close`` looks whose it is.

There is no lock, so that an interrupt cannot leave one locked, and a signal handler may fork anywhere; notes
and count are kept by calls into C, which no interrupt divides. The note is made after all stores have been
prepared (see ``process_forks``): while they are, they wait for transactions, which may have to open
something. A child that is made to execute another program closes all by that.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import time

from agent_world_distfs.errors import ForkedStoreError, UnavailableError

FORK_POLL_S = 0.0005
_FORK_WAIT_S = 10.0


class LockDescriptor:
    """An open file, to be locked; ``number`` is that of its descriptor, -1 once it is closed."""

    __slots__ = ("_pid", "number")

    def __init__(self, number: int = -1) -> None:
        self._pid = os.getpid()
        self.number = number

    def flock(self, operation: int) -> None:
        """Lock or unlock it.

        Raises:
            ForkedStoreError: a signal handler has just forked, and this is the child.
            OSError: see flock(2).
        """
        try:
            fcntl.flock(self.number, operation)
        except ValueError:  # -1
            raise ForkedStoreError from None

    def identity(self) -> tuple[int, int]:
        """Which file it is, for as long as it is open.

        Raises:
            ForkedStoreError: as for ``flock``.
        """
        try:
            status = os.fstat(self.number)
        except OSError:
            if self.number < 0:
                raise ForkedStoreError from None
            raise
        return status.st_dev, status.st_ino

    def close(self) -> None:
        """Unlock it, if it is this process's, and close it. Interrupted, it can be called again."""
        number = self.number
        if number < 0:
            return
        if self._pid == os.getpid():  # else it was inherited behind our back
            with contextlib.suppress(OSError):
                fcntl.flock(number, fcntl.LOCK_UN)
        self.number = -1
        _known.discard(self)
        os.close(number)


_known: set[LockDescriptor] = set()
_under_way: list[None] = []
"""A note for each fork that this process is in."""
_forks = bytearray()
"""Its length counts the forks there have been."""


def try_open(path: str, flags: int, mode: int = 0o666) -> LockDescriptor | None:
    """Open a file to lock it; None while this process forks, although a file may have been made."""
    forks = len(_forks)
    descriptor = LockDescriptor(os.open(path, flags | os.O_CLOEXEC, mode))
    _known.add(descriptor)
    if not _under_way and len(_forks) == forks:  # in this order
        return descriptor
    descriptor.close()
    return None


def open_to_lock(path: str, flags: int, mode: int = 0o666) -> LockDescriptor:
    """The same, waiting for forks.

    Raises:
        UnavailableError: a fork does not come to its end.
    """
    deadline = time.monotonic() + _FORK_WAIT_S
    while (descriptor := try_open(path, flags, mode)) is None:
        if time.monotonic() > deadline:
            raise UnavailableError("this process is forking, and does not get to the end of that: retry")
        time.sleep(FORK_POLL_S)
    return descriptor


def _close_inherited() -> None:
    for descriptor in list(_known):
        number = descriptor.number
        if number >= 0:
            with contextlib.suppress(OSError):  # EBADF: the first try was interrupted just after
                os.close(number)
            descriptor.number = -1
        _known.discard(descriptor)


if hasattr(os, "register_at_fork"):  # in this order, of which Python goes through "before" backwards
    count = functools.partial(_forks.append, 0)
    os.register_at_fork(after_in_parent=count, after_in_child=count)
    note = functools.partial(_under_way.append, None)
    os.register_at_fork(before=note, after_in_parent=_under_way.pop, after_in_child=_under_way.clear)
    os.register_at_fork(after_in_child=_close_inherited)
    os.register_at_fork(after_in_child=_close_inherited)  # again: an interrupt may have hit the first
