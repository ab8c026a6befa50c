"""When a schedule is due: a cron expression or an interval, from a start to an end.

Times are seconds since the epoch, by the server's clock. An interval counts from its first due
time, so it neither drifts nor starts anew when something restarts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from naq.schedules.cron import Cron

__all__ = ["EARLY", "Timing"]

EARLY = 0.05
"""Seconds by which two synchronized clocks may differ. What is due up to this much later than a
moment counts as due at that moment."""

# How far to look back for the last due time. A look costs as many steps as it finds due times, so
# the near past comes first.
_WINDOWS = (2.0, 61.0, 3_601.0, 90_001.0, 32 * 86_400.0, 367 * 86_400.0, 9 * 366 * 86_400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When something is due; exactly one of ``cron`` and ``interval`` is set.

    ``anchor`` is the first due time of an interval; ``start`` and ``end`` are inclusive.
    """

    cron: str | None = None
    interval: float | None = None
    timezone: str = "UTC"
    anchor: float = 0.0
    start: float | None = None
    end: float | None = None

    def next(self, after: float) -> float | None:
        """Return the first due time later than ``after``, None if there is none."""
        if self.start is not None and after < self.start:
            after = math.nextafter(self.start, -math.inf)
        if self.interval is None:
            found = self._parsed().next(after, self.timezone)
        else:
            found = _step(self.anchor, self.interval, after)
        return None if found is None or (self.end is not None and found > self.end) else found

    def between(self, after: float, until: float) -> Iterator[float]:
        """Yield due times later than ``after`` up to ``until``, in order."""
        while (found := self.next(after)) is not None and found <= until:
            yield found
            after = found

    def last(self, count: int, after: float, until: float) -> list[float]:
        """Return the last ``count`` due times later than ``after`` up to ``until``, in order.

        The cost depends on ``count``, not on how long ago ``after`` is.
        """
        found: list[float] = []
        for window in _WINDOWS:
            since = max(after, until - window)
            found = self._tail(count, since, until)
            if len(found) >= count or since <= after:
                break
        return found

    def _tail(self, count: int, since: float, until: float) -> list[float]:
        tail: list[float] = []
        for due in self.between(since, until):
            tail.append(due)
            if len(tail) > count:
                del tail[0]
        return tail

    @property
    def pattern(self) -> str | None:
        """The same for the server's scheduler; None if it cannot express it."""
        if self.interval is None:
            return self._parsed().pattern
        if self.interval != int(self.interval) or self.anchor != int(self.anchor):
            return None
        return _as_cron(int(self.interval), int(self.anchor)) or f"@every {int(self.interval)}s"

    @property
    def drifts(self) -> bool:
        """Whether the server counts the interval from its last firing, and not from an anchor."""
        return (self.pattern or "").startswith("@every")

    def next_shifted(self, after: float) -> float | None:
        """Return the next due time the server's scheduler leaves out: clocks are put forward."""
        return None if self.interval else self._parsed().next_shifted(after, self.timezone)

    def _parsed(self) -> Cron:
        from naq.schedules.cron import parse  # noqa: PLC0415 - croniter is slow to import

        assert self.cron is not None
        return parse(self.cron)


def _step(anchor: float, interval: float, after: float) -> float:
    if after < anchor:
        return anchor
    steps = math.floor((after - anchor) / interval) + 1
    found = anchor + steps * interval
    # Floating point may land on ``after`` itself.
    return found if found > after else anchor + (steps + 1) * interval


def _as_cron(interval: int, anchor: int) -> str | None:
    """Write an interval that divides a minute, an hour, a day or a week as a cron pattern in UTC.

    The server counts ``@every`` from when it started, and starts anew when it is killed; a pattern
    goes on where it was.
    """
    moment = datetime.fromtimestamp(anchor, UTC)
    second, minute, hour = moment.second, moment.minute, moment.hour
    if 60 % interval == 0:
        return f"{_cycle(second, interval, 60)} * * * * *"
    if interval % 60 == 0 and 60 % (interval // 60) == 0:
        return f"{second} {_cycle(minute, interval // 60, 60)} * * * *"
    if interval % 3600 == 0 and 24 % (interval // 3600) == 0:
        return f"{second} {minute} {_cycle(hour, interval // 3600, 24)} * * *"
    if interval == 7 * 86_400:
        return f"{second} {minute} {hour} * * {moment.isoweekday() % 7}"
    return None


def _cycle(first: int, step: int, length: int) -> str:
    values = sorted((first + done) % length for done in range(0, length, step))
    return "*" if step == 1 else ",".join(map(str, values))
