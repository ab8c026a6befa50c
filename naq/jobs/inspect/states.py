"""In which state a job is that has not ended.

:func:`state_of` alone decides, for handles, lists and numbers alike; :func:`states_of` asks it
about many jobs at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from naq.base.names import ATTEMPT, Kind
from naq.jobs import presence
from naq.jobs.job import JobMessage, JobRecord, JobStatus
from naq.jobs.results import Results

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from naq.jobs.presence import WorkerInfo
    from naq.nats.connection import Connection, Stored
    from naq.nats.jetstream import ConsumerInfo

__all__ = ["Moment", "Seen", "seen", "state_of", "states_of"]


class Seen(NamedTuple):
    """What is seen of a job that has not ended, at one moment."""

    delayed: bool = False
    """Its message waits for its time."""
    taken: bool = False
    """Its message was handed to a worker, and is not settled."""
    running: bool = False
    """A worker has begun it."""
    tried: bool = False
    """An attempt has failed, and another is to follow."""
    late: bool = False
    """It was not begun by the time that its ``expires`` allows."""


def state_of(seen: Seen) -> JobStatus:
    """Return the state of a job that has not ended.

    ``retrying`` is one that waits until its next attempt is due. Once it stands in line again,
    behind others, it is as ``pending`` as they are.
    """
    if seen.running:
        return JobStatus.RUNNING
    if seen.delayed:
        return JobStatus.RETRYING if seen.tried else JobStatus.SCHEDULED
    if seen.taken and seen.tried:
        return JobStatus.RETRYING
    return JobStatus.EXPIRED if seen.late else JobStatus.PENDING


def seen(
    stored: Stored,
    kind: Kind,
    job: JobMessage | None,
    record: JobRecord | None,
    *,
    taken: bool,
    running: bool,
    now: float,
) -> Seen:
    """Return what a job's message, its record and the workers say of it, at a server's time."""
    begun = record is not None and record.attempts > 0
    expiry = job.expiry(stored.time.timestamp()) if job is not None else None
    return Seen(
        delayed=kind is Kind.DELAYED,
        taken=taken,
        running=running,
        tried=ATTEMPT in stored.headers
        or (record is not None and record.status is JobStatus.RETRYING),
        late=expiry is not None and not begun and now > expiry,
    )


class Moment(NamedTuple):
    """What goes on at one moment, asked once for many jobs."""

    handed_out: Mapping[str, int]
    """By queue: the sequence of the last message that was given to a worker."""
    running: Mapping[str, str]
    """The worker of each job that runs, as far as workers list them, by the job's id."""
    at: float
    """By the server's clock."""

    @classmethod
    async def of(
        cls, connection: Connection, consumers: Iterable[ConsumerInfo], workers: list[WorkerInfo]
    ) -> Moment:
        """Return what consumers and workers say."""
        handed_out = {
            queue: info.delivered.stream_seq
            for info in consumers
            if (queue := connection.names.queue_of_consumer(info.name)) is not None
        }
        running = {job_id: one.id for one in workers for job_id in one.jobs}
        return cls(handed_out, running, await connection.clock.now())

    @classmethod
    async def now(cls, connection: Connection) -> Moment:
        """Ask what goes on now."""
        consumers = await connection.streams.consumers(connection.names.jobs_stream)
        return await cls.of(connection, consumers, await presence.list_workers(connection))


async def states_of(
    connection: Connection, moment: Moment, found: Sequence[tuple[Stored, JobMessage | None]]
) -> list[JobStatus]:
    """Return the states of jobs, of which the messages were found.

    Records are read only of those that a worker was given and that do not run.

    Args:
        connection: to the server.
        moment: what goes on.
        found: messages of jobs, queued or delayed, and what they say if they can be read.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    parts = [connection.names.parts(stored.subject) for stored, _ in found]
    taken = [
        part.kind is Kind.JOB and stored.seq <= moment.handed_out.get(part.queue, 0)
        for part, (stored, _) in zip(parts, found, strict=True)
    ]
    unclear = [
        part.id for part, t in zip(parts, taken, strict=True) if t and part.id not in moment.running
    ]
    records = await Results(connection).several(unclear)
    return [
        state_of(
            seen(
                stored,
                part.kind,
                job,
                records.get(part.id),
                taken=t,
                running=t and part.id in moment.running,
                now=moment.at,
            )
        )
        for part, t, (stored, job) in zip(parts, taken, found, strict=True)
    ]
