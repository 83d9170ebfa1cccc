"""One thread at a time, or an error; nobody waits.

What a transaction has read is of one state only if no read begins before another has ended: a read that was
overtaken would be noted as of the later state, and a change in between be lost without a conflict.

There is no lock that an interrupt could leave locked. Who comes first notes itself and then looks whether it
is alone, so that of two at once at least one is refused. A note is weak: one that an interrupt kept from
being taken back goes with the frame that made it.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from agent_world_distfs.errors import InvalidInputError

P = ParamSpec("P")
T = TypeVar("T")


class _Use:
    """That a thread is inside."""


class OneThread:
    """Something that is used by one thread at a time."""

    def __init__(self) -> None:
        self._uses: weakref.WeakSet[_Use] = weakref.WeakSet()

    def _check_open(self) -> None:
        """Raise if it is not to be used."""
        raise NotImplementedError

    def _alone(self, work: Callable[[], T]) -> T:
        """What ``work`` gives.

        Raises:
            InvalidInputError: another thread is inside, or this one already, under a signal handler.
        """
        use = _Use()
        try:
            try:
                self._uses.add(use)
                self._check_open()  # first: a forked child has inherited what its parent's threads were at
                if len(self._uses) > 1:
                    raise InvalidInputError("a transaction is for one thread at a time")
                return work()
            finally:
                self._uses.discard(use)
        except BaseException:
            self._uses.discard(use)  # again: an interrupt may have hit the first
            raise


S = TypeVar("S", bound=OneThread)


def alone(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Make it a method that no other thread disturbs."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._alone(lambda: method(self, *args, **kwargs))

    return call
