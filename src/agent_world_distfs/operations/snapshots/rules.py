"""Which snapshots a rule keeps: a function of their times alone.

As in restic: ``last`` keeps the newest N. The others count periods that have a snapshot, newest first, and
keep the newest of each; where there are fewer periods than counted, the oldest snapshot of all is kept as
well, so that the kept time reaches back as far as it can. A snapshot that any of them keeps is kept. Periods
are those of UTC; weeks begin on Monday.

Source: restic manual, "Removing snapshots according to a policy".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from agent_world_distfs.errors import InvalidInputError
from agent_world_distfs.records import Snapshot

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST_MS, _MOST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The first and the last millisecond of the years 1 to 9999."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How many to keep of each kind; 0: none for that kind's sake."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0

    def check(self) -> Keep:
        """Return the rule if it is one.

        Raises:
            TypeError: not numbers.
            InvalidInputError: negative, or nothing at all is to be kept.
        """
        for field in fields(self):
            number = getattr(self, field.name)
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"keep_{field.name} is a number, not {type(number).__name__}")
            if number < 0:
                raise InvalidInputError(f"keep_{field.name} is negative: {number}")
        if self == Keep():
            raise InvalidInputError("a rule says which snapshots to keep; to drop one, name it")
        return self


def choose(snapshots: Iterable[Snapshot], rule: Keep) -> list[Snapshot]:
    """Those that the rule keeps, oldest first."""
    ordered = sorted(snapshots, key=lambda each: (each.created_at_ms, each.name))
    kept: set[str] = set()
    for count, period in (
        (rule.last, lambda each: each.name),  # each a period of its own
        (rule.hourly, _by(lambda at: (at.toordinal(), at.hour))),
        (rule.daily, _by(lambda at: (at.toordinal(),))),
        (rule.weekly, _by(lambda at: at.isocalendar()[:2])),
        (rule.monthly, _by(lambda at: (at.year, at.month))),
    ):
        kept.update(each.name for each in _newest_of_each(ordered, count, period))
    return [each for each in ordered if each.name in kept]


def _by(key: Callable[[datetime], object]) -> Callable[[Snapshot], object]:
    def period(snapshot: Snapshot) -> object:
        at_ms = min(max(snapshot.created_at_ms, _LEAST_MS), _MOST_MS)  # whatever the clock said
        return key(_EPOCH + timedelta(milliseconds=at_ms))

    return period


def _newest_of_each(
    ordered: list[Snapshot], count: int, period_of: Callable[[Snapshot], object]
) -> Iterable[Snapshot]:
    last: object = None
    for snapshot in reversed(ordered):
        if count == 0:
            return
        period = period_of(snapshot)
        if period != last or snapshot is ordered[0]:
            yield snapshot
            last, count = period, count - 1
