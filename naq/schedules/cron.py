"""Cron expressions in time zones: when they are due, and how the server writes the same.

Five fields (minute hour day month weekday) or six with seconds in front; names, lists, ranges,
steps, ``L`` (last day of the month; ``L5``: last Friday), ``#`` (``5#3``: third Friday) and the
``@`` names. Where day and weekday are both restricted, a day that fits either is due (Vixie cron).

croniter, which only this module knows, parses an expression and steps through *wall* times, as if
they were UTC. A zone is a row of :class:`Segment`, stretches of time with one offset from UTC, and
a wall time becomes an instant in one of them. What happens where clocks are changed is decided
here:

* Expressions that are due in every hour follow real hours: none is left out, none is doubled.
* Otherwise a time that does not exist (clocks put forward) is due once, as much later as clocks
  were put forward; one that exists twice (put back) is due the first time.

That is what Vixie cron has done since 3.0 (``cron(8)``, on daylight saving time).
"""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, CroniterError, croniter

from naq.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cron", "Segment", "gaps", "parse", "segments"]

HORIZON = 12
"""Years an expression may wait for its next time; 29 February skips up to eight."""
GAP_HORIZON = 2
"""Years looked ahead for clocks that are put forward."""

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = ("second", "minute", "hour", "day of month", "month", "day of week")
_RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_PART = re.compile(r"[0-9a-z*?][0-9a-z#-]*(/[0-9]+)?", re.IGNORECASE)
_NTH = re.compile(r"l[0-7a-z]+|.*#.*", re.IGNORECASE)
_DAY, _WEEKDAY = 3, 5
_DAY_SECONDS = 86_400
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Cron:
    """A parsed expression; made by :func:`parse`, shared between threads.

    Attributes:
        text: the expression as it was written.
        pattern: the same for the server's scheduler (six fields, numbers only); None for ``L`` and
            ``#``, which it does not know.
        every_hour: whether it is due in every hour of a day that fits.
    """

    def __init__(self, text: str, fields: list[str]) -> None:
        self.text = text
        values = _expanded(text, fields)
        stars = [_is_star(field) for field in fields]
        nth = [part for part in fields[_WEEKDAY].split(",") if _NTH.fullmatch(part)]
        last_day = "l" in fields[_DAY].lower()
        for index in (_DAY, _WEEKDAY):
            full = not stars[index] and len(values[index]) == _span(index)
            if full and not (nth or last_day):
                # "1-31" is no star: it restricts nothing, so every day fits "either".
                stars[_DAY] = stars[_WEEKDAY] = True
        self.every_hour = stars[2] or len(values[2]) == 24
        written = ["*" if star else _joined(v) for star, v in zip(stars, values, strict=True)]
        self.pattern = None if nth or last_day else " ".join(written)
        self._alternatives = list(_alternatives(fields, written, stars, nth))
        self._lock = threading.Lock()
        self._steppers: list[croniter] = []
        if not (nth or last_day) and stars[_WEEKDAY] and not _exists(values):
            raise ConfigurationError(f"cron={text!r}: there is no such day")

    def __repr__(self) -> str:
        return f"<Cron {self.text}>"

    def next(self, after: float, timezone: str) -> float | None:
        """Return the first due time after ``after``, in a time zone; None if there is none.

        Times are seconds since the epoch.
        """
        lowest = int(after // 1) + 1
        if timezone == "UTC":
            return self._wall(lowest - 1)
        best: float | None = None
        # From the segment before: what its end has put forward may still be to come.
        for segment in segments(timezone, lowest - _DAY_SECONDS, HORIZON):
            if best is not None and best < segment.start:
                break
            for found in self._in_segment(segment, lowest):
                best = found if best is None else min(best, found)
        return best

    def next_shifted(self, after: float, timezone: str) -> float | None:
        """Return the first due time after ``after`` whose wall time does not exist.

        The server's scheduler knows nothing of these. None if there is none in the next two years.
        """
        if timezone == "UTC" or self.every_hour:
            return None
        lowest = int(after // 1) + 1
        for segment in gaps(timezone, lowest - _DAY_SECONDS, GAP_HORIZON):
            found = self._wall(max(lowest, segment.end) + segment.offset - 1)
            if found is not None and found - segment.offset < segment.end + _gap(segment):
                return found - segment.offset
        return None

    def _in_segment(self, segment: Segment, lowest: int) -> Iterator[float]:
        first, end = max(lowest, segment.start) + segment.offset, segment.end
        if not self.every_hour:
            if segment.before > segment.offset:  # put back: these were there a moment ago
                first = max(first, segment.start + segment.before)
            end += _gap(segment)
        found = self._wall(first - 1)
        if found is not None and found - segment.offset < end:
            yield found - segment.offset

    def _wall(self, after: float) -> float | None:
        """Return the first wall time after another one, as if it were UTC."""
        best: float | None = None
        with self._lock:
            if not self._steppers:
                self._steppers = [
                    croniter(" ".join(one), 0, second_at_beginning=True)
                    for one in self._alternatives
                ]
            for stepper in self._steppers:
                try:
                    found = stepper.get_next(float, start_time=after)
                except CroniterBadDateError:
                    continue
                best = found if best is None else min(best, found)
        return best


def _gap(segment: Segment) -> int:
    return max(0, segment.after - segment.offset)


@lru_cache(maxsize=4096)
def parse(text: str) -> Cron:
    """Parse an expression.

    Raises:
        ConfigurationError: it is none, with the field that is wrong, or no day ever fits it.
    """
    stripped = text.strip()
    if stripped.startswith("@"):
        if stripped.lower() not in ALIASES:
            known = ", ".join(ALIASES)
            raise ConfigurationError(
                f"cron={text!r}: the shorthands are {known}; for a fixed distance use interval"
            )
        stripped = ALIASES[stripped.lower()]
    fields = stripped.split()
    if len(fields) not in {5, 6}:
        raise ConfigurationError(
            f"cron={text!r}: has {len(fields)} fields; write minute hour day month weekday, "
            "or six with seconds in front"
        )
    return Cron(text, fields if len(fields) == 6 else ["0", *fields])


def _expanded(text: str, fields: list[str]) -> list[list[int]]:
    """Return the numbers each field stands for (``L`` and ``#`` excepted), or say what is wrong."""
    for index, field in enumerate(fields):
        _check_form(text, index, field)
    try:
        expanded, _nth = croniter.expand(" ".join(fields), second_at_beginning=True)
    except (CroniterError, ValueError, KeyError):
        for index, field in enumerate(fields):
            _check_alone(text, index, field)
        raise ConfigurationError(f"cron={text!r}: is not understood") from None
    # croniter keeps the seconds last.
    return [_numbers(found, index) for index, found in enumerate([expanded[5], *expanded[:5]])]


def _exists(values: list[list[int]]) -> bool:
    """Whether one of the months ever has one of the days."""
    return min(values[_DAY]) <= max(_LONGEST[month - 1] for month in values[4])


def _numbers(found: list[Any], index: int) -> list[int]:
    low, high = _RANGES[index]
    if "*" in found:
        return list(range(low, high + 1))
    return sorted({int(value) for value in found if value != "l"})


def _check_form(text: str, index: int, field: str) -> None:
    """Refuse what croniter would accept and naq does not."""
    name = _FIELDS[index]
    for part in field.split(","):
        if not _PART.fullmatch(part):
            raise ConfigurationError(f"cron={text!r}: {name}: {part!r} is not understood")
        if part[0] not in "*?" and part.lower()[0] in "hr" and not part[1:2].isalpha():
            raise ConfigurationError(f"cron={text!r}: {name}: {part!r} is not understood")
        if "#" in part and index != _WEEKDAY:
            raise ConfigurationError(f"cron={text!r}: {name}: '#' is for days of the week")
        if "?" in part and (index not in {_DAY, _WEEKDAY} or part != "?"):
            raise ConfigurationError(f"cron={text!r}: {name}: '?' is not allowed here")
        if index == _DAY and part.lower().endswith("w"):
            raise ConfigurationError(f"cron={text!r}: {name}: 'W' is not supported")
        first, dash, last = part.partition("/")[0].partition("-")
        if dash and first.isdigit() and last.isdigit() and int(first) > int(last):
            raise ConfigurationError(
                f"cron={text!r}: {name}: {part!r} begins after its end; write two ranges"
            )


def _check_alone(text: str, index: int, field: str) -> None:
    alone = ["*"] * 6
    alone[index] = field
    try:
        croniter.expand(" ".join(alone), second_at_beginning=True)
    except (CroniterError, ValueError, KeyError) as exc:
        name = _FIELDS[index]
        raise ConfigurationError(f"cron={text!r}: {name}: {field!r} is not understood") from exc


def _span(index: int) -> int:
    low, high = _RANGES[index]
    return high - low + 1


def _is_star(field: str) -> bool:
    return any(part in {"*", "?", "*/1"} for part in field.split(","))


def _joined(values: list[int]) -> str:
    return ",".join(map(str, values))


def _alternatives(
    fields: list[str], written: list[str], stars: list[bool], nth: list[str]
) -> Iterator[list[str]]:
    """Yield expressions, one of which fits whenever this one does.

    croniter takes ``L`` and ``#`` alone, not beside other days.
    """
    days: list[str] = []
    if not stars[_DAY]:
        parts = fields[_DAY].lower().split(",")
        if "l" in parts:
            days.append("l")
        if written[_DAY]:
            days.append(written[_DAY])
    weekdays: list[str] = []
    if not stars[_WEEKDAY]:
        plain = [part for part in fields[_WEEKDAY].split(",") if part not in nth]
        weekdays = [*nth, *([",".join(plain)] if plain else [])]
    head = written[:3]
    for day in days:
        yield [*head, day, written[4], "*"]
    for weekday in weekdays:
        yield [*head, "*", written[4], weekday]
    if not days and not weekdays:
        yield [*head, "*", written[4], "*"]


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


def _offset(name: str, instant: int) -> int:
    found = datetime.fromtimestamp(instant, ZoneInfo(name)).utcoffset()
    return int((found or timedelta()).total_seconds())


@lru_cache(maxsize=4096)
def _changes(name: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return the instants of a year (of UTC) at which the offset changes, with the new offset.

    :mod:`zoneinfo` tells the offset at one instant only, so each day of the year is looked at, and
    one on which it changes is halved down to the second; once per zone and year.
    """
    start = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp())
    found = []
    last = _offset(name, start)
    for day in range(start, end, _DAY_SECONDS):
        there = _offset(name, day + _DAY_SECONDS)
        if there != last:
            found.append((_first_with(name, there, day, day + _DAY_SECONDS), there))
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
    """Yield the segments that end in a gap: at ``end`` clocks are put forward."""
    for segment in segments(name, instant, years):
        if segment.after > segment.offset:
            yield segment
