"""What must happen around ``os.fork`` so that neither side harms the store.

SQLite keeps its table of file locks in process memory: a child inherits the table but not the
locks, so that even a connection which the child opens itself is unsafe while the parent had one
open. An inherited flock is worse: it outlives the parent. So before a fork every store finishes
its running transactions and closes its connections; the child closes the lock descriptors that it
inherited; both sides reopen on first use. That closing is in ``lock_descriptors``, between the hooks
that are here: its "before" comes last, its "after" first.

A store that is being opened or made has a connection before it is known here. Its thread may even be inside
of SQLite, with a mutex that nobody in the child would ever let go. So no thread forks while another one does
that: see ``no_fork_meanwhile``.

An interrupt inside of a hook is printed and dropped by the interpreter, and the fork goes on. What one of
them left undone the next makes good: a store that was not prepared refuses work in the child, and none stays
held in the parent.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Protocol

import agent_world_distfs.lock_descriptors  # noqa: F401  # its hooks are registered before those below


class ForkAware(Protocol):
    """Something that must be put in order around a fork.

    None of these may raise or call user code. The second may be called again, and without the first.
    """

    def before_fork(self) -> None:
        """Finish what runs, hold off what is new, close what must not be inherited."""
        ...

    def after_fork_in_parent(self) -> None:
        """Let waiting threads continue."""
        ...

    def after_fork_in_child(self) -> None:
        """Drop what was inherited. Only the forking thread exists here."""
        ...


# In order of registration: a catalog before the blob storage that is used inside its transactions.
_aware: weakref.WeakValueDictionary[int, ForkAware] = weakref.WeakValueDictionary()
_numbers = itertools.count()
_forking = threading.RLock()
"""One fork at a time: another thread's would release what this one still holds, and forget its own.

And none while another thread makes a connection that no fork knows of yet.
"""


class _Prepared(threading.local):
    """What this thread has prepared for a fork."""

    def __init__(self) -> None:
        self.things: list[ForkAware] = []
        self.takes = 0  # of ``_forking``, by forks: a block of ``no_fork_meanwhile`` around them has its own


_prepared = _Prepared()


def watch_forks(thing: ForkAware) -> None:
    """Call the methods of ``thing`` around each fork, as long as it lives; first come, first called."""
    _aware[next(_numbers)] = thing


def no_fork_meanwhile() -> AbstractContextManager[bool]:
    """Within it no other thread forks: it waits. For what is short, and waits for no thread of this process.

    This is the lock itself, whose ends are calls into C: an interrupt cannot leave it taken. What is made
    within it is closed, or given to ``watch_forks``, before its end. Then a fork finds no connection that it
    does not know. Only a signal handler inside of it may open a store, or fork: its own thread does not wait.
    """
    return _forking


def _before() -> None:
    _prepared.takes += 1  # first: an interrupt before the next line costs nothing
    _forking.acquire()
    for reference in _aware.valuerefs():  # a copy: other threads make and forget stores meanwhile
        thing = reference()
        if thing is not None:
            _prepared.things.append(thing)
            with contextlib.suppress(Exception):  # what could not be prepared refuses work in the child
                thing.before_fork()


def _after_in_parent() -> None:
    while _prepared.things:
        with contextlib.suppress(Exception):  # or the rest would be held forever
            _prepared.things[-1].after_fork_in_parent()
        _prepared.things.pop()
    while _prepared.takes:
        with contextlib.suppress(RuntimeError):  # not taken, or already let go: an interrupt came in between
            _forking.release()
        _prepared.takes -= 1


def _after_in_child() -> None:
    global _forking  # noqa: PLW0603  # the threads that waited for it are not here
    _forking = threading.RLock()
    _prepared.takes = 0
    while _prepared.things:
        with contextlib.suppress(Exception):  # it refuses work
            _prepared.things.pop(0).after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
    os.register_at_fork(after_in_parent=_after_in_parent)  # again: an interrupt may have hit the first
