"""Jobs that wait for their time, delayed ones and long retries: list, find, move them.

People look at them beside schedules, and may do the same to both: :func:`control` acts on whatever
has an id, a schedule or a job that waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from naq.base.names import ATTEMPT, check_job_id
from naq.exceptions import ConfigurationError, JobNotFoundError, SerializationError
from naq.jobs import calls
from naq.jobs.coding.codec import Codec
from naq.jobs.inspect.info import cancel_job
from naq.jobs.job import UNKNOWN, JobMessage, JobStatus
from naq.jobs.message import at, carried, scheduled_for
from naq.nats.jetstream import MESSAGE_ID, SCHEDULE, SCHEDULE_TARGET
from naq.schedules.manage import Schedules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq.nats.connection import Connection, Stored

    Action = Literal["pause", "resume", "cancel", "reschedule", "run-now"]

__all__ = ["Controlled", "DelayedJob", "control", "due_of", "find_delayed", "list_delayed", "move"]


class DelayedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that waits; ``due_at`` in seconds since the epoch.

    ``attempt`` is the number of the attempt it waits for, from 1; ``function`` is ``?`` where the
    message cannot be read here.
    """

    id: str
    queue: str
    function: str
    due_at: float
    attempt: int = 1

    @property
    def status(self) -> JobStatus:
        """Scheduled, or retrying if it has been tried before."""
        return JobStatus.RETRYING if self.attempt > 1 else JobStatus.SCHEDULED


class Controlled(NamedTuple):
    """What a schedule or a job that waits has become.

    Attributes:
        kind: which of the two it is.
        id: its id.
        status: the schedule's or job's status.
        next_run: when it is due next, in seconds since the epoch; None if never again.
        run: the id of the job that runs now, if that was asked for.
    """

    kind: Literal["schedule", "job"]
    id: str
    status: str
    next_run: float | None = None
    run: str = ""


async def control(connection: Connection, name: str, action: Action, **changes: Any) -> Controlled:
    """Act on a schedule or, if there is none of that id, on a job that waits for its time.

    A job that waits can be cancelled, run now, or moved: rescheduled with ``next_run`` alone.

    Args:
        connection: to the server.
        name: the id of the schedule or job.
        action: ``pause``, ``resume``, ``cancel``, ``reschedule`` or ``run-now``.
        changes: for ``reschedule``: ``cron interval repeat timezone next_run``; None is no change.

    Raises:
        ConfigurationError: that cannot be done to it, or a change cannot be made.
        JobNotFoundError: there is neither a schedule nor a waiting job of that id.
        SerializationError: the schedule cannot be read (``cancel`` removes it then).
        NaqConnectionError: the server cannot be reached.
    """
    schedules = Schedules(connection)
    if not await schedules.exists(check_job_id(name)):
        if await find_delayed(connection, name) is None:
            raise JobNotFoundError(f"there is no schedule or delayed job {name}", job_id=name)
        return await _control_job(connection, name, action, changes)
    if action == "run-now":
        job = await schedules.run_now(name)
        record = await schedules.get(name)
        return Controlled("schedule", name, record.status, record.next_run, job.id)
    record = await schedules.control(name, action, **changes)
    return Controlled("schedule", name, record.status, record.next_run)


async def _control_job(
    connection: Connection, job_id: str, action: Action, changes: Mapping[str, Any]
) -> Controlled:
    if action == "cancel":
        if not await cancel_job(connection, job_id):
            raise JobNotFoundError(f"job {job_id} has ended just now", job_id=job_id)
        return Controlled("job", job_id, JobStatus.CANCELLED)
    if action == "run-now":
        moved = await move(connection, job_id, await connection.clock.now())
        return Controlled("job", job_id, moved.status, moved.due_at, job_id)
    if action != "reschedule":
        raise ConfigurationError(
            f"{job_id} is a delayed job: it can be cancelled, moved or run now"
        )
    given = [name for name, value in changes.items() if value is not None]
    for name in given:
        if name != "next_run":
            raise ConfigurationError(
                f"{name}: {job_id} is a delayed job, which runs once; give next_run"
            )
    if not given:
        raise ConfigurationError("nothing to change: give next_run")
    when = calls.when("next_run", changes["next_run"])
    moved = await move(connection, job_id, when)
    return Controlled("job", job_id, moved.status, moved.due_at)


async def list_delayed(connection: Connection, queue: str | None = None) -> list[DelayedJob]:
    """Return the jobs that wait, of one queue or all, the next one due first.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    names = connection.names
    waiting = connection.streams.all(names.jobs_stream, names.delayed(queue or "*", "*"))
    found = [_described(connection, stored) async for stored in waiting]
    return sorted(found, key=lambda job: (job.due_at, job.id))


async def find_delayed(connection: Connection, job_id: str) -> DelayedJob | None:
    """Return a job that waits; None if it does not."""
    stored = await _stored(connection, job_id)
    return None if stored is None else _described(connection, stored)


async def move(connection: Connection, job_id: str, when: float) -> DelayedJob:
    """Let a job that waits become runnable at another time, in seconds since the epoch.

    Raises:
        JobNotFoundError: it does not wait (any more).
        NaqConnectionError: the server cannot be reached.
    """
    names = connection.names
    while (stored := await _stored(connection, job_id)) is not None:
        found = _described(connection, stored)
        headers = carried(stored.headers) | {
            SCHEDULE: at(when),
            SCHEDULE_TARGET: names.job(found.queue, job_id),
            MESSAGE_ID: f"{job_id}:moved:{stored.seq}",
        }
        streams = connection.streams
        if not await streams.put_if(stored.subject, stored.data, headers, expected=stored.seq):
            continue
        return msgspec.structs.replace(found, due_at=when)
    raise JobNotFoundError(f"there is no delayed job {job_id}", job_id=job_id)


async def _stored(connection: Connection, job_id: str) -> Stored | None:
    names = connection.names
    return await connection.streams.first(names.jobs_stream, names.delayed("*", job_id))


def due_of(stored: Stored) -> float:
    """Return when a stored job that waits becomes runnable, in seconds since the epoch."""
    due = scheduled_for(stored.headers)
    return stored.time.timestamp() if due is None else due


def _described(connection: Connection, stored: Stored) -> DelayedJob:
    headers = stored.headers or {}
    attempt = headers.get(ATTEMPT, "")
    codec = Codec.from_settings(connection.settings)
    try:
        function = codec.open(JobMessage, stored.data, headers).function
    except SerializationError:
        function = UNKNOWN
    parts = connection.names.parts(stored.subject)
    return DelayedJob(
        id=parts.id,
        queue=parts.queue,
        function=function,
        due_at=due_of(stored),
        attempt=int(attempt) if attempt.isdigit() else 1,
    )
