"""When a schedule is due, and how the server is told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.schedules.timing import Timing

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()


def test_an_interval_counts_from_its_anchor():
    timing = Timing(interval=90.0, anchor=NOON)
    assert timing.next(NOON - 1000) == NOON
    assert timing.next(NOON) == NOON + 90
    assert timing.next(NOON + 89.9) == NOON + 90
    assert list(timing.between(NOON, NOON + 270)) == [NOON + 90, NOON + 180, NOON + 270]


def test_start_and_end_are_included():
    timing = Timing(cron="0 * * * *", start=NOON, end=NOON + 7200)
    assert timing.next(NOON - 86_400) == NOON
    assert timing.next(NOON) == NOON + 3600
    assert timing.next(NOON + 3600) == NOON + 7200
    assert timing.next(NOON + 7200) is None


def test_the_last_due_times_cost_what_they_are_not_how_long_ago_the_last_look_was():
    every_second = Timing(cron="* * * * * *")
    assert every_second.last(3, NOON - 10 * 365 * 86_400, NOON) == [NOON - 2, NOON - 1, NOON]
    yearly = Timing(cron="0 0 1 1 *")
    new_year = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert yearly.last(2, 0.0, NOON)[-1] == new_year
    assert yearly.last(1, new_year, NOON) == []


@pytest.mark.parametrize(
    ("interval", "pattern"),
    [
        (1, "* * * * * *"),
        (15, "7,22,37,52 * * * * *"),
        (60, "7 * * * * *"),
        (300, "7 4,9,14,19,24,29,34,39,44,49,54,59 * * * *"),
        (3600, "7 34 * * * *"),
        (6 * 3600, "7 34 0,6,12,18 * * *"),
        (86_400, "7 34 12 * * *"),
        (7 * 86_400, "7 34 12 * * 2"),
        (90, "@every 90s"),
        (7 * 60, "@every 420s"),
        (2 * 86_400, "@every 172800s"),
        (1.5, None),
    ],
)
def test_how_the_server_is_told_of_an_interval(interval, pattern):
    anchor = datetime(2026, 11, 24, 12, 34, 7, tzinfo=UTC).timestamp()
    assert Timing(interval=float(interval), anchor=anchor).pattern == pattern


@given(
    interval=st.sampled_from([1, 5, 30, 60, 600, 1800, 3600, 7200, 86_400, 604_800]),
    anchor=st.integers(1_700_000_000, 1_900_000_000),
    after=st.integers(1_700_000_000, 1_900_000_000),
)
def test_the_pattern_for_an_interval_is_due_when_the_interval_is(interval, anchor, after):
    """What the server does with the pattern, done by our own reading of it."""
    timing = Timing(interval=float(interval), anchor=float(anchor))
    told = Timing(cron=timing.pattern)
    start = float(max(anchor, after))
    assert told.next(start) == timing.next(start)
