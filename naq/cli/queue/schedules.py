"""``naq schedule``, ``list-scheduled``, ``job-control``: what runs again and again, or later."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from naq.base.names import check_queue
from naq.cli import render
from naq.cli.common import ROWS, Common, Duration, Flag, Json, Limit, run
from naq.cli.queue.calls import time_of, typed_call
from naq.exceptions import ConfigurationError, JobNotFoundError
from naq.jobs.job import utc

if TYPE_CHECKING:
    from naq.nats.connection import Connection
    from naq.queue.delayed import Controlled
    from naq.queue.scheduled import ScheduleRow
    from naq.schedules.schedule import ScheduleRecord

__all__ = ["job_control", "list_scheduled", "schedule"]

Status = Literal["active", "paused", "finished", "cancelled", "failed", "scheduled", "retrying"]
Action = Literal["cancel", "pause", "resume", "reschedule", "run-now"]


def schedule(
    target: str,
    /,
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=False)],
    kwarg: Annotated[tuple[str, ...], Parameter(name=["--kwarg", "-k"])] = (),
    queue: Annotated[str | None, Parameter(name=["--queue", "-q"])] = None,
    cron: str | None = None,
    interval: Duration | None = None,
    timezone: str | None = None,
    repeat: int | None = None,
    start: str | None = None,
    end: str | None = None,
    jitter: Duration | None = None,
    misfire: Literal["skip", "once", "all"] | None = None,
    overlap: Literal["allow", "skip", "replace"] | None = None,
    schedule_id: Annotated[str | None, Parameter(name=["--id"])] = None,
    common: Common | None = None,
) -> int:
    """Run a call again and again; print the schedule's id and when it is next due.

    naq schedule shop.tasks:report --cron "0 7 * * mon-fri" --timezone Europe/Berlin

    Args:
        target: A function, as module:function.
        arguments: Its arguments: JSON if they are JSON, otherwise text.
        kwarg: A keyword argument, NAME=VALUE.
        queue: Name of the queue. Default: that of the task, or NAQ_DEFAULT_QUEUE.
        cron: Minute, hour, day, month, weekday; or six fields, with seconds first.
        interval: Time between two runs: 30s, 5m, 1h30m.
        timezone: The time zone of the cron expression. Default: UTC.
        repeat: The number of runs.
        start: No run is due before: 2030-01-31T09:00, in local time unless it has an offset.
        end: No run is due after.
        jitter: Each run starts at random up to this much later.
        misfire: What happens to runs that nobody could start in time.
        overlap: What happens while the previous run has not ended.
        schedule_id: An id of your own. If there is a schedule of that id, it is changed.
    """
    typed = typed_call(target, arguments, kwarg)
    options: dict[str, Any] = {
        "cron": cron,
        "interval": interval,
        "timezone": timezone,
        "repeat": repeat,
        "start": time_of("--start", start),
        "end": time_of("--end", end),
        "jitter": jitter,
        "misfire": misfire,
        "overlap": overlap,
        "schedule_id": schedule_id,
    }

    async def make(connection: Connection) -> ScheduleRecord:
        from naq.queue.queue import Queue

        async with Queue(queue or typed.queue, connection=connection) as opened:
            return (await opened.schedule(typed.call, **options)).record

    made = run(common, make)
    render.say(f"{made.id} {_state(made)}")
    return 0


def list_scheduled(
    *,
    status: Annotated[Status | None, Parameter(name=["--status", "-s"])] = None,
    job_id: Annotated[str | None, Parameter(name=["--job-id", "-j"])] = None,
    queue: Annotated[str | None, Parameter(name=["--queue", "-q"])] = None,
    detailed: Annotated[Flag, Parameter(name=["--detailed", "-d"])] = False,
    limit: Limit = ROWS,
    json: Json = False,
    common: Common | None = None,
) -> int:
    """Show schedules, delayed jobs and waiting retries, the next one due first.

    Args:
        status: Only this status; "scheduled" are delayed jobs, "retrying" long retries.
        job_id: Only this one; exit with 66 if it does not exist.
        queue: Only those of this queue.
        detailed: Show runs, policies and errors as well.
        limit: At most this many.
        json: Print one JSON document.
    """
    if queue is not None:
        check_queue(queue)
    rows, unserved = run(common, lambda connection: _ask(connection, queue))
    chosen = [row for row in rows if status in (None, row.status) and job_id in (None, row.id)]
    if job_id is not None and not chosen:
        raise JobNotFoundError(f"there is no schedule or delayed job {job_id}", job_id=job_id)
    if unserved:
        render.line(
            "no scheduler is running, so schedules with a policy wait; start one: naq scheduler"
        )
    shown = chosen[:limit]
    if json:
        render.print_json([_fields(row) for row in shown])
    else:
        columns = [*_BRIEF, *_DETAILED] if detailed else _BRIEF
        cells = [_brief(row) + (_details(row) if detailed else ()) for row in shown]
        render.table(columns, cells, empty="nothing is scheduled")
    render.cut(len(shown), len(chosen), "schedules and delayed jobs")
    return 0


async def _ask(connection: Connection, queue: str | None) -> tuple[list[ScheduleRow], bool]:
    """Return all rows, and whether some of them need a scheduler and none runs."""
    from naq.jobs.presence import list_workers
    from naq.queue.admin import existing
    from naq.queue.scheduled import list_scheduled as ask_all

    rows = (await ask_all(connection, queue)).rows
    if queue is not None and not rows:
        await existing(connection, queue)  # an empty list of a queue that is not there misleads
    need = any(row.status == "active" and row.needs_scheduler for row in rows)
    return rows, need and not await list_workers(connection, "scheduler")


def job_control(
    job_id: str,
    action: Action,
    /,
    *,
    cron: str | None = None,
    interval: Duration | None = None,
    repeat: int | None = None,
    next_run: str | None = None,
    timezone: str | None = None,
    common: Common | None = None,
) -> int:
    """Cancel, pause, resume, reschedule a schedule or delayed job, or run it now.

    Prints its state and next run. naq job-control sums reschedule --cron "*/5 * * * *"

    Args:
        job_id: The id of a schedule, or of a delayed job.
        action: What to do.
        cron: reschedule: the new cron expression.
        interval: reschedule: the time between two runs: 30s, 5m, 1h30m.
        repeat: reschedule: the number of runs, including those it has had.
        next_run: reschedule: when the next run is due; nothing else changes.
        timezone: reschedule: the time zone of the cron expression.
    """
    changes = {
        "cron": cron,
        "interval": interval,
        "repeat": repeat,
        "next_run": time_of("--next-run", next_run),
        "timezone": timezone,
    }
    given = [f"--{name.replace('_', '-')}" for name, v in changes.items() if v is not None]
    if given and action != "reschedule":
        raise ConfigurationError(f"{', '.join(given)}: only for reschedule")

    async def call(connection: Connection) -> Controlled:
        from naq.queue.delayed import control

        return await control(connection, job_id, action, **changes)

    done = run(common, call)
    if done.run:
        render.say(f"{done.id} runs now" + (f" as {done.run}" if done.run != done.id else ""))
    else:
        render.say(f"{done.id} {_state(done)}")
    return 0


# ------------------------------------------------------------------ what is shown

_BRIEF = ["ID", "FUNCTION", "QUEUE", "STATUS", "WHEN", "NEXT RUN", "IN"]
_DETAILED = ["LAST RUN", "RUNS", "MISSED", "POLICY", "FROM", "ERROR"]
_TIMES = ("next_run", "last_run", "start", "end")


def _fields(row: ScheduleRow) -> dict[str, Any]:
    """Return the fields of ``--json``; times are ISO 8601 in UTC."""
    return msgspec.structs.asdict(row) | {name: utc(getattr(row, name)) for name in _TIMES}


def _brief(row: ScheduleRow) -> tuple[object, ...]:
    left = None if row.next_run is None else row.next_run - datetime.now(UTC).timestamp()
    return (
        row.id,
        row.function,
        row.queue,
        row.status,
        row.times or None,
        _when(row.next_run),
        None if left is None else render.duration(left) if left >= 0 else "due",
    )


def _details(row: ScheduleRow) -> tuple[object, ...]:
    return (
        _when(row.last_run),
        f"{row.runs}/{row.repeat}" if row.repeat else row.runs,
        row.missed if row.kind == "schedule" else None,
        _policy(row),
        row.source,
        row.error,
    )


def _policy(row: ScheduleRow) -> str | None:
    if not row.needs_scheduler:
        return None
    parts = [f"misfire {row.misfire}", f"overlap {row.overlap}"]
    if row.jitter:
        parts.append(f"jitter {render.duration(row.jitter)}")
    for name, moment in (("start", row.start), ("end", row.end)):
        if moment is not None:
            parts.append(f"{name} {_when(moment)}")
    return ", ".join(parts)


def _state(record: ScheduleRecord | Controlled) -> str:
    due = _when(record.next_run)
    return str(record.status) + ("" if due is None else f", next run {due}")


def _when(at: float | None) -> str | None:
    """Return a moment in local time, with the date even if it is today: logs are read later."""
    moment = utc(at)
    if moment is None:
        return None
    local = moment.astimezone()
    text = f"{local:%Y-%m-%d %H:%M:%S}"
    return text if not local.microsecond else f"{text}.{local.microsecond // 1000:03}"
