"""Trying again after a conflict, so that everybody comes through.

Somebody always wins a conflict, but it may always be somebody else. So whoever has lost takes a
*turn* (see ``Turn``): others who have lost wait for it, and with it one has only those to fear who
have not lost yet, and plain writers. Who holds a turn and goes on losing insists on it: then newcomers
wait, too. User code runs under a turn and under no lock that plain writers need.

Whoever calls from within such user code waits for no turn, since he may have one that another waits
for who has the one that he would wait for. He only tries again, after a random time.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from agent_world_distfs.errors import InvalidInputError, OutcomeUnknownError, UnavailableError, WorldError
from agent_world_distfs.protocols import Catalog, Turn
from agent_world_distfs.records import Retry

T = TypeVar("T")

PATIENCE = 2
"""How often one loses with the turn before one insists on it."""


@dataclass(frozen=True, slots=True)
class Lost:
    """As the outcome of an attempt: somebody else was first."""

    error: WorldError


class _Inside(threading.local):
    """What this thread is being called back for: stores and names."""

    def __init__(self) -> None:
        self.names: list[tuple[str, str]] = []


_inside = _Inside()


@contextmanager
def entered(place: str, name: str, what: str) -> Iterator[bool]:
    """Note that user code is about to be called for ``name`` in the store ``place``; whether it is already.

    Raises:
        InvalidInputError: this thread is being called back for the same ``name``.
    """
    key, names = (place, name), _inside.names
    if key in names:
        raise InvalidInputError(f"{what} within {what}: it would conflict with the one around it for ever")
    names.append(key)
    try:
        yield len(names) > 1
    finally:
        names.remove(key)


def persist(attempt: Callable[[], T | Lost], turn: Turn, retry: Retry, *, waits: bool) -> T:
    """What the first attempt gives that is not lost. With ``waits``, for ``turn`` after one that is.

    Raises:
        WorldError: the error of the last attempt, if there may be no more.
        StoreBusyError: the turn did not come in time.
    """
    deadline = time.monotonic() + retry.deadline_s
    losses_in_turn = 0
    try:
        if waits and turn.is_insisted_on():
            turn.wait(deadline, retry.deadline_s)
        for number in count(1):
            outcome = attempt()
            if not isinstance(outcome, Lost):
                return outcome
            if number >= retry.max_attempts or time.monotonic() >= deadline:
                raise outcome.error
            if waits and not turn.is_held:
                turn.wait(deadline, retry.deadline_s)
                continue
            losses_in_turn += 1
            if losses_in_turn == PATIENCE:
                turn.insist()
            pause(number, deadline, retry)
        raise AssertionError  # count() does not end
    finally:
        turn.release()


def pause(number: int, deadline: float, retry: Retry) -> None:
    """Wait for a random time before another attempt, ``number`` of which were made."""
    longest = min(retry.cap_s, retry.base_s * 2.0 ** min(number, 60), deadline - time.monotonic())
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
