"""What is known of one job, and how to cancel and forget it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from naq.base.names import Kind
from naq.exceptions import JobNotFoundError, SerializationError
from naq.jobs import presence
from naq.jobs.coding.codec import Codec
from naq.jobs.inspect.states import seen, state_of
from naq.jobs.job import UNKNOWN, DeadLetter, JobInfo, JobMessage, JobRecord, JobStatus, utc
from naq.jobs.message import scheduled_for
from naq.jobs.results import Results

if TYPE_CHECKING:
    from naq.jobs.presence import Whereabouts
    from naq.nats.connection import Connection, Stored

__all__ = ["cancel_job", "forget_job", "job_info", "job_message"]


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


async def job_message(
    connection: Connection, job_id: str, letter: DeadLetter | None = None
) -> JobMessage | None:
    """Return what was queued, if it is still kept: in its queue, or in a dead letter.

    Args:
        connection: where to ask.
        job_id: the job.
        letter: its dead letter, if it was read already.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    stored = await _message(connection, job_id, None)
    if stored is not None:
        return _decoded(connection, stored)
    codec = Codec.from_settings(connection.settings)
    try:
        if letter is None:
            names = connection.names
            subject = names.dead_letter("*", job_id)
            found = await connection.streams.first(names.results_stream, subject)
            if found is None:
                return None
            letter = codec.open(DeadLetter, found.data, found.headers)
        return codec.open(JobMessage, letter.body, letter.headers)
    except SerializationError:
        return None


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
    taken = parts.kind is Kind.JOB and await _taken(connection, stored, parts.queue)
    paused = record is not None and record.retry_at is not None and time.time() < record.retry_at
    if taken and not paused:  # else no worker has it, and asking would mean to wait in vain
        holder = await presence.where(connection, job_id)
    running = holder is not None and holder.started_at is not None
    attempts = record.attempts if record else 0
    now = await connection.clock.now()
    what = seen(stored, parts.kind, job, record, taken=taken, running=running, now=now)
    return JobInfo(
        id=job_id,
        queue=parts.queue,
        function=job.function if job else UNKNOWN,
        status=state_of(what),
        attempts=holder.attempt if holder and holder.attempt else attempts,
        worker=holder.worker if holder else None,
        enqueued_at=utc(job.enqueued_at) if job else stored.time,
        due_at=utc(_due(stored, job, record)),
        started_at=utc(holder.started_at) if holder else None,
        error=record.error if record else None,
        record=record,
    )


async def _taken(connection: Connection, stored: Stored, queue: str) -> bool:
    """Whether the message of a job was handed to a worker, and is not settled."""
    names = connection.names
    info = await connection.streams.consumer_info(names.jobs_stream, names.consumer(queue))
    # Everything after the last one that was delivered has never been given to anyone.
    return info.num_ack_pending > 0 and stored.seq <= info.delivered.stream_seq


def _due(stored: Stored, job: JobMessage | None, record: JobRecord | None) -> float | None:
    waits_until = scheduled_for(stored.headers)
    if waits_until is not None:
        return waits_until
    if record is not None and record.retry_at is not None:
        return record.retry_at
    return job.due_at if job else None


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
