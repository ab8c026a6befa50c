"""Cron expressions: fields, days, zones, and the two days a year on which clocks are changed."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.exceptions import ConfigurationError
from naq.schedules import cron as _cron
from naq.schedules.cron import segments
from naq.schedules.options import check_timezone

BERLIN = "Europe/Berlin"


def at(text):
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def following(expression, start, count=3, zone="UTC"):
    """The next due times after ``start``, as wall times of the zone with their offset."""
    cron, found, moment = _cron.parse(expression), [], at(start)
    for _ in range(count):
        moment = cron.next(moment, zone)
        if moment is None:
            break
        local = datetime.fromtimestamp(moment, ZoneInfo(zone))
        found.append(f"{local:%m-%d %H:%M:%S}" + (f"{local:%z}" if zone != "UTC" else ""))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/5 * * * *", ["03-28 12:05:00", "03-28 12:10:00", "03-28 12:15:00"]),
        ("*/20 * * * * *", ["03-28 12:00:20", "03-28 12:00:40", "03-28 12:01:00"]),
        ("@hourly", ["03-28 13:00:00", "03-28 14:00:00", "03-28 15:00:00"]),
        ("@daily", ["03-29 00:00:00", "03-30 00:00:00", "03-31 00:00:00"]),
        ("@Weekly", ["03-29 00:00:00", "04-05 00:00:00", "04-12 00:00:00"]),
        ("@yearly", ["01-01 00:00:00", "01-01 00:00:00", "01-01 00:00:00"]),
        ("0 9 * * mon-fri", ["03-30 09:00:00", "03-31 09:00:00", "04-01 09:00:00"]),
        ("0 9 * * 7", ["03-29 09:00:00", "04-05 09:00:00", "04-12 09:00:00"]),
        ("0 9 * * 5-7", ["03-29 09:00:00", "04-03 09:00:00", "04-04 09:00:00"]),
        ("0 9 1 JAN,JUL *", ["07-01 09:00:00", "01-01 09:00:00", "07-01 09:00:00"]),
        ("0 9 L * *", ["03-31 09:00:00", "04-30 09:00:00", "05-31 09:00:00"]),
        ("0 9 l,15 * *", ["03-31 09:00:00", "04-15 09:00:00", "04-30 09:00:00"]),
        ("0 9 * * 5#3", ["04-17 09:00:00", "05-15 09:00:00", "06-19 09:00:00"]),
        ("0 9 * * fri#1,mon#2", ["04-03 09:00:00", "04-13 09:00:00", "05-01 09:00:00"]),
        ("0 9 * * L5", ["04-24 09:00:00", "05-29 09:00:00", "06-26 09:00:00"]),
        # Day and weekday both restricted: either.
        ("0 9 13 * 5", ["04-03 09:00:00", "04-10 09:00:00", "04-13 09:00:00"]),
        ("0 9 13 * 5#2", ["04-10 09:00:00", "04-13 09:00:00", "05-08 09:00:00"]),
        # A range of everything restricts nothing, and so fits either.
        ("0 9 1-31 * 5", ["03-29 09:00:00", "03-30 09:00:00", "03-31 09:00:00"]),
        ("0 9 29 2 *", ["02-29 09:00:00", "02-29 09:00:00", "02-29 09:00:00"]),
        ("0 9 ? * ?", ["03-29 09:00:00", "03-30 09:00:00", "03-31 09:00:00"]),
        ("5/20 12 * * *", ["03-28 12:05:00", "03-28 12:25:00", "03-28 12:45:00"]),
    ],
)
def test_what_expressions_mean(expression, expected):
    assert following(expression, "2026-03-28 12:00") == expected


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields"),
        ("* * * * * * *", "has 7 fields"),
        ("61 * * * *", "minute: '61' is not understood"),
        ("* 24 * * *", "hour: '24' is not understood"),
        ("0 0 0 * *", "day of month: '0' is not understood"),
        ("0 0 * 13 *", "month: '13' is not understood"),
        ("0 0 * foo *", "month: 'foo' is not understood"),
        ("0 0 * * 8", "day of week: '8' is not understood"),
        ("0 0 * * 5#9", "day of week: '5#9' is not understood"),
        ("0 0 * * mon-xyz", "day of week: 'mon-xyz' is not understood"),
        ("0 0 5#2 * *", "day of month: '#' is for days of the week"),
        ("0 0 15W * *", "day of month: 'W' is not supported"),
        ("0 22-2 * * *", "hour: '22-2' begins after its end"),
        ("*/0 * * * *", "minute: '*/0' is not understood"),
        ("h * * * *", "minute: 'h' is not understood"),
        ("r(1-5) * * * *", "minute: 'r(1-5)' is not understood"),
        ("? * * * *", "minute: '?' is not allowed here"),
        ("1,,2 * * * *", "minute: '' is not understood"),
        ("1.5 * * * *", "minute: '1.5' is not understood"),
        ("60 * * * * *", "second: '60' is not understood"),
        ("0 0 31 2 *", "there is no such day"),
        ("@every 5m", "for a fixed distance use interval"),
        ("@reboot", "the shorthands are @yearly"),
    ],
)
def test_what_is_wrong_is_said_with_the_field(expression, problem):
    with pytest.raises(ConfigurationError) as caught:
        _cron.parse(expression)
    assert problem in str(caught.value)
    assert repr(expression) in str(caught.value)


def test_the_server_gets_numbers_only():
    assert _cron.parse("*/15 8-10 * jan mon-fri").pattern == "0 0,15,30,45 8,9,10 * 1 1,2,3,4,5"
    assert _cron.parse("0 0 * * 7").pattern == "0 0 0 * * 0"
    assert _cron.parse("0 0 1-31 * 5").pattern == "0 0 0 * * *"
    assert _cron.parse("0 0 L * *").pattern is None
    assert _cron.parse("0 0 * * 1#1").pattern is None


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        # 2026-03-29: 02:00 becomes 03:00. What does not exist is due as much later.
        ("30 2 * * *", "2026-03-28 12:00", ["03-29 03:30:00+0200", "03-30 02:30:00+0200"]),
        ("0 2 29 3 *", "2026-03-28 12:00", ["03-29 03:00:00+0200", "03-29 02:00:00+0200"]),
        ("0 2,3 * * *", "2026-03-28 12:00", ["03-29 03:00:00+0200", "03-30 02:00:00+0200"]),
        (
            "*/20 2 * * *",
            "2026-03-28 12:00",
            ["03-29 03:00:00+0200", "03-29 03:20:00+0200", "03-29 03:40:00+0200"],
        ),
        ("0 3 * * *", "2026-03-28 12:00", ["03-29 03:00:00+0200", "03-30 03:00:00+0200"]),
        # Due in every hour: real hours, none left out, none added.
        ("30 * * * *", "2026-03-29 00:00", ["03-29 01:30:00+0100", "03-29 03:30:00+0200"]),
        # 2026-10-25: 03:00 becomes 02:00. What exists twice is due the first time.
        ("30 2 * * *", "2026-10-24 12:00", ["10-25 02:30:00+0200", "10-26 02:30:00+0100"]),
        ("0 3 * * *", "2026-10-24 12:00", ["10-25 03:00:00+0100", "10-26 03:00:00+0100"]),
        (
            "30 * * * *",
            "2026-10-25 00:00",
            ["10-25 02:30:00+0200", "10-25 02:30:00+0100", "10-25 03:30:00+0100"],
        ),
        ("0 12 * * *", "2026-10-24 12:00", ["10-25 12:00:00+0100", "10-26 12:00:00+0100"]),
    ],
)
def test_the_days_on_which_clocks_are_changed(expression, start, expected):
    assert following(expression, start, len(expected), BERLIN) == expected


def test_from_within_the_gap_what_was_put_forward_is_still_to_come():
    # 01:10 UTC is 03:10, between what 02:00 and what 02:20 became.
    assert following("*/20 2 * * *", "2026-03-29 01:10", 2, BERLIN) == [
        "03-29 03:20:00+0200",
        "03-29 03:40:00+0200",
    ]


def test_zones_of_half_an_hour_and_of_midnight():
    # Lord Howe Island: half an hour, at 02:00. Beirut: at midnight.
    assert following("15 2 * * *", "2026-10-03 12:00", 2, "Australia/Lord_Howe") == [
        "10-04 02:45:00+1100",
        "10-05 02:15:00+1100",
    ]
    assert following("0 0 * * *", "2026-03-28 12:00", 2, "Asia/Beirut") == [
        "03-29 01:00:00+0300",
        "03-30 00:00:00+0300",
    ]


def test_the_times_the_server_leaves_out_are_known():
    cron = _cron.parse("30 2 * * *")
    shifted = cron.next_shifted(at("2026-04-01"), BERLIN)
    assert shifted == at("2027-03-28 03:30:00+02:00")
    assert cron.next_shifted(at("2026-04-01"), "UTC") is None
    assert _cron.parse("30 * * * *").next_shifted(at("2026-04-01"), BERLIN) is None
    assert _cron.parse("0 12 * * *").next_shifted(at("2026-04-01"), BERLIN) is None


def test_zones_are_checked():
    assert check_timezone("America/New_York") == "America/New_York"
    for wrong in ("", "Mars/Olympus", "+02:00", "../etc/passwd"):
        with pytest.raises(ConfigurationError, match="not an IANA time zone"):
            check_timezone(wrong)


def test_segments_meet():
    found = list(segments(BERLIN, at("2026-01-01"), 3))
    assert all(a.end == b.start for a, b in itertools.pairwise(found))
    assert all(a.after == b.offset and b.before == a.offset for a, b in itertools.pairwise(found))
    assert found[0].end == at("2026-03-29 01:00")


FIELD = st.one_of(
    st.just("*"), st.integers(0, 23).map(str), st.sampled_from(["*/2", "*/6", "1-5", "2,3"])
)


@given(
    minute=st.sampled_from(["*", "0", "30", "*/20", "59"]),
    hour=FIELD,
    start=st.integers(1_735_689_600, 1_830_297_600).map(float),
    zone=st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_due_times_agree_with_a_look_at_every_minute(minute, hour, start, zone):
    """The definition, said another way: walk the wall clock minute by minute."""
    cron = _cron.parse(f"{minute} {hour} * * *")
    begin = int(start // 60) * 60
    expected = next(
        (m for m in range(begin + 60, begin + 3 * 86_400, 60) if _is_due(cron, m, zone)), None
    )
    assert cron.next(float(begin), zone) == expected


def _is_due(cron, moment, zone):
    tz = ZoneInfo(zone)
    here = datetime.fromtimestamp(moment, tz)
    second, minute, hour, *_ = cron.pattern.split()
    assert second == "0"

    def fits(wall):
        return all(
            field == "*" or value in map(int, field.split(","))
            for field, value in ((minute, wall.minute), (hour, wall.hour))
        )

    if cron.every_hour:
        return fits(here)
    if here.fold:  # exists for the second time
        before = here.replace(fold=0)
        if before.utcoffset() != here.utcoffset():
            return False
    if fits(here):
        return True
    # Is it what a wall time that does not exist has become?
    gap = here.utcoffset() - datetime.fromtimestamp(moment - 7200, tz).utcoffset()
    if gap <= timedelta(0):
        return False
    missing = here.replace(tzinfo=None) - gap
    exists = missing.replace(tzinfo=tz).astimezone(UTC).astimezone(tz).replace(tzinfo=None)
    return exists != missing and fits(missing)
