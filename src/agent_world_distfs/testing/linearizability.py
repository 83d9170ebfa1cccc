"""Whether what concurrent callers saw of one path can have happened one after the other.

A history is linearizable if each operation can be given one moment between its call and its return
at which it happens at once, so that every answer is the right one. Operations of different paths
are checked apart: a history is linearizable if that of each path is (Herlihy and Wing 1990, theorem 1).

What an operation did is put in one of two forms. ``Observation``: the path held this, whether a read said so,
a conflict, or a deletion that found nothing. ``Change``: the condition held, and from then on the path holds
that. An operation without an answer (its process was killed, its outcome is unknown) has no return: it may
have happened at any time since its call, or never. Observations without an answer say nothing and are left
out.

``find_violation`` goes through calls and returns in order of time and keeps every state that the path
may be in, with the open operations that must have happened for it. Operations happen as late as
possible: only when one returns that needs it. Its time grows with the number of operations that are
open at once, not with the length; changes without a condition that never return cost most.
Needs no pytest.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from agent_world_distfs.records import ABSENT, Absent, Expected

Value = str | None
"""What a path holds: a content hash; None: no file."""

NEVER = math.inf
"""The return of an operation that was never heard of again."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Some time between call and return the path held ``value``. ``label``: for people."""

    called: float
    returned: float
    value: Value
    label: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """Some time between call and return the path held what is ``expected``, and from then on ``value``."""

    called: float
    returned: float
    expected: Expected
    value: Value
    label: str = ""


Operation = Observation | Change


@dataclass(frozen=True, slots=True)
class Violation:
    """A part of a history that cannot have happened: the path held ``initial``, and then these, by call."""

    initial: Value
    operations: tuple[Operation, ...]

    def __str__(self) -> str:
        start = min(operation.called for operation in self.operations)
        lines = [_line(operation, start) for operation in self.operations]
        return "\n".join([f"the path held {_short(self.initial)}; then no order fits:", *lines])


def find_violation(operations: Iterable[Operation], initial: Value = None) -> Violation | None:
    """The shortest part found of the history of one path that cannot have happened; None if all can have."""
    history = sorted(operations, key=lambda operation: operation.called)
    failed = _sweep(history, initial)
    return None if failed is None else _shorten(failed)


class _State(NamedTuple):
    """One way in which it can have come so far: which of the open operations have happened."""

    value: Value
    changed: frozenset[int]
    observed: frozenset[int]


class _Open:
    """The operations that are called and have not returned, by what they need the path to hold."""

    def __init__(self) -> None:
        self.operations: dict[int, Operation] = {}
        self.returning = 0
        """How many of them will return."""
        self._changes: dict[Expected, set[int]] = defaultdict(set)
        self._observations: dict[Value, set[int]] = defaultdict(set)

    def add(self, number: int, operation: Operation) -> None:
        self.operations[number] = operation
        self.returning += operation.returned != NEVER
        self._group(operation).add(number)

    def remove(self, number: int) -> None:
        self._group(self.operations.pop(number)).discard(number)
        self.returning -= 1

    def _group(self, operation: Operation) -> set[int]:
        if isinstance(operation, Change):
            return self._changes[operation.expected]
        return self._observations[operation.value]

    def at(self, value: Value, changed: frozenset[int], observed: frozenset[int]) -> _State:
        """A state in which all that can be observed has been: it costs nothing to have seen it."""
        seen = self._observations.get(value)
        return _State(value, changed, observed | seen if seen else observed)

    def successors(self, state: _State) -> Iterator[_State]:
        """What each open change makes of a state in which its condition holds."""
        condition: str | Absent = ABSENT if state.value is None else state.value
        for expected in (condition, None):
            for number in self._changes.get(expected, ()):
                if number not in state.changed:
                    change = self.operations[number]
                    yield self.at(change.value, state.changed | {number}, state.observed)


def _sweep(history: list[Operation], initial: Value) -> Violation | None:
    calls = [(operation.called, 0, number) for number, operation in enumerate(history)]
    returns = [(operation.returned, 1, number) for number, operation in enumerate(history)]
    opened, states = _Open(), {_State(initial, frozenset(), frozenset())}
    since, kept = 0, initial  # the last moment at which it was certain what the path held
    for time, is_return, number in sorted(calls + returns):
        if time == NEVER:
            break
        if not is_return:
            opened.add(number, history[number])
            states = {opened.at(*state) for state in states}
            continue
        states = set(_with(number, states, opened))
        opened.remove(number)
        if not states:
            return Violation(kept, tuple(_relevant(history, since, number, time)))
        if len(states) == 1 and not opened.returning:
            since, kept = _called_by(history, time, since), next(iter(states)).value
    return None


def _with(number: int, states: set[_State], opened: _Open) -> Iterator[_State]:
    """The states in which the operation has happened, without a mention of it: it is over."""
    reached, waiting = set(states), list(states)
    while waiting:
        state = waiting.pop()
        if number in state.changed or number in state.observed:
            yield _State(state.value, state.changed - {number}, state.observed - {number})
            continue
        new = set(opened.successors(state)) - reached
        reached |= new
        waiting.extend(new)


def _called_by(history: list[Operation], time: float, since: int) -> int:
    while since < len(history) and history[since].called <= time:
        since += 1
    return since


def _relevant(history: list[Operation], since: int, last: int, time: float) -> Iterator[Operation]:
    """What was called from ``since`` on, up to the one that does not fit, and what never returned before."""
    for number, operation in enumerate(history):
        if operation.called > time:
            return
        if number >= since or operation.returned == NEVER or number == last:
            yield operation


def _shorten(violation: Violation) -> Violation:
    """Leave out observations without which it still does not fit. Leaving out changes would invent faults."""
    if _sweep(list(violation.operations), violation.initial) is None:
        return violation  # rests on what unfinished operations had done before
    kept = list(violation.operations)
    size = len(kept)
    while (size := size // 2) > 0:  # many at once first: a history may be long
        seen = [operation for operation in kept if isinstance(operation, Observation)]
        for start in range(0, len(seen), size):
            left_out = set(map(id, seen[start : start + size]))
            rest = [operation for operation in kept if id(operation) not in left_out]
            if _sweep(rest, violation.initial) is not None:
                kept = rest
    return Violation(violation.initial, tuple(kept))


def _short(value: Value) -> str:
    return "nothing" if value is None else value[:12]


def _line(operation: Operation, start: float) -> str:
    end = "never" if operation.returned == NEVER else f"{operation.returned - start:.0f}"
    times = f"  [{operation.called - start:.0f}, {end}] {operation.label}: "
    if isinstance(operation, Observation):
        return times + f"found {_short(operation.value)}"
    condition = "" if operation.expected is None else f" for {str(operation.expected)[:12]}"
    return times + f"put {_short(operation.value)}{condition}"
