"""Changes of several threads of one process, on their way into one transaction.

A thread that finds its process's writer busy joins a line. The first in the line is its *head*: it waits for
the gate, and then runs the changes of all that have joined behind it. Threads that come later form the next
line. So only heads wait for the gate, and no thread waits for others that may not come.

**Why nobody waits for ever.** An interrupt, or want of memory, may end what a thread does at any line. So
there is no lock here that it could leave locked, and each of these is one step of the interpreter:

- Who leads is not noted but seen: it is the first in the line. Leaving makes the next one the head.
- Who has a change, a head for its group or its own thread that gives up, is settled and noted by the same
  step. A change that a head has taken is its group's even if the head gets no further.
- A group is over when its flag says so. Its head sets the flag on its way out, and again if that was
  interrupted. A change of the group that has no outcome by then was not committed.

A bell only saves time. Whoever waits for one of these looks for itself at least every second.
"""

from __future__ import annotations

import contextlib
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
_BY = "taken by"


class Group:
    """The changes that a head makes in one transaction."""

    __slots__ = ("is_over", "members")

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.is_over = False

    def end(self) -> None:
        """Let the threads of its changes go on. Interrupted, it can be called again."""
        self.is_over = True
        while self.members:
            self.members.pop().ring()


class Member:
    """A change that is to share a transaction, and its outcome."""

    __slots__ = (
        "_bell",
        "_pid",
        "_taken",
        "change",
        "error",
        "has_outcome",
        "result",
        "thread",
        "transaction_id",
    )

    def __init__(self, change: Callable[[SqliteWriter], Any]) -> None:
        self.change = change
        self.result: Any = None
        self.error: BaseException | None = None
        self.transaction_id: str | None = None
        self.has_outcome = False  # else it has to be made again, by itself
        self._taken: dict[str, Group | None] = {}
        self._bell = threading.Lock()
        self._bell.acquire()
        self._pid = os.getpid()
        self.thread = threading.get_ident()

    def take(self, group: Group) -> bool:
        """Make it one of ``group``; False if it is another's, or was withdrawn."""
        return self._taken.setdefault(_BY, group) is group

    def withdraw(self) -> bool:
        """Let no group have it; False if one has it."""
        return self._taken.setdefault(_BY, None) is None

    def is_over(self) -> bool:
        """Whether the group that has it is."""
        group = self._taken.get(_BY)
        return group is not None and group.is_over

    def outcome(self) -> Any:
        """What its change gave, or the error that it raised."""
        if self.error is not None:
            raise self.error
        return self.result

    def ring(self) -> None:
        """Have its thread look what has changed."""
        with contextlib.suppress(RuntimeError):  # it is ringing
            self._bell.release()

    def wait(self, most_s: float = _POLL_S) -> None:
        """Until it is time to look again.

        Raises:
            ForkedStoreError: this is a child, and the thread that would end the wait is not here.
        """
        self._bell.acquire(timeout=max(0.0, min(most_s, _POLL_S)))
        if self._pid != os.getpid():
            raise ForkedStoreError

    def wait_for_end(self) -> None:
        """Until the group that has it is over, whatever interrupts come."""
        while not self.is_over() and self._pid == os.getpid():
            with contextlib.suppress(BaseException):
                self.wait()


class Queue:
    """The changes that wait to be made, in the order in which they came, the head before the others."""

    def __init__(self) -> None:
        self.line: deque[Member] = deque()

    @property
    def head(self) -> Member | None:
        """Who leads, or is about to."""
        try:
            return self.line[0]
        except IndexError:
            return None

    def is_led_here(self) -> bool:
        """Whether this very thread is on its way to the gate for others: a signal handler asks so."""
        head = self.head
        return head is not None and head.thread == threading.get_ident()

    def join(self, member: Member, group: Group, timeout_s: float) -> bool:
        """Wait in line until ``member`` leads ``group``, or was in another that is over; whether it leads.

        Whatever this raises, ``forget``.

        Raises:
            StoreBusyError: it was not begun in time.
        """
        end = time.monotonic() + timeout_s
        self.line.append(member)
        while not member.is_over():
            if self.head is member and member.take(group):
                return True
            left_s = end - time.monotonic()
            if left_s > 0:
                member.wait(left_s)
            elif member.withdraw():
                raise StoreBusyError(timeout_s)
            else:
                member.wait()
        return False

    def take_next(self, group: Group) -> Member | None:
        """The first behind the head, out of the line, for the head's ``group``."""
        while True:
            try:
                member = self.line[1]
            except IndexError:
                return None
            is_taken = member.take(group)
            self._remove(member)
            if is_taken:
                return member

    def leave(self, member: Member) -> None:
        """Out of the line with it; the next one leads if it led."""
        self._remove(member)
        head = self.head
        if head is not None:
            head.ring()

    def _remove(self, member: Member) -> None:
        with contextlib.suppress(ValueError):  # it is out
            self.line.remove(member)

    def forget(self, member: Member) -> None:
        """Nobody waits for ``member`` any more. If it has been begun, stay until it is over.

        What its caller tidies up then is in use by nobody. Interrupted, it can be called again.
        """
        self.leave(member)
        if not member.withdraw():
            member.wait_for_end()


def members_of(queue: Queue, head: Member, group: Group) -> Iterator[Member]:
    """The changes that share a transaction, in turn, while there are some and time is left; then it ends.

    The main thread of a process makes its own change only: interrupts and signals come to it, and must not
    hit what is another's.
    """
    yield head
    if threading.current_thread() is not threading.main_thread():
        end = time.monotonic() + MAX_S
        for _ in range(MAX_MEMBERS - 1):
            member = queue.take_next(group)
            if member is None:
                break
            yield member
            if time.monotonic() > end:
                break
    queue.leave(head)
