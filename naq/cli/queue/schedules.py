"""``naq schedule``, ``list-scheduled``, ``job-control``: what runs again and again, or later."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from naq.cli import render
from naq.cli.common import Common, Json, function_of, pair_of, run, seconds, time_of, value_of
from naq.exceptions import ConfigurationError, JobNotFoundError
from naq.jobs.job import utc

if TYPE_CHECKING:
    from naq.nats.connection import Connection
    from naq.queue.delayed import DelayedJob
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
    interval: str | None = None,
    timezone: str | None = None,
    repeat: int | None = None,
    start: str | None = None,
    end: str | None = None,
    jitter: str | None = None,
    misfire: Literal["skip", "once", "all"] | None = None,
    overlap: Literal["allow", "skip", "replace"] | None = None,
    schedule_id: Annotated[str | None, Parameter(name=["--id"])] = None,
    common: Common | None = None,
) -> int:
    """Run a call again and again; print the schedule's id and when it is due.

    naq schedule shop.tasks:report --cron "0 7 * * mon-fri" --timezone Europe/Berlin

    Args:
        target: A function, as module:function.
        arguments: Its arguments: JSON where it is JSON, text otherwise.
        kwarg: A keyword argument, NAME=VALUE.
        queue: Default: that of the task, or NAQ_DEFAULT_QUEUE.
        cron: Minute hour day month weekday, or six fields with seconds in front.
        interval: Time between two runs: 30s, 5m, 1h.
        timezone: The zone that cron is meant in. Default: UTC.
        repeat: How many runs there are to be.
        start: Nothing is due before: 2030-01-31T09:00, in local time unless it has an offset.
        end: Nothing is due after.
        jitter: Each run begins up to so much later than due.
        misfire: What becomes of runs nobody could start in time.
        overlap: What happens when the last run has not ended.
        schedule_id: An id of your own; with one that is there, that schedule is changed.
    """
    function = function_of(target)
    args = tuple(value_of(text) for text in arguments)
    kwargs = dict(pair_of(text) for text in kwarg)
    options: dict[str, Any] = {
        "cron": cron,
        "interval": None if interval is None else seconds(interval, "--interval"),
        "timezone": timezone,
        "repeat": repeat,
        "start": None if start is None else time_of("--start", start),
        "end": None if end is None else time_of("--end", end),
        "jitter": None if jitter is None else seconds(jitter, "--jitter"),
        "misfire": misfire,
        "overlap": overlap,
        "schedule_id": schedule_id,
    }

    async def call(connection: Connection) -> ScheduleRecord:
        from naq.jobs.calls import Declared, call
        from naq.queue.queue import Queue

        bound = call(function, *args, **kwargs)
        name = queue
        if isinstance(function, Declared):
            name = queue or function.queue
            bound = call(function.function, *args, **kwargs).with_options(**function.options)
        async with Queue(name, connection=connection) as opened:
            return (await opened.schedule(bound, **options)).record

    found = run(common, call)
    render.say(f"{found.id} {_state(found)}")
    return 0


def list_scheduled(
    *,
    status: Annotated[Status | None, Parameter(name=["--status", "-s"])] = None,
    job_id: Annotated[str | None, Parameter(name=["--job-id", "-j"])] = None,
    queue: Annotated[str | None, Parameter(name=["--queue", "-q"])] = None,
    detailed: Annotated[bool, Parameter(name=["--detailed", "-d"], negative=())] = False,
    json: Json = False,
    common: Common | None = None,
) -> int:
    """Show schedules, delayed jobs, and retries that wait; the next one due first.

    Args:
        status: Only those; "scheduled" are delayed jobs, "retrying" long retries.
        job_id: Only this one. Exits with 66 if there is none.
        queue: Only those of a queue.
        detailed: Show runs, policies and errors as well.
        json: Print one JSON document.
    """

    async def ask(connection: Connection) -> tuple[list[Any], bool]:
        from naq.jobs.presence import list_workers
        from naq.queue.delayed import list_delayed
        from naq.schedules.manage import Schedules

        records = await Schedules(connection).list()
        unserved = any(r.status == "active" and not r.plain for r in records) and not (
            await list_workers(connection, "scheduler")
        )
        waiting = [_delayed_row(job) for job in await list_delayed(connection, queue)]
        return [_schedule_row(record) for record in records] + waiting, unserved

    rows, unserved = run(common, ask)
    chosen = [
        row
        for row in rows
        if (status is None or row["status"] == status)
        and (queue is None or row["queue"] == queue)
        and (job_id is None or row["id"] == job_id)
    ]
    chosen.sort(key=lambda row: (row["next_run"] is None, row["next_run"] or "", row["id"]))
    if job_id is not None and not chosen:
        raise JobNotFoundError(f"there is no schedule or delayed job {job_id}", job_id=job_id)
    if unserved:
        render.line("no scheduler runs: schedules with a policy wait; start one: naq scheduler")
    if json:
        render.print_json(chosen)
        return 0
    columns, cells = _detailed(chosen) if detailed else _brief(chosen)
    render.table(columns, cells, empty="nothing is scheduled")
    return 0


def job_control(
    job_id: str,
    action: Action,
    /,
    *,
    cron: str | None = None,
    interval: str | None = None,
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
        cron: reschedule: due at the times of this expression.
        interval: reschedule: due so often: 30s, 5m, 1h.
        repeat: reschedule: how many runs there are to be, those that were included.
        next_run: reschedule: the next run is then, and nothing else changes.
        timezone: reschedule: the zone that cron is meant in.
    """
    changes = {
        "cron": cron,
        "interval": None if interval is None else seconds(interval, "--interval"),
        "repeat": repeat,
        "next_run": None if next_run is None else time_of("--next-run", next_run),
        "timezone": timezone,
    }
    given = [f"--{name.replace('_', '-')}" for name, v in changes.items() if v is not None]
    if given and action != "reschedule":
        raise ConfigurationError(f"{', '.join(given)}: only for reschedule")

    async def call(connection: Connection) -> str:
        from naq.base.names import check_job_id
        from naq.queue.delayed import find_delayed
        from naq.schedules.manage import Schedules

        check_job_id(job_id)
        schedules = Schedules(connection)
        if not await schedules.exists(job_id):
            if await find_delayed(connection, job_id) is None:
                raise JobNotFoundError(
                    f"there is no schedule or delayed job {job_id}", job_id=job_id
                )
            return await _control_delayed(connection, job_id, action, changes)
        if action == "run-now":
            job = await schedules.run_now(job_id)
            return f"{job_id} runs now as {job.id}"
        record = await schedules.control(job_id, action, **changes)
        return f"{record.id} {_state(record)}"

    render.say(run(common, call))
    return 0


