"""The options of ``schedule``: what is wrong with one, what they become.

They stand beside the options of a job (``_options``), which hold for each run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from naq.exceptions import ConfigurationError
from naq.jobs import calls as _options
from naq.schedules.cron import check_timezone
from naq.schedules.schedule import ScheduleRecord, check_schedule_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["SCHEDULE_OPTIONS", "normalize", "rescheduled"]

MISFIRES = ("skip", "once", "all")
OVERLAPS = ("allow", "skip", "replace")
CHANGEABLE = frozenset({"cron", "interval", "repeat", "timezone", "next_run"})
LEAST_INTERVAL = 1.0
"""Seconds. The server looks at its schedules four times a second at most."""
MOST_TIMES = 1_000_000_000
"""Runs in all, or missed ones that are made up for: more is a slip of the keyboard."""


def normalize(options: Mapping[str, Any], *, now: float) -> dict[str, Any]:
    """Check options; return them as fields of a new :class:`ScheduleRecord`.

    Args:
        options: what the caller gave; None means the default.
        now: the server's time, seconds since the epoch.

    Raises:
        ConfigurationError: with one line per option that cannot be used.
    """
    fields, problems = _checked(options)
    if not ("cron" in fields or "interval" in fields or problems):
        problems.append("give cron or interval")
    if options.get("cron") is not None and options.get("interval") is not None:
        problems.append("give cron or interval, not both")
    if "interval" in fields and "timezone" in fields:
        problems.append("timezone is for cron; an interval knows no clock")
    start, end = fields.get("start"), fields.get("end")
    if start is not None and end is not None and end < start:
        problems.append("end is before start")
    if problems:
        raise ConfigurationError(*problems)
    return fields | _begin(fields, now)


def _begin(fields: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return where it begins: an interval at its start, or one interval from now."""
    start, interval = fields.get("start"), fields.get("interval")
    begun: dict[str, Any] = {"created_at": now, "cursor": now}
    if interval is not None:
        begun["anchor"] = _anchor(now, interval) if start is None else start
    return begun


def _anchor(now: float, interval: float) -> float:
    """Return the first due time of an interval; on whole seconds where it is of whole seconds."""
    anchor = now + interval
    return float(int(anchor)) if interval == int(interval) else anchor


def rescheduled(record: ScheduleRecord, changes: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Check changes of a schedule; return the fields that change.

    Raises:
        ConfigurationError: with one line per change that cannot be made.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    problems = [f"{name}: cannot be changed" for name in sorted(given.keys() - CHANGEABLE)]
    if not given:
        problems.append("nothing to change: give cron, interval, repeat, timezone or next_run")
    fields, more = _checked({k: v for k, v in given.items() if k in CHANGEABLE})
    problems += more
    if "cron" in given and "interval" in given:
        problems.append("give cron or interval, not both")
    if "timezone" in fields and _no_clock(record, given):
        problems.append("timezone is for cron; an interval knows no clock")
    if fields.get("repeat", record.runs + 1) <= record.runs:
        problems.append(f"repeat={given['repeat']!r}: it has run {record.runs} times already")
    if problems:
        raise ConfigurationError(*problems)
    moment = fields.pop("next_run", None)
    if "cron" in fields or "timezone" in fields:
        fields |= {"interval": None, "cursor": now}
    elif "interval" in fields:
        fields |= {
            "cron": None,
            "timezone": "UTC",
            "cursor": now,
            "anchor": _anchor(now, fields["interval"]),
        }
    if moment is not None:
        fields["next_at"] = moment
    elif "cursor" in fields:
        fields["next_at"] = None
    return fields


def _no_clock(record: ScheduleRecord, given: Mapping[str, Any]) -> bool:
    return "interval" in given or ("cron" not in given and record.cron is None)


def _checked(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    fields: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in options.items():
        if value is None:
            continue
        try:
            fields[name] = _CHECKS[name](value)
        except ConfigurationError as exc:
            problems.extend(exc.problems)
    return fields, problems


def _cron(value: object) -> str:
    from naq.schedules import cron  # noqa: PLC0415 - croniter is slow to import

    if not isinstance(value, str):
        raise ConfigurationError(f"cron={value!r}: give an expression such as '*/5 * * * *'")
    return " ".join(cron.parse(value).text.split())


def _interval(value: object) -> float:
    return _options.seconds("interval", value, least=LEAST_INTERVAL)


def _whole(name: str, least: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST_TIMES:
            return value
        raise ConfigurationError(
            f"{name}={value!r}: must be a whole number from {least} to {MOST_TIMES}"
        )

    return check


def _one_of(name: str, choices: tuple[str, ...]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in choices:
            raise ConfigurationError(f"{name}={value!r}: must be one of {', '.join(choices)}")
        return str(value)

    return check


def _timezone(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"timezone={value!r}: give a name such as 'Europe/Berlin'")
    return check_timezone(value)


_CHECKS: dict[str, Callable[[object], Any]] = {
    "schedule_id": check_schedule_id,
    "cron": _cron,
    "interval": _interval,
    "timezone": _timezone,
    "start": lambda value: _options.when("start", value),
    "end": lambda value: _options.when("end", value),
    "jitter": lambda value: _options.seconds("jitter", value),
    "repeat": _whole("repeat", 1),
    "misfire": _one_of("misfire", MISFIRES),
    "misfire_grace": lambda value: _options.seconds("misfire_grace", value),
    "misfire_cap": _whole("misfire_cap", 1),
    "overlap": _one_of("overlap", OVERLAPS),
    "next_run": lambda value: _options.when("next_run", value),
}
SCHEDULE_OPTIONS = frozenset(_CHECKS) - {"next_run"}
