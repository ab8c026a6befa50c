"""The module functions ``naq.enqueue(…)`` and the like, and their twins without an event loop.

Each opens a :class:`~naq.Queue` for one call; over the connection of the surrounding block or job
where there is one, else over a new one. The ``_sync`` twins run on the process's one background
thread (``_sync``), whose connections stay open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from naq import presence
from naq._names import check_job_id
from naq._sync import runtime
from naq._task import Task
from naq.connection import use_connection
from naq.queue import Queue, open_connection
from naq.results import Results

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from datetime import datetime, timedelta

    from naq.connection import Connection
    from naq.job import Job
    from naq.presence import WorkerInfo
    from naq.queue import Function

__all__ = [
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
    "list_workers",
    "list_workers_sync",
    "purge_queue",
    "purge_queue_sync",
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
    if queue_name is None and isinstance(function, Task):
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


def purge_queue_sync(queue_name: str | None = None, *, nats_url: str | None = None) -> int:
    """:func:`purge_queue` for code without an event loop."""
    return _sync(nats_url, lambda: purge_queue(queue_name))


def fetch_job_result_sync(job_id: str, *, nats_url: str | None = None) -> Any:
    """:func:`fetch_job_result` for code without an event loop."""
    return _sync(nats_url, lambda: fetch_job_result(job_id))


def list_workers_sync(*, nats_url: str | None = None) -> list[WorkerInfo]:
    """:func:`list_workers` for code without an event loop."""
    return _sync(nats_url, list_workers)
