"""Where a job is, how to stop and forget it, from the stream, the records and the workers.

Nothing is stored about running jobs: the workers are asked. A job is, in this order: what its final
record says; running, if a worker answers for it; queued or delayed, if its message is there;
unknown.

Handles (:class:`naq.Job`) ask through a :class:`Backend`. A handle may outlive the connection it
was made with, or be used in another event loop: then it uses the one of that event loop.
"""

from __future__ import annotations

import contextlib
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from naq.base.names import Kind
from naq.exceptions import JobExpiredError, JobNotFoundError, SerializationError
from naq.jobs import presence
from naq.jobs.codec import Codec
from naq.jobs.job import UNKNOWN, Job, JobInfo, JobMessage, JobRecord, JobStatus, utc
from naq.jobs.message import scheduled_for
from naq.jobs.results import Results
from naq.jobs.shared import open_connection
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from naq.jobs.presence import Whereabouts
    from naq.nats.connection import Connection, Stored

__all__ = ["Backend", "cancel_job", "forget_job", "job_info"]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(JobMessage).decode


async def job_info(connection: Connection, job_id: str, queue: str | None = None) -> JobInfo:
    """Return everything known of a job.

    Args:
        connection: where to ask.
        job_id: the job.
        queue: its queue, if known; saves a search.

    Raises:
        JobNotFoundError: there is no such job.
        SerializationError: its record cannot be read.
        NaqConnectionError: the server cannot be reached.
    """
    results = Results(connection)
    for _ in range(2):  # it may end between the two looks
        record, _seq = await results.get(job_id)
        if record is not None and record.status.final:
            return _ended(record)
        waiting = await _message(connection, job_id, queue)
        if waiting is not None:
            return await _alive(connection, waiting, record, job_id)
    raise JobNotFoundError(f"there is no job {job_id}", job_id=job_id)


async def cancel_job(connection: Connection, job_id: str, queue: str | None = None) -> bool:
    """Cancel a job; True if it will have no result, False if it had ended already.

    First its messages are removed, so that no worker takes it any more. Then the workers are told:
    one that took it before stops it and records the end. If none has it, the end is recorded here.

    Raises:
        JobNotFoundError: there is no such job.
        NaqConnectionError: the server cannot be reached.
    """
    names, results = connection.names, Results(connection)
    waiting = await _message(connection, job_id, queue)
    removed = 0
    if waiting is not None:
        queue = names.parts(waiting.subject).queue
        for subject in (names.delayed(queue, job_id), names.job(queue, job_id)):
            removed += await connection.streams.purge(names.jobs_stream, subject)
    if await presence.cancel(connection, job_id) is not None:
        return True
    record, seq = await results.get(job_id)
    while removed and not (record is not None and record.status.final):
        ended = _cancelled(connection, job_id, waiting, record)
        if await results.put(ended, ttl=None, expected=seq):
            return True
        record, seq = await results.get(job_id)
    if record is None:
        raise JobNotFoundError(f"there is no job {job_id}", job_id=job_id)
    return record.status is JobStatus.CANCELLED


def _cancelled(
    connection: Connection, job_id: str, waiting: Stored | None, record: JobRecord | None
) -> JobRecord:
    job = _decoded(connection, waiting)
    return JobRecord(
        id=job_id,
        queue=connection.names.parts(waiting.subject).queue if waiting else "",
        function=job.function if job else UNKNOWN,
        status=JobStatus.CANCELLED,
        enqueued_at=job.enqueued_at if job else 0.0,
        finished_at=time.time(),
        attempts=record.attempts if record else 0,
        history=record.history if record else (),
    )


