"""What runs later or again: schedules, delayed jobs and retries that wait, in one list.

Each is one :class:`ScheduleRow`, the same for the command line, the pages of the dashboard and its
API. Times are seconds since the epoch, durations seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from naq.queue.delayed import list_delayed
from naq.schedules.manage import Schedules
from naq.schedules.schedule import ScheduleStatus

if TYPE_CHECKING:
    from naq.nats.connection import Connection
    from naq.queue.delayed import DelayedJob
    from naq.schedules.schedule import ScheduleRecord

__all__ = ["ScheduleRow", "SchedulesPage", "list_scheduled", "row_of"]


class ScheduleRow(msgspec.Struct, kw_only=True):
    """A schedule, or a delayed job (``kind``: schedule, delayed, retry).

    ``needs_scheduler``: the server alone cannot run it.
    """

    id: str
    kind: str
    function: str
    queue: str
    status: str
    times: str = ""
    """When it is due, for people: the expression and its zone, or ``every 1m30s``."""
    next_run: float | None = None
    last_run: float | None = None
    last_job: str | None = None
    cron: str | None = None
    interval: float | None = None
    timezone: str | None = None
    repeat: int | None = None
    runs: int = 0
    missed: int = 0
    start: float | None = None
    end: float | None = None
    jitter: float = 0.0
    misfire: str | None = None
    overlap: str | None = None
    needs_scheduler: bool = False
    source: str | None = None
    error: str | None = None


class SchedulesPage(msgspec.Struct, kw_only=True):
    """Schedules and delayed jobs; ``left_out``: delayed jobs that are too many to list."""

    rows: list[ScheduleRow]
    left_out: int = 0


async def list_scheduled(
    connection: Connection, queue: str | None = None, *, most: int | None = None
) -> SchedulesPage:
    """Return schedules, delayed jobs and long retries, the next one due first.

    Args:
        connection: to the server.
        queue: only those of this queue.
        most: if there are more delayed jobs than this, only their number is returned.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    records = await Schedules(connection).list()
    rows = [row_of(record) for record in records if queue is None or record.job.queue == queue]
    left_out = 0
    if most is not None:
        names = connection.names
        waiting = names.delayed(queue or "*", "*")
        left_out = await connection.streams.count(names.jobs_stream, waiting)
    if most is None or left_out <= most:
        rows += [_row_of_delayed(job) for job in await list_delayed(connection, queue)]
        left_out = 0
    never = float("inf")
    rows.sort(key=lambda row: (never if row.next_run is None else row.next_run, row.id))
    return SchedulesPage(rows=rows, left_out=left_out)


def row_of(record: ScheduleRecord) -> ScheduleRow:
    """Return the row of a schedule."""
    broken = record.status is ScheduleStatus.FAILED
    return ScheduleRow(
        id=record.id,
        kind="schedule",
        function=record.job.function,
        queue=record.job.queue,
        status=str(record.status),
        times="" if broken else _times(record),
        next_run=record.next_run,
        last_run=record.last_run,
        last_job=record.last_job or None,
        cron=record.cron,
        interval=None if broken else record.interval,
        timezone=record.timezone if record.cron else None,
        repeat=record.repeat,
        runs=record.runs,
        missed=record.missed,
        start=record.start,
        end=record.end,
        jitter=record.jitter,
        misfire=record.misfire,
        overlap=record.overlap,
        needs_scheduler=not record.plain,
        source=record.source or None,
        error=record.error or None,
    )


def _row_of_delayed(job: DelayedJob) -> ScheduleRow:
    return ScheduleRow(
        id=job.id,
        kind="retry" if job.attempt > 1 else "delayed",
        function=job.function,
        queue=job.queue,
        status=str(job.status),
        next_run=job.due_at,
        runs=job.attempt - 1,
    )


def _times(record: ScheduleRecord) -> str:
    if record.cron is None:
        return f"every {_span(record.interval or 0.0)}"
    return record.cron if record.timezone == "UTC" else f"{record.cron} {record.timezone}"


def _span(seconds: float) -> str:
    """Return a duration as it may be typed: ``1h30m``, ``2.5s``."""
    parts = []
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        number, seconds = divmod(seconds, length)
        if number:
            parts.append(f"{number:.0f}{unit}")
    if seconds or not parts:
        parts.append(f"{seconds:g}s")
    return "".join(parts)
