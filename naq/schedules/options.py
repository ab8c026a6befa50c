"""What may be said of a schedule, and done to it: its options and actions, as fields of its record.

The options stand beside those of a job (:mod:`naq.jobs.calls`), which hold for each run.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from naq.exceptions import ConfigurationError
from naq.jobs import calls
from naq.schedules.schedule import LIVE, ScheduleRecord, ScheduleStatus, check_schedule_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from naq.jobs.job import JobMessage

__all__ = ["SCHEDULE_OPTIONS", "acted", "check_timezone", "new_record", "normalize", "rescheduled"]

MISFIRES = ("skip", "once", "all")
OVERLAPS = ("allow", "skip", "replace")
CHANGEABLE = frozenset({"cron", "interval", "repeat", "timezone", "next_run"})
LEAST_INTERVAL = 1.0
"""Seconds. The server looks at its schedules four times a second at most."""
MOST_TIMES = 1_000_000_000
"""Runs in all, or missed ones that are made up for: more is a typing error."""


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
    """Return where a schedule begins: an interval at its start, or one interval from now."""
    start, interval = fields.get("start"), fields.get("interval")
    begun: dict[str, Any] = {"created_at": now, "cursor": now}
    if interval is not None:
        begun["anchor"] = _anchor(now, interval) if start is None else start
    return begun


def _anchor(now: float, interval: float) -> float:
    """Return an interval's first due time: a whole second if the interval is whole seconds."""
    anchor = now + interval
    return float(int(anchor)) if interval == int(interval) else anchor


def new_record(
    job: JobMessage,
    options: Mapping[str, Any],
    *,
    now: float,
    expires_in: float | None = None,
    source: str = "",
) -> ScheduleRecord:
    """Return the record of a new schedule.

    Args:
        job: what each run is made of.
        options: those of ``schedule``; None means the default.
        now: the server's time.
        expires_in: seconds after its due time at which a run expires that has not been started.
        source: where it is declared: empty for a call of ``schedule``.

    Raises:
        ConfigurationError: with one line per option that cannot be used.
    """
    fields = normalize(options, now=now)
    schedule_id = fields.pop("schedule_id", None)
    record = ScheduleRecord(
        id=schedule_id or "-",
        job=msgspec.structs.replace(job, id="", due_at=None),
        expires_in=expires_in,
        source=source,
        **fields,
    )
    if schedule_id is None:
        record = msgspec.structs.replace(record, id=_made_id(record))
    if record.plain and record.start is not None and record.start > now:
        record = msgspec.structs.replace(record, next_at=record.timing.next(now))
    record = record.timed()
    if record.next_run is None:
        raise ConfigurationError("it is never due between start and end")
    return record


def _made_id(record: ScheduleRecord) -> str:
    """Return the id of a schedule that was given none: of its function, arguments and times."""
    job = record.job
    what = (job.queue, job.function, job.payload, record.cron, record.interval, record.timezone)
    digest = hashlib.sha256(msgspec.msgpack.encode(what)).hexdigest()[:8]
    name = job.function.rpartition(":")[2].rpartition(".")[2]
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in name)
    return f"{safe[:64] or 'schedule'}-{digest}"


def acted(
    record: ScheduleRecord, action: str, changes: Mapping[str, Any], now: float
) -> dict[str, Any] | None:
    """Return the fields of a schedule that an action changes; None if it changes none.

    Args:
        record: the schedule.
        action: ``pause``, ``resume``, ``cancel``, ``reschedule`` or ``refresh``.
        changes: for ``reschedule``.
        now: the server's time, seconds since the epoch.

    Raises:
        ConfigurationError: that cannot be done to it, or a change cannot be made.
    """
    status = record.status
    if action == "refresh" or (action == "cancel" and status is ScheduleStatus.CANCELLED):
        return None
    if status not in LIVE:
        raise ConfigurationError(f"schedule {record.id} is {status}; create it again instead")
    match action:
        case "pause":
            return None if status is ScheduleStatus.PAUSED else {"status": ScheduleStatus.PAUSED}
        case "resume":
            if status is ScheduleStatus.ACTIVE:
                return None
            next_at = record.next_at
            if next_at is not None and next_at <= now:
                next_at = None
            return {"status": ScheduleStatus.ACTIVE, "cursor": now, "next_at": next_at}
        case "cancel":
            return {"status": ScheduleStatus.CANCELLED, "next_at": None}
        case "reschedule":
            return rescheduled(record, changes, now)
    raise KeyError(action)


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
    return calls.seconds("interval", value, least=LEAST_INTERVAL)


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


_CHECKS: dict[str, Callable[[object], Any]] = {
    "schedule_id": check_schedule_id,
    "cron": _cron,
    "interval": _interval,
    "timezone": _timezone,
    "start": lambda value: calls.when("start", value),
    "end": lambda value: calls.when("end", value),
    "jitter": lambda value: calls.seconds("jitter", value),
    "repeat": _whole("repeat", 1),
    "misfire": _one_of("misfire", MISFIRES),
    "misfire_grace": lambda value: calls.seconds("misfire_grace", value),
    "misfire_cap": _whole("misfire_cap", 1),
    "overlap": _one_of("overlap", OVERLAPS),
    "next_run": lambda value: calls.when("next_run", value),
}
SCHEDULE_OPTIONS = frozenset(_CHECKS) - {"next_run"}