async def forget_job(connection: Connection, job_id: str) -> bool:
    """Remove what is known of a job that has ended, so that its id is new; False if it has not.

    Its result, or its error and its dead letter, are gone for good.

    Raises:
        JobNotFoundError: nothing is known of it; the id is new already.
        NaqConnectionError: the server cannot be reached.
    """
    names, streams = connection.names, connection.streams
    results_stream = names.results_stream
    kept = await streams.get(results_stream, names.result(job_id))
    letter = await streams.first(results_stream, names.dead_letter("*", job_id))
    ended = kept is not None and _has_ended(connection, kept)
    waiting = [] if ended else [await _message(connection, job_id, None)]
    if any(waiting):
        return False
    if kept is None and letter is None:
        raise JobNotFoundError(f"there is no job {job_id}: its id is new", job_id=job_id)
    # These very messages: the id may be in use again by now. The record last, for a second try.
    for found in (letter, kept):
        if found is not None:
            await streams.remove(results_stream, found.seq)
    return True


def _has_ended(connection: Connection, kept: Stored) -> bool:
    """Whether a record is final; one that cannot be read is of no job that can go on."""
    codec = Codec.from_settings(connection.settings)
    try:
        return codec.open(JobRecord, kept.data, kept.headers).status.final
    except SerializationError:
        return True


async def _message(connection: Connection, job_id: str, queue: str | None) -> Stored | None:
    """Find the message of a job, queued or delayed."""
    names = connection.names
    for subject in (names.job, names.delayed):
        if queue is not None:
            stored = await connection.streams.get(names.jobs_stream, subject(queue, job_id))
        else:
            stored = await connection.streams.first(names.jobs_stream, subject("*", job_id))
        if stored is not None:
            return stored
    return None


def _decoded(connection: Connection, stored: Stored | None) -> JobMessage | None:
    if stored is None:
        return None
    try:
        return Codec.from_settings(connection.settings).open(
            JobMessage, stored.data, stored.headers
        )
    except SerializationError:
        return None


async def _alive(
    connection: Connection, stored: Stored, record: JobRecord | None, job_id: str
) -> JobInfo:
    job, parts = _decoded(connection, stored), connection.names.parts(stored.subject)
    holder: Whereabouts | None = None
    if await _may_run(connection, stored, record):
        holder = await presence.where(connection, job_id)
    return JobInfo(
        id=job_id,
        queue=parts.queue,
        function=job.function if job else UNKNOWN,
        status=await _status(connection, stored, job, record, holder),
        attempts=holder.attempt if holder else record.attempts if record else 0,
        worker=holder.worker if holder else None,
        enqueued_at=utc(job.enqueued_at) if job else stored.time,
        due_at=utc(_due(stored, job, record)),
        started_at=utc(holder.started_at) if holder else None,
        error=record.error if record else None,
        record=record,
    )


def _due(stored: Stored, job: JobMessage | None, record: JobRecord | None) -> float | None:
    waits_until = scheduled_for(stored.headers)
    if waits_until is not None:
        return waits_until
    if record is not None and record.retry_at is not None:
        return record.retry_at
    return job.due_at if job else None


async def _status(
    connection: Connection,
    stored: Stored,
    job: JobMessage | None,
    record: JobRecord | None,
    holder: Whereabouts | None,
) -> JobStatus:
    if holder is not None:
        return JobStatus.RUNNING
    if record is not None and record.status is JobStatus.RETRYING:
        return JobStatus.RETRYING
    if connection.names.parts(stored.subject).kind is Kind.DELAYED:
        return JobStatus.SCHEDULED
    expiry = job.expiry(stored.time.timestamp()) if job is not None else None
    never_started = record is None or record.attempts == 0
    if expiry is not None and never_started and await connection.clock.now() > expiry:
        return JobStatus.EXPIRED
    return JobStatus.PENDING


async def _may_run(connection: Connection, stored: Stored, record: JobRecord | None) -> bool:
    """Whether a worker may hold the job; if not, there is no need to ask and wait."""
    names = connection.names
    parts = names.parts(stored.subject)
    if parts.kind is Kind.DELAYED:
        return False
    if record is not None and record.retry_at is not None and time.time() < record.retry_at:
        return False
    info = await connection.streams.consumer_info(names.jobs_stream, names.consumer(parts.queue))
    # Everything after the last one that was delivered has never been given to anyone.
    return info.num_ack_pending > 0 and stored.seq <= info.delivered.stream_seq


