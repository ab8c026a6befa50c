"""Time zones: is a name one, and when does its offset from UTC change.

:mod:`zoneinfo` answers for one instant; whoever enumerates wall times needs the moments at which
the answer changes. They are found by looking at each day of a year and halving down to the second,
once per zone and year.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from naq.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Segment", "check_timezone", "gaps", "segments"]

_DAY = 86_400


class Segment(NamedTuple):
    """A stretch of time with one offset. Instants are seconds since the epoch, offsets seconds."""

    start: int
    end: int
    """The first instant that is not part of it."""
    offset: int
    before: int
    """The offset until ``start``."""
    after: int
    """The offset from ``end`` on."""


@lru_cache(maxsize=1024)
def check_timezone(name: str) -> str:
    """Return ``name`` if it is an IANA time zone.

    Raises:
        ConfigurationError: it is not, or this machine's database lacks it.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):
        raise ConfigurationError(
            f"timezone={name!r}: not an IANA time zone such as 'Europe/Berlin' or 'UTC'"
        ) from None
    return name


def _offset(name: str, instant: int) -> int:
    found = datetime.fromtimestamp(instant, ZoneInfo(name)).utcoffset()
    return int((found or timedelta()).total_seconds())


@lru_cache(maxsize=4096)
def _changes(name: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return the instants of a year (of UTC) at which the offset changes, with the new offset."""
    start = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp())
    found = []
    last = _offset(name, start)
    for day in range(start, end, _DAY):
        there = _offset(name, day + _DAY)
        if there != last:
            found.append((_first_with(name, there, day, day + _DAY), there))
            last = there
    return tuple(found)


def _first_with(name: str, offset: int, before: int, there: int) -> int:
    """Return the first instant after ``before`` with an offset that ``there`` has."""
    while there - before > 1:
        middle = (before + there) // 2
        if _offset(name, middle) == offset:
            there = middle
        else:
            before = middle
    return there


def segments(name: str, instant: float, years: int) -> Iterator[Segment]:
    """Yield the segments from the one ``instant`` lies in on, for about ``years`` years."""
    year = datetime.fromtimestamp(instant, UTC).year
    start = int(datetime(year - 1, 1, 1, tzinfo=UTC).timestamp())
    offset = before = _offset(name, start)
    for current in range(year - 1, year + years + 1):
        for moment, after in _changes(name, current):
            if moment > instant:
                yield Segment(start, moment, offset, before, after)
            start, before, offset = moment, offset, after
    end = int(datetime(year + years + 1, 1, 1, tzinfo=UTC).timestamp())
    yield Segment(start, end, offset, before, offset)


def gaps(name: str, instant: float, years: int) -> Iterator[Segment]:
    """Yield the segments that end by a gap: at ``end`` clocks are put forward."""
    for segment in segments(name, instant, years):
        if segment.after > segment.offset:
            yield segment
