"""Changes of several threads of one process, on their way into one transaction.

A thread that finds its process's writer busy joins a queue. The first in the queue is its *head*: it waits
for the gate, and then runs the changes of all that have joined behind it. Threads that come later form the
next queue. So only heads wait for the gate, and no thread waits for others that may not come.
"""

from __future__ import annotations

import contextlib
import enum
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from agent_world_distfs.catalog.writer import SqliteWriter
from agent_world_distfs.errors import ForkedStoreError, StoreBusyError

MAX_MEMBERS = 64
MAX_S = 0.005
"""A group takes in no more, and for no longer: other processes wait for the gate."""

_POLL_S = 1.0


class Fate(enum.Enum):
    """What becomes of a change that waits."""

    IS_OPEN = enum.auto()
    LEADS = enum.auto()
    """It is the head of the queue, and makes the others with it."""
    IS_DONE = enum.auto()
    """It has its outcome."""
    IS_ALONE = enum.auto()
    """Nothing came of the group: it has to be made by itself."""


class Member:
    """A change that is to share a transaction, and its outcome."""

    __slots__ = (
        "_bell",
        "_pid",
        "change",
        "error",
        "fate",
        "is_settled",
        "is_taken",
        "result",
        "thread",
        "transaction_id",
    )

    def __init__(self, change: Callable[[SqliteWriter], Any]) -> None:
        self.change = change
        self.result: Any = None
        self.error: BaseException | None = None
        self.transaction_id: str | None = None
        self.fate = Fate.IS_OPEN
        self.is_taken = False  # by a head: no more to be withdrawn
        self.is_settled = False  # its thread may continue
        self._bell = threading.Lock()
        self._bell.acquire()
        self._pid = os.getpid()
        self.thread = threading.get_ident()

    def settle(self, fate: Fate) -> None:
        """Say what becomes of it, and wake its thread."""
        self.fate = fate
        if not self.is_settled:
            self.is_settled = True
            self._bell.release()

    def outcome(self) -> Any:
        """What its change gave, or the error that it raised."""
        if self.error is not None:
            raise self.error
        return self.result

    def wait(self, most_s: float) -> bool:
        """Until it is settled; False if that takes longer.

        Raises:
            ForkedStoreError: this is a child, and the thread that would have settled it is not here.
        """
        end = time.monotonic() + most_s
        while not self.is_settled:
            left_s = end - time.monotonic()
            if self._pid != os.getpid():
                raise ForkedStoreError
            if left_s <= 0:
                return False
            self._bell.acquire(timeout=min(left_s, _POLL_S))
        return True

    def wait_for_end(self) -> None:
        """Until it is settled, whatever interrupts come."""
        while not self.is_settled and self._pid == os.getpid():
            with contextlib.suppress(BaseException):
                self.wait(_POLL_S)


class Queue:
    """The changes that wait to be made, in the order in which they came."""

    def __init__(self) -> None:
        self.head: Member | None = None
        self._behind: deque[Member] = deque()
        self._lock = threading.Lock()

    def join(self, member: Member, timeout_s: float) -> None:
        """Queue, and wait until ``member`` leads or is settled. Whatever this raises, ``forget``.

        Raises:
            StoreBusyError: it was not begun in time.
        """
        if self._enter(member) or member.wait(timeout_s):
            return
        if self.leave(member):
            raise StoreBusyError(timeout_s)
        member.wait_for_end()

    def _enter(self, member: Member) -> bool:
        with self._lock:
            if self.head is not None:
                self._behind.append(member)
                return False
            member.fate = Fate.LEADS
            self.head = member
            return True

    def is_led_here(self) -> bool:
        """Whether this very thread is on its way to the gate for others: a signal handler asks so."""
        return self.head is not None and self.head.thread == threading.get_ident()

    def next(self) -> Member | None:
        """The first behind the head, taken out."""
        with self._lock:
            if not self._behind:
                return None
            member = self._behind.popleft()
            member.is_taken = True
            return member

    def leave(self, member: Member) -> bool:
        """Take ``member`` out, and let the next lead if it led; False if it is not there."""
        with self._lock:
            if self.head is not member:
                with contextlib.suppress(ValueError):
                    self._behind.remove(member)
                    return True
                return False
            if self._behind:
                self._behind[0].settle(Fate.LEADS)
            self.head = self._behind.popleft() if self._behind else None
            return True

    def forget(self, member: Member) -> None:
        """Nobody waits for ``member`` any more. If it has been begun, stay until it is over.

        What its caller tidies up then is in use by nobody. Interrupted, it can be called again.
        """
        if not member.is_taken:
            self.leave(member)
        if member.is_taken:
            member.wait_for_end()


def members_of(queue: Queue, head: Member) -> Iterator[Member]:
    """The threads that share a transaction, in turn, as long as there are some and time is left; then it
    ends.

    The main thread of a process makes its own change only: interrupts and signals come to it, and must not
    hit what is another's.
    """
    yield head
    if threading.current_thread() is not threading.main_thread():
        end = time.monotonic() + MAX_S
        for _ in range(MAX_MEMBERS - 1):
            member = queue.next()
            if member is None:
                break
            yield member
            if time.monotonic() > end:
                break
    queue.leave(head)