async def _control_delayed(
    connection: Connection, job_id: str, action: Action, changes: dict[str, Any]
) -> str:
    from naq.jobs.inspect import cancel_job
    from naq.queue.delayed import move

    if action == "cancel":
        await cancel_job(connection, job_id)
        return f"{job_id} cancelled"
    if action in {"pause", "resume"}:
        raise ConfigurationError(f"{job_id} is a delayed job: it can be cancelled or moved")
    if action == "run-now":
        await move(connection, job_id, datetime.now(UTC).timestamp())
        return f"{job_id} runs now"
    wrong = [name for name, value in changes.items() if value is not None and name != "next_run"]
    if wrong:
        raise ConfigurationError(
            f"--{wrong[0]}: {job_id} is a delayed job, it runs once; give --next-run"
        )
    if changes["next_run"] is None:
        raise ConfigurationError("nothing to change: give --next-run")
    moved = await move(connection, job_id, changes["next_run"].timestamp())
    return f"{job_id} scheduled, next run {_when(utc(moved.due_at))}"


# ------------------------------------------------------------------ what is shown


def _schedule_row(record: ScheduleRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "kind": "schedule",
        "function": record.job.function,
        "queue": record.job.queue,
        "status": str(record.status),
        "next_run": _iso(record.next_run),
        "last_run": _iso(record.last_run),
        "cron": record.cron,
        "interval": record.interval if record.status != "failed" else None,
        "timezone": record.timezone if record.cron else None,
        "repeat": record.repeat,
        "runs": record.runs,
        "missed": record.missed,
        "start": _iso(record.start),
        "end": _iso(record.end),
        "jitter": record.jitter,
        "misfire": record.misfire,
        "overlap": record.overlap,
        "needs_scheduler": not record.plain,
        "source": record.source or None,
        "error": record.error or None,
    }


