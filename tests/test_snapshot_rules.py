"""Which snapshots a rule keeps: a function of their times, in periods of UTC."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_world_distfs import FileIndexManifestRef, Snapshot
from agent_world_distfs.operations.snapshots import Keep, choose

REF = FileIndexManifestRef("0" * 64, 1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_MS = 3_600_000


def at(text: str) -> Snapshot:
    """A snapshot of a time, which is its name."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return Snapshot(text, REF, (moment - EPOCH) // timedelta(milliseconds=1), 0)


def kept(rule: Keep, *times: str) -> list[str]:
    return [each.name for each in choose(map(at, times), rule)]


def test_the_last_ones_are_the_newest_whatever_the_order_given() -> None:
    assert kept(Keep(last=2), "2026-01-02", "2026-01-03", "2026-01-01") == ["2026-01-02", "2026-01-03"]
    assert kept(Keep(last=9), "2026-01-02", "2026-01-01") == ["2026-01-01", "2026-01-02"]
    assert kept(Keep(last=1)) == []


def test_of_each_period_the_newest_is_kept() -> None:
    times = (
        "2026-03-01T10:00",
        "2026-03-01T10:59",
        "2026-03-01T11:00",
        "2026-03-01T13:30",
        "2026-03-01T13:31",
    )
    assert kept(Keep(hourly=2), *times) == ["2026-03-01T11:00", "2026-03-01T13:31"]
    days = ("2026-03-01T00:00", "2026-03-01T23:59", "2026-03-02T00:00", "2026-03-05T12:00")
    assert kept(Keep(daily=2), *days) == ["2026-03-02T00:00", "2026-03-05T12:00"]


def test_only_periods_that_have_a_snapshot_count() -> None:
    assert kept(Keep(daily=2), "2020-01-01", "2021-01-01", "2026-01-01") == ["2021-01-01", "2026-01-01"]


def test_weeks_begin_on_monday_and_belong_to_their_own_year() -> None:
    # The 29th of December 2025 is a Monday, the first day of week 1 of 2026.
    times = ("2025-12-21", "2025-12-28", "2025-12-29", "2026-01-04", "2026-01-05")
    assert kept(Keep(weekly=2), *times) == ["2026-01-04", "2026-01-05"]
    assert kept(Keep(weekly=3), *times) == ["2025-12-28", "2026-01-04", "2026-01-05"]


def test_months_of_different_years_are_different() -> None:
    times = ("2025-01-31", "2025-12-31", "2026-01-01", "2026-01-31")
    assert kept(Keep(monthly=2), *times) == ["2025-12-31", "2026-01-31"]


def test_where_there_are_fewer_periods_than_counted_the_oldest_of_all_is_kept() -> None:
    times = ("2026-01-01T01:00", "2026-01-01T02:00", "2026-01-01T03:00")
    assert kept(Keep(daily=2), *times) == ["2026-01-01T01:00", "2026-01-01T03:00"]
    assert kept(Keep(daily=1), *times) == ["2026-01-01T03:00"]


def test_what_any_of_the_rules_keeps_is_kept() -> None:
    times = ("2025-11-30", "2025-12-31", "2026-01-30", "2026-01-31T01:00", "2026-01-31T02:00")
    assert kept(Keep(last=1), *times) == ["2026-01-31T02:00"]
    assert kept(Keep(last=1, daily=2), *times) == ["2026-01-30", "2026-01-31T02:00"]
    assert kept(Keep(last=2, monthly=2), *times) == ["2025-12-31", "2026-01-31T01:00", "2026-01-31T02:00"]


@pytest.mark.parametrize("at_ms", [-(1 << 63), (1 << 63) - 1, -1, 0])
def test_a_time_beyond_the_calendar_is_a_time(at_ms: int) -> None:
    snapshots = [Snapshot("odd", REF, at_ms, 0), at("2026-01-01")]
    for rule in (Keep(1), Keep(0, 1), Keep(0, 0, 1), Keep(0, 0, 0, 1), Keep(0, 0, 0, 0, 1)):
        assert len(choose(snapshots, rule)) == 1


# --- against another way to say it --------------------------------------------------------------

PERIODS: dict[str, Callable[[Snapshot], object]] = {
    "last": lambda each: each.name,
    "hourly": lambda each: each.created_at_ms // HOUR_MS,
    "daily": lambda each: each.created_at_ms // (24 * HOUR_MS),
    # The first day of 1970 was a Thursday.
    "weekly": lambda each: (each.created_at_ms + 3 * 24 * HOUR_MS) // (7 * 24 * HOUR_MS),
    "monthly": lambda each: (EPOCH + timedelta(milliseconds=each.created_at_ms)).strftime("%Y-%m"),
}


def by_periods(snapshots: list[Snapshot], rule: Keep) -> set[str]:
    """The newest of each period, the newest periods first, so many; and the oldest if they were too few."""
    found: set[str] = set()
    ordered = sorted(snapshots, key=lambda each: (each.created_at_ms, each.name))
    for name, period in PERIODS.items():
        newest = {period(each): each.name for each in ordered}
        count = getattr(rule, name)
        found.update(list(newest.values())[::-1][:count])
        if ordered and len(newest) < count:
            found.add(ordered[0].name)
    return found


@given(
    st.lists(st.integers(0, 40_000), max_size=30),
    st.builds(Keep, *[st.integers(0, 5)] * 5),
)
def test_a_rule_keeps_the_newest_of_the_newest_periods(hours: list[int], rule: Keep) -> None:
    snapshots = [Snapshot(str(n), REF, hour * HOUR_MS // 3, 0) for n, hour in enumerate(hours)]
    chosen = choose(snapshots, rule)
    assert {each.name for each in chosen} == by_periods(snapshots, rule)
    assert chosen == sorted(chosen, key=lambda each: (each.created_at_ms, each.name))


@given(st.lists(st.integers(0, 40_000), max_size=20), st.builds(Keep, *[st.integers(0, 4)] * 5))
def test_a_rule_applied_again_drops_nothing_more(hours: list[int], rule: Keep) -> None:
    snapshots = [Snapshot(str(n), REF, hour * HOUR_MS, 0) for n, hour in enumerate(hours)]
    once = choose(snapshots, rule)
    assert choose(once, rule) == once
