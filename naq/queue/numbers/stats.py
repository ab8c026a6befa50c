"""How many jobs each queue has, by state: :class:`QueueStats`.

The server knows how many jobs wait and how many were handed out. What has become of those, the
workers say; where that leaves doubt, they are looked at one by one, and
:func:`naq.jobs.inspect.states.state_of` decides.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from naq.base.names import ATTEMPT
from naq.jobs import presence
from naq.jobs.inspect.states import Moment, states_of
from naq.jobs.job import JobStatus
from naq.jobs.layout import ensure_streams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from naq.jobs.presence import WorkerInfo
    from naq.nats.connection import Connection
    from naq.nats.jetstream import ConsumerInfo

__all__ = ["Counts", "QueueStats", "Shares", "list_queues", "numbers_of", "shares"]

FEW = 0.01
"""Seconds that counting may take before answers are used again."""
SHARE = 50
"""An answer is good for this many times what it cost beyond that."""
LOOK = 256
"""Jobs that are looked at one by one, to tell what they wait for; where there are more, a retry
among delayed jobs counts as delayed, and what no worker has as a retry."""
IMPATIENT = 0.1
"""Seconds in which workers have to answer, if one of them did not the last time."""


class QueueStats(msgspec.Struct, kw_only=True):
    """The numbers of one queue.

    ``depth`` counts jobs that wait for a worker, ``running`` those that run, ``retrying`` those
    that wait for their next attempt, ``delayed`` those that wait for their time, ``dead`` dead
    letters, ``workers`` those that serve the queue; ``state`` is ``paused``, ``unserved`` where no
    worker takes the jobs, or ``active``. ``oldest_age_s`` is how many seconds ago the
    oldest job was queued that waits for a worker, runs, or is to be tried again soon.
    """

    queue: str
    depth: int = 0
    running: int = 0
    retrying: int = 0
    delayed: int = 0
    dead: int = 0
    paused: bool = False
    workers: int = 0
    state: str = ""
    oldest_age_s: float | None = None

    def __post_init__(self) -> None:
        if not self.state:
            self.state = "paused" if self.paused else "active" if self.workers else "unserved"


class _Kept(NamedTuple):
    """How many messages of a queue are kept for later, or for people."""

    delayed: int
    retrying: int
    dead: int


class Counts:
    """How many delayed jobs and dead letters each queue has; kept by what asks again and again.

    Counting costs the server more, the more there are. If it takes long, an answer is used again
    for a while, so that counting takes a fiftieth of the time; otherwise it is always new. And a
    worker that did not answer is not waited for as long the next time.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Kept] = {}
        self._until = float("-inf")
        self._patience = presence.ANSWER_TIMEOUT

    async def of(self, connection: Connection, queues: Iterable[str]) -> Mapping[str, _Kept]:
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

    async def workers(self, connection: Connection) -> list[WorkerInfo]:
        """Return all workers, with what they run right now."""
        found = await presence.list_workers(connection, timeout=self._patience)
        silent = any(info.status == "unresponsive" for info in found)
        self._patience = IMPATIENT if silent else presence.ANSWER_TIMEOUT
        return found


async def _count(connection: Connection, queues: list[str]) -> Mapping[str, _Kept]:
    """Count what is kept of each of some queues."""
    names, streams = connection.names, connection.streams
    found: dict[str, _Kept] = {}
    # Mostly nothing is delayed, and then there is no need to ask for each queue.
    some = await streams.next(names.jobs_stream, names.delayed("*", "*"), after=0)
    for queue in queues:
        delayed = retrying = 0
        if some is not None:
            delayed = await streams.count(names.jobs_stream, names.delayed(queue, "*"))
        if 0 < delayed <= LOOK:
            page, _ = await streams.page(names.jobs_stream, names.delayed(queue, "*"), limit=LOOK)
            retrying = sum(ATTEMPT in stored.headers for stored in page)
        dead = await streams.count(names.results_stream, names.dead_letter(queue, "*"))
        found[queue] = _Kept(max(0, delayed - retrying), retrying, dead)
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
    listed = await connection.streams.consumers(connection.names.jobs_stream)
    return await numbers_of(connection, listed, counts or Counts())


