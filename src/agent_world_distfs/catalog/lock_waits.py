"""Threads that wait for locks of the operating system, so that the wait for them can end in time.

A *waiter* is the wait of one thread: it owns the descriptor, which blocks in ``flock``. A *claim* is what one
caller has to the lock that comes of it. Whether the claim gets the lock, or was given up before, is decided
by one atomic step.

**What was given up is claimed again.** Nothing ends a blocked ``flock``. So a wait that was given up goes on
until the lock comes, which may take as long as its holder likes, while callers try again and again. If each
left a thread and a descriptor behind, the process would run out of them. Instead the waiter is *left*: the
next caller that has to wait for the same file claims it, and has its place in the line. If the lock comes
while nobody claims it, the thread lets it go, and nobody can claim it any more: that is one atomic step, too.
So there are never more waiters for a file than callers have waited for it at the same time. A file is known
by its inode, which cannot become another file's while the waiter has it open.

**Threads that have waited are kept** for the next wait: where processes write at the same time, nearly every
write has to wait, and starting a thread costs more than the write. They go when they have had nothing to do
for a while.

**Interrupts.** An interrupt may come between any two bytecodes. Whoever makes a claim notes it first, and
gives it up afterwards if anything was raised. A waiter whose thread had not begun by then never begins. A
thread that was taken and not given anything goes like one that is idle. Only lists and dicts are shared, by
calls into C, which no interrupt divides; there is no lock that one could leave locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable

from agent_world_distfs.errors import StoreBusyError, UnavailableError
from agent_world_distfs.lock_descriptors import LockDescriptor

_IDLE_S = 10.0
"""So long a thread is kept that has nothing to do."""

MOST_LEFT = 64
"""How many waiters may be left, for all files together; beyond that callers try again and again instead."""

_Fate = dict[str, object]
"""Of a claim: ``first``, which is "lock" or "end"; and ``then``: the fate that follows, None if none can."""


def patience(left_s: float) -> float:
    """How long to wait for a lock of ``threading`` if that much time is left: for ever is too long for it."""
    return min(max(0.0, left_s), threading.TIMEOUT_MAX)


class Waiter:
    """Waits for the lock of one descriptor, in another thread."""

    def __init__(self, descriptor: LockDescriptor) -> None:
        self.descriptor = descriptor
        self.identity = descriptor.identity()
        self.bell = threading.Lock()  # rung once, when the lock has come
        self.bell.acquire()
        self.error: OSError | None = None
        self.fate: _Fate = {}  # the latest, or one before it
        self._begun: dict[str, str] = {}

    def may_begin(self, who: str) -> bool:
        """Whether it is the thread's or its owner's to go on with: of both, the first to ask."""
        return self._begun.setdefault("by", who) == who

    def block(self) -> None:
        """What its thread does."""
        if self.may_begin("thread"):
            self.take()

    def take(self) -> None:
        """Take the lock, and let it go if nobody claims it."""
        try:
            self.descriptor.flock(fcntl.LOCK_EX)
        except OSError as error:
            self.error = error
        fate: object = self.fate
        while isinstance(fate, dict) and fate.setdefault("first", "lock") != "lock":
            fate = fate.setdefault("then", None)
        if fate is None:
            self.descriptor.close()
            _forget(self)
        self.bell.release()


class Claim:
    """What one caller has to the lock that a waiter waits for. Noted first, then begun or renewed."""

    __slots__ = ("_fate", "_waiter")

    def __init__(self, waiter: Waiter) -> None:
        self._waiter = waiter
        self._fate: _Fate = {}

    @property
    def descriptor(self) -> LockDescriptor:
        """What will be locked."""
        return self._waiter.descriptor

    def begin(self) -> None:
        """Have a thread wait for the first time.

        Raises:
            UnavailableError: the system gives no thread: there is a limit, or the interpreter is ending.
        """
        self._waiter.fate = self._fate
        work = self._waiter.block
        while not _idle_hand().give(work):
            pass

    def renew(self) -> bool:
        """Wait for what a waiter that was left waits for; False if it has let it go, or is another's."""
        before = self._waiter.fate
        if before.get("first") != "end":  # left twice by an interrupted caller, and claimed since
            return False
        if before.setdefault("then", self._fate) is not self._fate:
            return False
        self._waiter.fate = self._fate  # or else its thread finds it by the one before
        return True

    def wait(self, deadline: float, timeout_s: float) -> LockDescriptor:
        """The descriptor, locked. Whatever this raises, call ``abandon``."""
        if not self._waiter.bell.acquire(timeout=patience(deadline - time.monotonic())):
            raise StoreBusyError(timeout_s)
        if self._waiter.error is not None:
            raise self._waiter.error
        return self._waiter.descriptor

    def abandon(self) -> None:
        """Not wanted any more: let the lock go, if it came, or else leave the waiter to others.

        Interrupted, it can be called again.
        """
        waiter = self._waiter
        if self._fate.setdefault("first", "end") == "lock" or waiter.may_begin("owner"):
            waiter.descriptor.close()
            return
        if waiter not in _left:
            _left.append(waiter)
        if waiter.descriptor.number < 0:  # its thread has looked for it there before
            _forget(waiter)


_left: list[Waiter] = []
"""Those that nobody claims. A forked child forgets those of its parent: their threads are not there."""


def _forget(waiter: Waiter) -> None:
    with contextlib.suppress(ValueError):
        _left.remove(waiter)


def one_left(descriptor: LockDescriptor) -> Waiter | None:
    """One that was left and waits for the same file; whoever takes it claims it."""
    identity = descriptor.identity()
    for waiter in list(_left):
        if waiter.identity == identity or waiter.descriptor.number < 0:
            with contextlib.suppress(ValueError):  # another thread's
                _left.remove(waiter)
                if waiter.descriptor.number >= 0:
                    return waiter
    return None


def are_too_many_left() -> bool:
    """Whether no more threads should be made to wait."""
    return len(_left) >= MOST_LEFT


class _Hand:
    """A thread that does one piece of work after the other."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._next: dict[str, Callable[[], None] | None] = {}
        self._bell = threading.Lock()
        self._bell.acquire()
        threading.Thread(target=self._serve, name="distfs-lock", daemon=True).start()

    def give(self, work: Callable[[], None]) -> bool:
        """Have it do ``work``, which does not raise; only while it is idle. False if it has just gone."""
        if self._next.setdefault("work", work) is not work:
            return False
        with contextlib.suppress(RuntimeError):  # it rings already: the last work was found without
            self._bell.release()
        return True

    def _serve(self) -> None:
        while True:
            self._bell.acquire(timeout=_IDLE_S)
            work = self._next.setdefault("work", None)
            if work is None:
                with contextlib.suppress(ValueError):
                    _idle.remove(self)
                return
            self._next = {}
            work()
            _idle.append(self)


_idle: list[_Hand] = []
"""Those that have nothing to do. A forked child forgets those of its parent: they are not there."""

if hasattr(os, "register_at_fork"):  # a pid alone would not tell: in a new pid namespace it may be the same
    os.register_at_fork(after_in_child=_left.clear)
    os.register_at_fork(after_in_child=_idle.clear)


def _idle_hand() -> _Hand:
    """One that has nothing to do; whoever takes it gives it something."""
    while _idle:
        with contextlib.suppress(IndexError):  # another thread's
            hand = _idle.pop()
            if hand.pid == os.getpid():
                return hand
    try:
        return _Hand()
    except RuntimeError as error:
        raise UnavailableError(f"no thread to wait for a lock with: {error}") from error