def _ended(record: JobRecord) -> JobInfo:
    return JobInfo(
        id=record.id,
        queue=record.queue,
        function=record.function,
        status=record.status,
        attempts=record.attempts,
        worker=record.worker or None,
        enqueued_at=utc(record.enqueued_at) if record.enqueued_at else None,
        started_at=utc(record.started_at),
        finished_at=utc(record.finished_at),
        error=record.error,
        record=record,
    )


LOOK_AGAIN = 5.0
"""Seconds until a job is looked at again that might have expired by now."""
EXPIRY_SLACK = 0.5
"""Seconds after a job's expiry before it is looked at: the clocks of two machines differ."""


class Backend:
    """What a :class:`Job` asks through: the connection it was made with, or that of the loop."""

    def __init__(
        self,
        connection: Connection | None,
        *,
        settings: Settings | None = None,
        nats_url: str | None = None,
    ) -> None:
        """Ask through a connection, or where ``settings`` and ``nats_url`` say."""
        self._connection = connection
        self._settings = connection.settings if connection else settings
        self.nats_url = connection.given_url if connection else nats_url

    @classmethod
    def elsewhere(cls, nats_url: str | None, prefix: str) -> Backend:
        """Return one for another process, which asks where :attr:`place` says."""
        settings = replace(Settings.from_env(), prefix=prefix)
        return cls(None, settings=settings, nats_url=nats_url)

    @property
    def place(self) -> tuple[str | None, str]:
        """What another process needs to know to ask the same server for the same."""
        return self.nats_url, (self._settings or Settings.from_env()).prefix

    def pickled(self, job: Job) -> tuple[Callable[..., Job], tuple[Any, ...]]:
        """Return what makes a handle again in another process; nothing is asked for that."""
        # Bytes and plain values, which every release can read.
        return _restored, (_encode(job.message), self.place, job.duplicate)

    @asynccontextmanager
    async def here(self) -> AsyncIterator[Connection]:
        """Yield a connection that can be used in this event loop."""
        if self._connection is not None and self._connection.usable():
            yield self._connection
            return
        prefix = self.place[1]
        async with open_connection(self.nats_url, settings=self._settings, prefix=prefix) as found:
            yield found

    async def result(self, job: Job, timeout: float | None) -> Any:
        """Wait for a job's end; see :meth:`naq.Job.result`."""
        async with self.here() as connection:
            results = Results(connection)
            expires_at = job.message.expires_at
            if expires_at is None:
                return results.value(await results.wait(job.id, timeout))
            # Perhaps no worker is there to record that it expired, so it is looked at by then. By
            # this clock, which may be wrong: if it has not expired yet, it is looked at again.
            until = max(0.0, expires_at - time.time()) + EXPIRY_SLACK
            while timeout is None or until < timeout:
                with contextlib.suppress(TimeoutError):
                    return results.value(await results.wait(job.id, until))
                if (await job_info(connection, job.id, job.queue)).status is JobStatus.EXPIRED:
                    raise JobExpiredError(
                        f"job {job.id} was not started before it expired", job_id=job.id
                    )
                timeout = None if timeout is None else timeout - until
                until = max(LOOK_AGAIN, until)
            return results.value(await results.wait(job.id, timeout))

    async def info(self, job: Job) -> JobInfo:
        """Return what is known of a job."""
        async with self.here() as connection:
            return await job_info(connection, job.id, job.queue)

    async def cancel(self, job: Job) -> bool:
        """Cancel a job; see :meth:`naq.Job.cancel`."""
        async with self.here() as connection:
            return await cancel_job(connection, job.id, job.queue)


def _restored(message: bytes, place: tuple[str | None, str], duplicate: bool) -> Job:
    return Job(_decode(message), Backend.elsewhere(*place), duplicate)
