"""The queues on the server: their numbers, and what may be done to a whole queue.

A queue is its consumer: it exists from the first enqueue or worker on. Pausing is the server's own
consumer pause, so it survives restarts of everything and holds for every worker.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio
import msgspec

from naq.jobs.layout import ensure_consumer, ensure_streams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from naq.nats.connection import Connection
    from naq.nats.jetstream import ConsumerInfo

__all__ = ["Counts", "QueueStats", "list_queues", "pause", "purge", "queue_stats", "resume"]

FOR_EVER = datetime(2999, 12, 31, tzinfo=UTC)
FEW = 0.01
"""Seconds that counting may take before answers are used again."""
SHARE = 50
"""An answer is good for this many times what it cost beyond that."""
RESUME_DELAY = timedelta(milliseconds=100)
"""Longer than a request takes, so that the end of the pause lies in the server's future."""


class QueueStats(msgspec.Struct, kw_only=True):
    """The numbers of one queue.

    ``depth`` counts jobs no worker has taken, ``running`` those workers hold (a retry that waits a
    few seconds is held too), ``delayed`` those that wait for their time, ``dead`` dead letters;
    ``oldest_age_s`` is how many seconds ago the oldest of the first two was queued.
    """

    queue: str
    depth: int = 0
    running: int = 0
    delayed: int = 0
    dead: int = 0
    paused: bool = False
    oldest_age_s: float | None = None


class Counts:
    """How many delayed jobs and dead letters each queue has; kept by what asks again and again.

    Counting costs the server more, the more there are. If it takes long, an answer is used again
    for a while, so that counting takes a fiftieth of the time; otherwise it is always new.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}
        self._until = float("-inf")

    async def of(
        self, connection: Connection, queues: Iterable[str]
    ) -> Mapping[str, tuple[int, int]]:
        """Return the counts of queues; of those that were not asked for before, new ones."""
        began = time.monotonic()
        if began >= self._until:
            self._known = {}
        missing = [queue for queue in queues if queue not in self._known]
        if missing:
            self._known |= await _count(connection, missing)
            ended = time.monotonic()
            self._until = max(self._until, ended + SHARE * (ended - began - FEW))
        return self._known


async def _count(connection: Connection, queues: list[str]) -> Mapping[str, tuple[int, int]]:
    """Return how many delayed jobs and dead letters each of some queues has."""
    names = connection.names
    found: dict[str, tuple[int, int]] = {}
    # Mostly nothing is delayed, and then there is no need to ask for each queue.
    some = await connection.streams.next(names.jobs_stream, names.delayed("*", "*"), after=0)

    async def count(queue: str) -> None:
        delayed = 0
        if some is not None:
            delayed = await connection.streams.count(names.jobs_stream, names.delayed(queue, "*"))
        dead = await connection.streams.count(names.results_stream, names.dead_letter(queue, "*"))
        found[queue] = delayed, dead

    async with anyio.create_task_group() as tasks:
        for queue in queues:
            tasks.start_soon(count, queue)
    return found


async def list_queues(connection: Connection, counts: Counts | None = None) -> list[QueueStats]:
    """Return the numbers of all queues, by name.

    Args:
        connection: to the server.
        counts: kept by what asks again and again.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    await ensure_streams(connection)
    names = connection.names
    found: list[QueueStats] = []
    listed: list[tuple[str, ConsumerInfo]] = []
    for info in await connection.streams.consumers(names.jobs_stream):
        queue = names.queue_of_consumer(info.name)
        if queue is not None:
            listed.append((queue, info))
    counted = await (counts or Counts()).of(connection, [queue for queue, _ in listed])

    async def look(queue: str, info: ConsumerInfo) -> None:
        found.append(await _stats(connection, queue, info, counted[queue]))

    async with anyio.create_task_group() as tasks:
        for queue, info in listed:
            tasks.start_soon(look, queue, info)
    return sorted(found, key=lambda stats: stats.queue)


async def queue_stats(connection: Connection, queue: str) -> QueueStats:
    """Return the numbers of one queue; it is created if it does not exist.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    await _ensure(connection, queue)
    names = connection.names
    info = await connection.streams.consumer_info(names.jobs_stream, names.consumer(queue))
    counted = await _count(connection, [queue])
    return await _stats(connection, queue, info, counted[queue])


async def _stats(
    connection: Connection,
    queue: str,
    info: ConsumerInfo,
    counted: tuple[int, int],
) -> QueueStats:
    """Return the numbers of a queue, with its delayed jobs and dead letters, as counted."""
    names = connection.names
    delayed, dead = counted
    age = None
    if info.num_pending or info.num_ack_pending:
        # Up to there all is settled, so the oldest is near. The stream begins with its keeper.
        settled = max(1, info.ack_floor.stream_seq)
        oldest = await connection.streams.next(
            names.jobs_stream, names.queue_filter(queue), after=settled
        )
        if oldest is not None:
            age = max(0.0, info.ts.timestamp() - oldest.time.timestamp())
    return QueueStats(
        queue=queue,
        depth=info.num_pending,
        running=info.num_ack_pending,
        delayed=delayed,
        dead=dead,
        paused=info.paused,
        oldest_age_s=age,
    )


async def purge(connection: Connection, queue: str) -> int:
    """Remove all queued and delayed jobs of a queue; return how many there were.

    Jobs that run go on to their end.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    await _ensure(connection, queue)
    names = connection.names
    removed = await connection.streams.purge(names.jobs_stream, names.delayed(queue, ">"))
    return removed + await connection.streams.purge(names.jobs_stream, names.queue_filter(queue))


async def pause(connection: Connection, queue: str) -> None:
    """Give no more jobs of a queue to workers, until :func:`resume`; running ones go on.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    await _ensure(connection, queue)
    await _pause(connection, queue, until=FOR_EVER)


async def resume(connection: Connection, queue: str) -> None:
    """End a pause; does nothing to a queue that is not paused.

    By letting it end a moment from now: a pause that is simply lifted does not wake the consumer
    (nats-server 2.15.1, ``updatePauseState``), one that runs out does. The moment is by the
    server's clock.
    """
    await _ensure(connection, queue)
    names = connection.names
    info = await connection.streams.consumer_info(names.jobs_stream, names.consumer(queue))
    if info.paused:
        await _pause(connection, queue, until=info.ts + RESUME_DELAY)


async def _pause(connection: Connection, queue: str, *, until: datetime) -> None:
    names = connection.names
    await connection.streams.pause_consumer(names.jobs_stream, names.consumer(queue), until=until)


async def _ensure(connection: Connection, queue: str) -> None:
    await ensure_streams(connection)
    await ensure_consumer(connection, queue)