async def numbers_of(
    connection: Connection, consumers: Sequence[ConsumerInfo], counts: Counts
) -> list[QueueStats]:
    """Return the numbers of the queues of some consumers, by name."""
    names = connection.names
    of = {queue: c for c in consumers if (queue := names.queue_of_consumer(c.name)) is not None}
    if not of:
        return []
    workers = await counts.workers(connection)
    moment = await Moment.of(connection, of.values(), workers)
    counted = await counts.of(connection, of)
    found: list[QueueStats] = []
    for queue, info in sorted(of.items()):
        out = await _handed_out(connection, queue, info, moment, workers)
        found.append(
            QueueStats(
                queue=queue,
                depth=info.num_pending + out[JobStatus.PENDING] + out[JobStatus.EXPIRED],
                running=out[JobStatus.RUNNING],
                retrying=out[JobStatus.RETRYING] + counted[queue].retrying,
                delayed=counted[queue].delayed,
                dead=counted[queue].dead,
                paused=info.paused,
                workers=sum(queue in worker.queues for worker in workers),
                oldest_age_s=await _oldest_age(connection, queue, info),
            )
        )
    return found


class Shares(NamedTuple):
    """What has become of the jobs that a queue has handed out and that are not settled."""

    running: int
    waiting: int
    """They wait in a worker for a slot."""
    unclear: int
    """No worker says that it has them: they are to be tried again, or on their way."""


def shares(queue: str, handed_out: int, workers: Iterable[WorkerInfo]) -> Shares:
    """Divide the jobs that a queue has handed out by what the workers say of them.

    A worker of an older release does not say; what nobody says is then taken to run.
    """
    serving = [worker for worker in workers if queue in worker.queues]
    if any(worker.running_of is None for worker in serving):
        return Shares(handed_out, 0, 0)
    running = min(handed_out, sum((w.running_of or {}).get(queue, 0) for w in serving))
    waiting = sum((w.waiting_of or {}).get(queue, 0) for w in serving)
    waiting = min(handed_out - running, waiting)
    return Shares(running, waiting, handed_out - running - waiting)


async def _handed_out(
    connection: Connection,
    queue: str,
    info: ConsumerInfo,
    moment: Moment,
    workers: list[WorkerInfo],
) -> Mapping[JobStatus, int]:
    """Count, by state, the jobs that a queue has handed out and that are not settled."""
    share = shares(queue, info.num_ack_pending, workers)
    cut = any(worker.running > len(worker.jobs) for worker in workers)
    if share.unclear and not cut and info.num_ack_pending <= LOOK:
        names = connection.names
        page, _ = await connection.streams.page(
            names.jobs_stream, names.queue_filter(queue), after=_settled(info), limit=LOOK
        )
        taken = [(stored, None) for stored in page if stored.seq <= info.delivered.stream_seq]
        return Counter(await states_of(connection, moment, taken))
    return Counter(
        {
            JobStatus.RUNNING: share.running,
            JobStatus.PENDING: share.waiting,
            JobStatus.RETRYING: share.unclear,
        }
    )


def _settled(info: ConsumerInfo) -> int:
    """Return the message up to which all are settled; the stream begins with its keeper."""
    return max(1, info.ack_floor.stream_seq)


async def _oldest_age(connection: Connection, queue: str, info: ConsumerInfo) -> float | None:
    if not (info.num_pending or info.num_ack_pending):
        return None
    names = connection.names
    oldest = await connection.streams.next(
        names.jobs_stream, names.queue_filter(queue), after=_settled(info)
    )
    return None if oldest is None else max(0.0, info.ts.timestamp() - oldest.time.timestamp())
