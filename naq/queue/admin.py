"""What may be done to a whole queue: pause, resume, purge and delete it.

A queue is its consumer: it exists from the first enqueue or worker on, until it is deleted. Nothing
here creates one: a name that nobody uses is a mistake, and is answered with the nearest one that is
used. Pausing is the server's own consumer pause, so it survives restarts of everything and holds
for every worker.
"""

from __future__ import annotations

import difflib
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import anyio

from naq.exceptions import ConfigurationError, QueueNotFoundError, ServerRefusedError
from naq.jobs import presence
from naq.jobs.layout import ensure_counters, ensure_streams
from naq.nats import watch
from naq.nats.jetstream import CONSUMER_NOT_FOUND
from naq.queue.numbers.stats import Counts, QueueStats, list_queues, numbers_of
from naq.schedules.manage import Schedules
from naq.schedules.schedule import LIVE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from naq.nats.connection import Connection
    from naq.nats.jetstream import ConsumerInfo

__all__ = [
    "Counts",
    "QueueStats",
    "delete",
    "existing",
    "list_queues",
    "pause",
    "purge",
    "queue_stats",
    "resume",
]

FOR_EVER = datetime(2999, 12, 31, tzinfo=UTC)
RESUME_DELAY = timedelta(milliseconds=100)
"""Longer than a request takes, so that the end of the pause lies in the server's future."""
IN_FORCE_WITHIN = 5.0
"""Seconds that a consumer may take to hear that it is paused."""


async def existing(connection: Connection, queue: str) -> ConsumerInfo:
    """Return the consumer of a queue that exists.

    Raises:
        QueueNotFoundError: there is none; it names the nearest one.
        NaqConnectionError: the server cannot be reached.
    """
    await ensure_streams(connection)
    names = connection.names
    try:
        return await connection.streams.consumer_info(names.jobs_stream, names.consumer(queue))
    except ServerRefusedError as exc:
        if exc.code != CONSUMER_NOT_FOUND:
            raise
    listed = await connection.streams.consumers(names.jobs_stream)
    queues = sorted(q for c in listed if (q := names.queue_of_consumer(c.name)) is not None)
    raise QueueNotFoundError(not_found(queue, queues), queue=queue)


async def queue_stats(
    connection: Connection, queue: str, counts: Counts | None = None
) -> QueueStats:
    """Return the numbers of one queue.

    Raises:
        QueueNotFoundError: there is no such queue.
        NaqConnectionError: the server cannot be reached.
    """
    info = await existing(connection, queue)
    return (await numbers_of(connection, [info], counts or Counts()))[0]


def not_found(queue: str, queues: Sequence[str]) -> str:
    """Return what is said of a queue that does not exist, with those that do."""
    if not queues:
        return f"there is no queue {queue}, nor any other yet"
    near = difflib.get_close_matches(queue, queues, n=1)
    if near:
        return f"there is no queue {queue}; did you mean {near[0]}?"
    more = f" and {len(queues) - 5} more" if len(queues) > 5 else ""
    return f"there is no queue {queue}; there are {', '.join(queues[:5])}{more}"


async def purge(connection: Connection, queue: str) -> int:
    """Remove all queued and delayed jobs of a queue; return how many there were.

    Jobs that run go on to their end.

    Raises:
        QueueNotFoundError: there is no such queue.
        NaqConnectionError: the server cannot be reached.
    """
    await existing(connection, queue)
    names = connection.names
    removed = await connection.streams.purge(names.jobs_stream, names.delayed(queue, ">"))
    return removed + await connection.streams.purge(names.jobs_stream, names.queue_filter(queue))


class Deleted(NamedTuple):
    """How much went with a queue."""

    jobs: int
    dead: int


async def delete(connection: Connection, queue: str) -> Deleted:
    """Delete a queue: its jobs, dead letters and counters, and the queue itself.

    Results stay until their time is up. Whoever enqueues into it again creates it anew.

    Raises:
        ConfigurationError: a worker serves it, or a schedule puts jobs into it.
        QueueNotFoundError: there is no such queue.
        NaqConnectionError: the server cannot be reached.
    """
    await existing(connection, queue)
    await ensure_counters(connection)
    workers = await presence.list_workers(connection)
    if serving := [worker.id for worker in workers if queue in worker.queues]:
        raise ConfigurationError(f"worker {serving[0]} serves queue {queue}; stop it first")
    for record in await Schedules(connection).list():
        if record.job.queue == queue and record.status in LIVE:
            raise ConfigurationError(
                f"schedule {record.id} puts jobs into queue {queue}; cancel it first"
            )
    jobs = await purge(connection, queue)
    names, streams = connection.names, connection.streams
    await streams.delete_consumer(names.jobs_stream, names.consumer(queue))
    connection.declared.discard(names.consumer(queue))
    jobs += await streams.purge(names.jobs_stream, names.queue_filter(queue))
    await streams.purge(names.jobs_stream, names.fence(queue))
    dead = await streams.purge(names.results_stream, names.dead_letter(queue, "*"))
    await streams.purge(names.totals_stream, names.total(queue, "*"))
    return Deleted(jobs, dead)


async def pause(connection: Connection, queue: str) -> None:
    """Give no more jobs of a queue to workers, until :func:`resume`; running ones go on.

    Raises:
        QueueNotFoundError: there is no such queue.
        NaqConnectionError: the server cannot be reached.
    """
    await existing(connection, queue)
    await _pause(connection, queue, until=FOR_EVER)


async def resume(connection: Connection, queue: str) -> None:
    """End a pause; does nothing to a queue that is not paused.

    By letting it end a moment from now: a pause that is simply lifted does not wake the consumer
    (nats-server 2.15.1, ``updatePauseState``), one that runs out does. The moment is by the
    server's clock, and must still be to come when the consumer hears of it.

    Raises:
        QueueNotFoundError: there is no such queue.
        NaqConnectionError: the server cannot be reached.
    """
    info, delay = await existing(connection, queue), RESUME_DELAY
    while info.paused:
        until = info.ts + delay
        info = await _pause(connection, queue, until=until)
        if info.ts < until:
            return
        delay *= 2


async def _pause(connection: Connection, queue: str, *, until: datetime) -> ConsumerInfo:
    """Pause until then; return what the consumer says once it has heard of it.

    In a cluster that is a moment after the answer, which comes from another server.
    """
    names, streams = connection.names, connection.streams
    stream, consumer = names.jobs_stream, names.consumer(queue)
    await streams.pause_consumer(stream, consumer, until=until)
    info = await streams.consumer_info(stream, consumer)
    with anyio.move_on_after(IN_FORCE_WITHIN):  # somebody else may have had another wish since
        for looks in itertools.count(1):
            if info.config.pause_until == until:
                break
            await anyio.sleep(watch.pause(looks))
            info = await streams.consumer_info(stream, consumer)
    return info
