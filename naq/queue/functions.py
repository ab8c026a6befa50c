"""The module functions ``naq.enqueue(…)`` and the like, and their twins without an event loop.

Each opens a :class:`~naq.Queue` for one call; over the connection of the surrounding block or job
where there is one, else over a new one. The ``_sync`` twins run on the process's one background
thread (``_sync``), whose connections stay open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from naq.base.names import check_job_id
from naq.jobs import presence
from naq.jobs.calls import Declared
from naq.jobs.results import Results
from naq.jobs.sync import runtime
from naq.nats.connection import open_connection, use_connection
from naq.queue.queue import Queue
from naq.schedules.manage import Schedules
from naq.schedules.schedule import check_schedule_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from datetime import datetime, timedelta

    from naq.jobs.job import Job
    from naq.jobs.message import Function
    from naq.jobs.presence import WorkerInfo
    from naq.nats.connection import Connection
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

T = TypeVar("T")


async def enqueue(
    function: Function,
    /,
    *args: Any,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **kwargs: Any,
) -> Job:
    """Put a call into a queue; see :meth:`Queue.enqueue`.

    Inside ``async with naq.connect()`` or a job it uses that connection, otherwise it opens one for
    this call: who enqueues often holds a :class:`Queue`.
    """
    async with _queue(function, queue_name, nats_url) as queue:
        return await queue.enqueue(function, *args, **kwargs)


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


async def enqueue_many(
    calls: Iterable[Function],
    /,
    *,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **options: Any,
) -> list[Job]:
    """Put many calls into one queue; see :meth:`Queue.enqueue_many`."""
    async with _queue(None, queue_name, nats_url) as queue:
        return await queue.enqueue_many(calls, **options)


async def schedule(
    function: Function,
    /,
    *args: Any,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **kwargs: Any,
) -> Schedule:
    """Run a call again and again; see :meth:`Queue.schedule`, whose options these are."""
    async with _queue(function, queue_name, nats_url) as queue:
        return await queue.schedule(function, *args, **kwargs)


async def get_schedule(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """Return a schedule.

    Raises:
        JobNotFoundError: there is none of that id.
        SerializationError: it cannot be read.
    """
    async with open_connection(nats_url) as connection:
        schedules = Schedules(connection)
        return schedules.handle(await schedules.get(check_schedule_id(schedule_id)))


async def list_schedules(*, nats_url: str | None = None) -> list[Schedule]:
    """Return all schedules, the next one due first."""
    async with open_connection(nats_url) as connection:
        schedules = Schedules(connection)
        return [schedules.handle(record) for record in await schedules.list()]


async def cancel_scheduled_job(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """End a schedule; see :meth:`Schedule.cancel`."""
    return await _control(schedule_id, "cancel", nats_url)


async def pause_scheduled_job(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """Queue no more runs of a schedule; see :meth:`Schedule.pause`."""
    return await _control(schedule_id, "pause", nats_url)


async def resume_scheduled_job(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """End a pause; see :meth:`Schedule.resume`."""
    return await _control(schedule_id, "resume", nats_url)


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


async def purge_queue(queue_name: str | None = None, *, nats_url: str | None = None) -> int:
    """Remove all queued and delayed jobs of a queue; return how many there were."""
    async with _queue(None, queue_name, nats_url) as queue:
        return await queue.purge()


async def fetch_job_result(job_id: str, *, nats_url: str | None = None) -> Any:
    """Return the value of a job that has ended; does not wait.

    Raises:
        JobNotFoundError: there is no result (yet, or any more).
        JobError: the job ended without a value.
    """
    async with open_connection(nats_url) as connection:
        return await Results(connection).fetch(check_job_id(job_id))


async def list_workers(*, nats_url: str | None = None) -> list[WorkerInfo]:
    """Return all workers on the server, oldest first, with what they run right now."""
    async with open_connection(nats_url) as connection:
        return await presence.list_workers(connection)


def _queue(function: Function | None, queue_name: str | None, nats_url: str | None) -> Queue:
    if queue_name is None and isinstance(function, Declared):
        queue_name = function.queue
    return Queue(queue_name, nats_url=nats_url)


def _sync(nats_url: str | None, call: Callable[[], Awaitable[T]]) -> T:
    async def over(connection: Connection) -> T:
        use_connection(connection)
        return await call()

    return runtime().run_connected(nats_url, over)


def enqueue_sync(
    function: Function,
    /,
    *args: Any,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **kwargs: Any,
) -> Job:
    """:func:`enqueue` for code without an event loop; the connection stays open for the next."""
    return _sync(nats_url, lambda: enqueue(function, *args, queue_name=queue_name, **kwargs))


def enqueue_in_sync(
    delay: float | timedelta,
    function: Function,
    /,
    *args: Any,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **kwargs: Any,
) -> Job:
    """:func:`enqueue_in` for code without an event loop."""
    return _sync(
        nats_url, lambda: enqueue_in(delay, function, *args, queue_name=queue_name, **kwargs)
    )


def enqueue_at_sync(
    when: datetime,
    function: Function,
    /,
    *args: Any,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **kwargs: Any,
) -> Job:
    """:func:`enqueue_at` for code without an event loop."""
    return _sync(
        nats_url, lambda: enqueue_at(when, function, *args, queue_name=queue_name, **kwargs)
    )


def enqueue_many_sync(
    calls: Iterable[Function],
    /,
    *,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **options: Any,
) -> list[Job]:
    """:func:`enqueue_many` for code without an event loop."""
    return _sync(nats_url, lambda: enqueue_many(calls, queue_name=queue_name, **options))


def schedule_sync(
    function: Function,
    /,
    *args: Any,
    queue_name: str | None = None,
    nats_url: str | None = None,
    **kwargs: Any,
) -> Schedule:
    """:func:`schedule` for code without an event loop."""
    return _sync(nats_url, lambda: schedule(function, *args, queue_name=queue_name, **kwargs))


def get_schedule_sync(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """:func:`get_schedule` for code without an event loop."""
    return _sync(nats_url, lambda: get_schedule(schedule_id))


def list_schedules_sync(*, nats_url: str | None = None) -> list[Schedule]:
    """:func:`list_schedules` for code without an event loop."""
    return _sync(nats_url, list_schedules)


def cancel_scheduled_job_sync(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """:func:`cancel_scheduled_job` for code without an event loop."""
    return _sync(nats_url, lambda: cancel_scheduled_job(schedule_id))


def pause_scheduled_job_sync(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """:func:`pause_scheduled_job` for code without an event loop."""
    return _sync(nats_url, lambda: pause_scheduled_job(schedule_id))


def resume_scheduled_job_sync(schedule_id: str, *, nats_url: str | None = None) -> Schedule:
    """:func:`resume_scheduled_job` for code without an event loop."""
    return _sync(nats_url, lambda: resume_scheduled_job(schedule_id))


def modify_scheduled_job_sync(
    schedule_id: str, *, nats_url: str | None = None, **changes: Any
) -> Schedule:
    """:func:`modify_scheduled_job` for code without an event loop."""
    return _sync(nats_url, lambda: modify_scheduled_job(schedule_id, **changes))


def purge_queue_sync(queue_name: str | None = None, *, nats_url: str | None = None) -> int:
    """:func:`purge_queue` for code without an event loop."""
    return _sync(nats_url, lambda: purge_queue(queue_name))


def fetch_job_result_sync(job_id: str, *, nats_url: str | None = None) -> Any:
    """:func:`fetch_job_result` for code without an event loop."""
    return _sync(nats_url, lambda: fetch_job_result(job_id))


def list_workers_sync(*, nats_url: str | None = None) -> list[WorkerInfo]:
    """:func:`list_workers` for code without an event loop."""
    return _sync(nats_url, list_workers)