def _delayed_row(job: DelayedJob) -> dict[str, Any]:
    retry = job.attempt > 1
    return {
        "id": job.id,
        "kind": "retry" if retry else "delayed",
        "function": job.function,
        "queue": job.queue,
        "status": "retrying" if retry else "scheduled",
        "next_run": _iso(job.due_at),
        "last_run": None,
        "cron": None,
        "interval": None,
        "timezone": None,
        "repeat": None,
        "runs": job.attempt - 1,
    }


def _brief(rows: list[dict[str, Any]]) -> tuple[list[str], list[tuple[object, ...]]]:
    columns = ["ID", "FUNCTION", "QUEUE", "STATUS", "WHEN", "NEXT RUN", "IN"]
    return columns, [_cells(row) for row in rows]


def _detailed(rows: list[dict[str, Any]]) -> tuple[list[str], list[tuple[object, ...]]]:
    columns = [*_brief([])[0], "LAST RUN", "RUNS", "MISSED", "POLICY", "FROM", "ERROR"]
    more = [
        (
            _when(_parsed(row["last_run"])) if row["last_run"] else None,
            f"{row['runs']}/{row['repeat']}" if row["repeat"] else row["runs"],
            row.get("missed"),
            _policy(row),
            row.get("source"),
            row.get("error"),
        )
        for row in rows
    ]
    return columns, [(*_cells(row), *tail) for row, tail in zip(rows, more, strict=True)]


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    due = _parsed(row["next_run"])
    left = None if due is None else (due - datetime.now(UTC)).total_seconds()
    return (
        row["id"],
        row["function"],
        row["queue"],
        row["status"],
        _times(row),
        None if due is None else _when(due),
        None if left is None else render.duration(left) if left >= 0 else "due",
    )


def _times(row: dict[str, Any]) -> str | None:
    if row["cron"]:
        return row["cron"] if row["timezone"] == "UTC" else f"{row['cron']} {row['timezone']}"
    return f"every {_span(row['interval'])}" if row["interval"] else None


def _span(seconds: float) -> str:
    return f"{seconds:g}s" if seconds < 60 else render.duration(seconds)  # 1s, and not 1.0s


def _policy(row: dict[str, Any]) -> str | None:
    if row["kind"] != "schedule" or not row["needs_scheduler"]:
        return None
    parts = [f"{name} {row[name]}" for name in ("misfire", "overlap") if row.get(name)]
    if row["jitter"]:
        parts.append(f"jitter {render.duration(row['jitter'])}")
    parts += [f"{name} {_when(_parsed(row[name]))}" for name in ("start", "end") if row[name]]
    return ", ".join(parts)


def _state(record: ScheduleRecord) -> str:
    due = utc(record.next_run)
    return str(record.status) if due is None else f"{record.status}, next run {_when(due)}"


def _when(moment: datetime | None) -> str:
    """Return a moment in local time; of today the time alone would do, but is ambiguous in logs."""
    if moment is None:
        return "-"
    local = moment.astimezone()
    text = f"{local:%Y-%m-%d %H:%M:%S}"
    return text if not local.microsecond else f"{text}.{local.microsecond // 1000:03}"


def _iso(moment: float | None) -> str | None:
    found = utc(moment)
    return None if found is None else found.isoformat().replace("+00:00", "Z")


def _parsed(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
