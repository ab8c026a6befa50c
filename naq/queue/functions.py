"""The module functions ``naq.enqueue(…)`` and the like, and their forms without an event loop.

Each opens a :class:`~naq.Queue` for one call, over the connection of the surrounding block or job
where there is one, else over the one of the event loop (:mod:`naq.jobs.shared`). Those named
``_sync`` run on the process's one background thread (:mod:`naq.jobs.runtime`), whose connections
stay open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from naq.base.names import check_job_id
from naq.base.public import public
from naq.jobs import presence
from naq.jobs.calls import queue_of
from naq.jobs.coding.codec import Codec
from naq.jobs.inspect.info import forget_job
from naq.jobs.message import Batch
from naq.jobs.results import Results
from naq.jobs.shared import open_connection
from naq.jobs.sync import synced
from naq.queue.queue import Queue
from naq.schedules.manage import Schedules
from naq.schedules.schedule import check_schedule_id
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from naq.jobs.calls import Function
    from naq.jobs.job import Job
    from naq.jobs.presence import WorkerInfo
    from naq.schedules.schedule import Schedule

__all__ = [
    "cancel_scheduled_job",
    "cancel_scheduled_job_sync",
    "enqueue",
    "enqueue_at",
    "enqueue_at_sync",
    "enqueue_in",
    "enqueue_in_sync",
    "enqueue_many",
    "enqueue_many_sync",
    "enqueue_sync",
    "fetch_job_result",
    "fetch_job_result_sync",
    "forget",
    "forget_sync",
    "get_schedule",
    "get_schedule_sync",
    "list_schedules",
    "list_schedules_sync",
    "list_workers",
    "list_workers_sync",
    "modify_scheduled_job",
    "modify_scheduled_job_sync",
    "pause_scheduled_job",
    "pause_scheduled_job_sync",
    "purge_queue",
    "purge_queue_sync",
    "resume_scheduled_job",
    "resume_scheduled_job_sync",
    "schedule",
    "schedule_sync",
]


@public
async def enqueue(
    function: Function,
    /,
    *args: Any,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **kwargs: Any,
) -> Job:
    """Put a call into a queue; see :meth:`Queue.enqueue`.

    Inside ``async with naq.connect()`` or a job it uses that connection, otherwise the one that all
    such calls of this event loop share.
    """
    async with _queue(function, queue_name, nats_url) as queue:
        return await queue.enqueue(function, *args, **kwargs)


@public
async def enqueue_in(
    delay: float | timedelta,
    function: Function,
    /,
    *args: Any,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **kwargs: Any,
) -> Job:
    """Put a call into a queue, runnable after ``delay``; see :meth:`Queue.enqueue_in`."""
    async with _queue(function, queue_name, nats_url) as queue:
        return await queue.enqueue_in(delay, function, *args, **kwargs)


@public
async def enqueue_at(
    when: datetime,
    function: Function,
    /,
    *args: Any,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **kwargs: Any,
) -> Job:
    """Put a call into a queue, runnable from ``when`` on; see :meth:`Queue.enqueue_at`."""
    async with _queue(function, queue_name, nats_url) as queue:
        return await queue.enqueue_at(when, function, *args, **kwargs)


@public
async def enqueue_many(
    calls: Iterable[Function],
    /,
    *,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **options: Any,
) -> list[Job]:
    """Put many calls into queues; see :meth:`Queue.enqueue_many`.

    All go to ``queue_name``; without one each goes to the queue of its task.
    """
    if queue_name is not None:
        async with _queue(None, queue_name, nats_url) as queue:
            return await queue.enqueue_many(calls, **options)
    settings = Settings.from_env()
    batch = Batch(
        Codec.from_settings(settings), settings.default_queue, calls, options, routed=True
    )
    async with _queue(None, next(iter(batch.queues), None), nats_url) as queue:
        return await queue.send_batch(batch)


@public
async def schedule(
    function: Function,
    /,
    *args: Any,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **kwargs: Any,
) -> Schedule:
    """Run a call again and again; see :meth:`Queue.schedule`, which has the same options."""
    async with _queue(function, queue_name, nats_url) as queue:
        return await queue.schedule(function, *args, **kwargs)


@public
async def get_schedule(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """Return a schedule.

    Raises:
        JobNotFoundError: there is no schedule with this id.
        SerializationError: it cannot be read.
    """
    async with open_connection(nats_url) as connection:
        schedules = Schedules(connection)
        return schedules.handle(await schedules.get(check_schedule_id(schedule_id)))


@public
async def list_schedules(*, nats_url: str | None = None) -> list[Schedule]:
    """Return all schedules, the next one due first."""
    async with open_connection(nats_url) as connection:
        schedules = Schedules(connection)
        return [schedules.handle(record) for record in await schedules.list()]


@public
async def cancel_scheduled_job(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """End a schedule; see :meth:`Schedule.cancel`."""
    return await _control(schedule_id, "cancel", nats_url)


@public
async def pause_scheduled_job(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """Queue no more runs of a schedule; see :meth:`Schedule.pause`."""
    return await _control(schedule_id, "pause", nats_url)


@public
async def resume_scheduled_job(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """End a pause; see :meth:`Schedule.resume`."""
    return await _control(schedule_id, "resume", nats_url)


@public
async def modify_scheduled_job(
    schedule_id: str, *, nats_url: str | None = None, **changes: Any
) -> Schedule:
    """Change when a schedule is due; see :meth:`Schedule.reschedule`."""
    return await _control(schedule_id, "reschedule", nats_url, **changes)


async def _control(schedule_id: str, action: str, nats_url: str | None, **changes: Any) -> Schedule:
    async with open_connection(nats_url) as connection:
        schedules = Schedules(connection)
        checked = check_schedule_id(schedule_id)
        return schedules.handle(await schedules.control(checked, action, **changes))


@public
async def purge_queue(queue_name: str | None = None, *, nats_url: str | None = None) -> int:
    """Remove all queued and delayed jobs of a queue; return how many there were."""
    async with _queue(None, queue_name, nats_url) as queue:
        return await queue.purge()


@public
async def fetch_job_result(job_id: str, *, nats_url: str | None = None) -> Any:
    """Return the value of a job that has ended; does not wait.

    Raises:
        JobNotFoundError: there is no result (yet, or no longer).
        JobError: the job ended without a value.
    """
    async with open_connection(nats_url) as connection:
        return await Results(connection).fetch(check_job_id(job_id))


@public
async def forget(job_id: str, *, nats_url: str | None = None) -> bool:
    """Remove what is known of a job that has ended, so that its id can be enqueued again.

    Its result, or its error and its dead letter, are gone for good. Returns False if it has not
    ended: cancel it first.

    Raises:
        JobNotFoundError: nothing is known of it; the id is new already.
    """
    async with open_connection(nats_url) as connection:
        return await forget_job(connection, check_job_id(job_id))


@public
async def list_workers(*, nats_url: str | None = None) -> list[WorkerInfo]:
    """Return all workers on the server, oldest first, with what they run right now."""
    async with open_connection(nats_url) as connection:
        return await presence.list_workers(connection)


def _queue(function: Function | None, queue_name: str | None, nats_url: str | None) -> Queue:
    if queue_name is None:
        queue_name = queue_of(function)
    return Queue(queue_name, nats_url=nats_url)


enqueue_sync = synced(enqueue)
enqueue_in_sync = synced(enqueue_in)
enqueue_at_sync = synced(enqueue_at)
enqueue_many_sync = synced(enqueue_many)
schedule_sync = synced(schedule)
get_schedule_sync = synced(get_schedule)
list_schedules_sync = synced(list_schedules)
cancel_scheduled_job_sync = synced(cancel_scheduled_job)
pause_scheduled_job_sync = synced(pause_scheduled_job)
resume_scheduled_job_sync = synced(resume_scheduled_job)
modify_scheduled_job_sync = synced(modify_scheduled_job)
purge_queue_sync = synced(purge_queue)
fetch_job_result_sync = synced(fetch_job_result)
forget_sync = synced(forget)
list_workers_sync = synced(list_workers)
