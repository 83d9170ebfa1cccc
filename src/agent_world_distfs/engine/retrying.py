"""Retrying after a conflict, so that every caller gets through.

Somebody always wins a conflict, but it may always be somebody else. So a caller that has lost takes a *turn*
(see ``Turn``): others that have lost wait for it, and its holder competes only with callers that have not
lost yet, and with plain writers. A caller that loses while it holds a turn, or has had to wait for one,
insists on it: then newcomers wait, too; otherwise frequent newcomers would get through before those in the
queue. User code runs under a turn and under no lock that plain writers need.

A call from within such user code does not wait for a turn, since its caller may hold one for which another
waits that holds the one it would wait for: a deadlock. It only retries, after a random time.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from agent_world_distfs.errors import InvalidInputError, OutcomeUnknownError, UnavailableError, WorldError
from agent_world_distfs.protocols import Catalog, Turn
from agent_world_distfs.records import Retry

T = TypeVar("T")

TRANSACTIONS = "transactions"
"""The name of the turn that transactions queue for."""

WAY_S = 0.3
"""How long an update of a file waits for transactions."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The outcome of an attempt: somebody else was first."""

    error: WorldError


class Call:
    """That a thread calls user code back for ``name`` in the store ``place``.

    Known weakly: one that two interrupts kept from leaving goes with the frame that made it.
    """

    def __init__(self, place: str, name: str, what: str) -> None:
        self.key = (_identity_of(place), name)
        self._what = what
        self.is_nested = False

    def around(self, turn: Turn, work: Callable[[], T]) -> T:
        """What ``work`` gives inside it. After it ``turn`` is released, wherever an interrupt comes.

        Raises:
            InvalidInputError: this thread is being called back for the same already.
        """
        try:
            try:
                self._begin()
                return work()
            finally:
                self._leave(turn)
        except BaseException:
            self._leave(turn)  # again: an interrupt may have hit the first
            raise

    def _begin(self) -> None:
        others, what = _inside.calls, self._what
        if any(other.key == self.key for other in others):
            raise InvalidInputError(f"{what} within {what}: it would conflict with the one around it forever")
        self.is_nested = len(others) > 0
        others.add(self)

    def _leave(self, turn: Turn) -> None:
        _inside.calls.discard(self)
        turn.release()


def _identity_of(place: str) -> tuple[int, int] | str:
    """The same whatever name leads to the place."""
    try:
        status = os.stat(place)
    except OSError:  # gone: whatever uses the store will say so
        return place
    return status.st_dev, status.st_ino


class _Inside(threading.local):
    """The calls of this thread that have not ended."""

    def __init__(self) -> None:
        self.calls: weakref.WeakSet[Call] = weakref.WeakSet()


_inside = _Inside()


def require_run(result: T) -> T:
    """Return what user code gave, if that is not its promise to run later: nobody would.

    Raises:
        TypeError: it is a generator or a coroutine.
    """
    if isinstance(result, Generator | Coroutine):
        result.close()  # or Python warns that nobody has run it
    elif not isinstance(result, AsyncGenerator):
        return result
    raise TypeError(
        f"a plain function is needed: this one gave a {type(result).__name__}, which would run after the end"
    )


def persist(attempt: Callable[[], T | Lost], turn: Turn, retry: Retry, *, waits: bool) -> T:
    """What the first attempt gives that is not lost. With ``waits``, for ``turn`` after one that is.

    It is released by the ``Call`` around this.

    Raises:
        WorldError: the error of the last attempt, if there may be no more.
        StoreBusyError: the turn did not come in time.
    """
    deadline = time.monotonic() + retry.deadline_s
    if waits and not turn.is_held and turn.is_insisted_on():
        turn.wait(deadline, retry.deadline_s)
    for number in count(1):
        outcome = attempt()
        if not isinstance(outcome, Lost):
            return outcome
        if number >= retry.max_attempts or time.monotonic() >= deadline:
            raise outcome.error
        if waits and not turn.is_held:
            if not turn.take():
                turn.wait(deadline, retry.deadline_s)
                turn.insist()
            continue
        turn.insist()
        pause(number, deadline, retry)
    raise AssertionError  # count() does not end


def give_way(turn: Turn, retry: Retry) -> None:
    """Wait while the holder of ``turn`` insists on it, but not long: it may be at something else."""
    end = time.monotonic() + min(WAY_S, retry.deadline_s)
    while turn.is_insisted_on() and time.monotonic() < end:
        time.sleep(0.003)


def pause(number: int, deadline: float, retry: Retry) -> None:
    """Wait for a random time before another attempt, ``number`` of which were made."""
    left_s = min(deadline - time.monotonic(), threading.TIMEOUT_MAX)
    longest = min(retry.cap_s, retry.base_s * 2.0 ** min(number, 60), left_s)
    time.sleep(random.uniform(0, max(0.0, longest)))  # noqa: S311  # only so that two differ


def has_held(catalog: Catalog, unknown: OutcomeUnknownError, retry: Retry) -> bool:
    """Whether the transaction whose outcome is unknown has committed.

    Raises:
        OutcomeUnknownError: nobody could say in time.
    """
    deadline = time.monotonic() + retry.deadline_s
    for number in count(1):
        try:
            known = catalog.was_committed(unknown.transaction_id)
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise unknown from None
            pause(number, deadline, retry)
            continue
        if known is None:
            raise unknown
        return known
    raise AssertionError  # count() does not end
