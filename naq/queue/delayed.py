"""Jobs that wait for their time in the stream: delayed ones, and retries after a long delay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from naq.exceptions import JobNotFoundError, SerializationError, ServerRefusedError
from naq.jobs.codec import Codec
from naq.jobs.job import JobMessage
from naq.jobs.message import ATTEMPT, at, carried, scheduled_for
from naq.nats.connection import CONFLICT

if TYPE_CHECKING:
    from naq.nats.connection import Connection, Stored

__all__ = ["DelayedJob", "due_of", "find_delayed", "list_delayed", "move"]


class DelayedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that waits; ``due_at`` in seconds since the epoch.

    ``attempt`` says the how manieth attempt it waits for; ``function`` is ``?`` where the message
    cannot be read here.
    """

    id: str
    queue: str
    function: str
    due_at: float
    attempt: int = 1


async def list_delayed(connection: Connection, queue: str | None = None) -> list[DelayedJob]:
    """Return the jobs that wait, of one queue or all, the next one due first.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    names, codec = connection.names, Codec.from_settings(connection.settings)
    found: list[DelayedJob] = []
    after = 0
    while page := await connection.page(
        names.jobs_stream, names.delayed(queue or "*", "*"), after=after
    ):
        found += [_described(stored, codec) for stored in page]
        after = page[-1].seq
    return sorted(found, key=lambda job: (job.due_at, job.id))


async def find_delayed(connection: Connection, job_id: str) -> DelayedJob | None:
    """Return a job that waits, None if it does not."""
    stored = await _stored(connection, job_id)
    codec = Codec.from_settings(connection.settings)
    return None if stored is None else _described(stored, codec)


async def move(connection: Connection, job_id: str, when: float) -> DelayedJob:
    """Let a job that waits become runnable at another time, in seconds since the epoch.

    Raises:
        JobNotFoundError: it does not wait (any more).
        NaqConnectionError: the server cannot be reached.
    """
    names = connection.names
    while (stored := await _stored(connection, job_id)) is not None:
        queue = stored.subject.split(".")[2]
        headers = carried(stored.headers) | {
            "Nats-Schedule": at(when),
            "Nats-Schedule-Target": names.job(queue, job_id),
            "Nats-Expected-Last-Subject-Sequence": str(stored.seq),
            "Nats-Msg-Id": f"{job_id}:moved:{stored.seq}",
        }
        try:
            await connection.store(stored.subject, stored.data, headers)
        except ServerRefusedError as exc:
            if exc.code != CONFLICT:
                raise
            continue
        found = _described(stored, Codec.from_settings(connection.settings))
        return msgspec.structs.replace(found, due_at=when)
    raise JobNotFoundError(f"there is no job {job_id} that waits for its time", job_id=job_id)


async def _stored(connection: Connection, job_id: str) -> Stored | None:
    names = connection.names
    stored, _ = await connection.first(names.jobs_stream, names.delayed("*", job_id))
    return stored


def due_of(stored: Stored) -> float:
    """Return when a stored job that waits becomes runnable, in seconds since the epoch."""
    due = scheduled_for(stored.headers)
    return stored.time.timestamp() if due is None else due


def _described(stored: Stored, codec: Codec) -> DelayedJob:
    headers = stored.headers or {}
    attempt = headers.get(ATTEMPT, "")
    try:
        function = codec.open(JobMessage, stored.data, headers).function
    except SerializationError:
        function = "?"
    _, _, queue, job_id = stored.subject.split(".", 3)
    return DelayedJob(
        id=job_id,
        queue=queue,
        function=function,
        due_at=due_of(stored),
        attempt=int(attempt) if attempt.isdigit() else 1,
    )
