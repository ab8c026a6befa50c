"""How jobs ended: read it, wait for it, write it.

A record is stored under ``naq.r.<job>``, at most one per job, with a time to live. Writing is a
compare-and-set on what was there before, so of two workers that ran the same job (one was cut off
for longer than ``ack_wait``) only the first one's result counts. The server republishes what it
stores under ``naqev.r.<job>``, which is what wakes whoever waits.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from naq.base.public import public
from naq.exceptions import (
    JobCancelledError,
    JobExecutionError,
    JobExpiredError,
    JobNotFoundError,
    JobTimeoutError,
    SerializationError,
)
from naq.jobs.coding.codec import Codec
from naq.jobs.coding.storable import storable
from naq.jobs.job import TIMEOUT_TYPE, Failure, JobRecord, JobStatus
from naq.nats.connection import connect
from naq.nats.jetstream import EXPECTED_SEQUENCE, TTL
from naq.nats.streams import MOST_SUBJECTS
from naq.nats.watch import look_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from typing import Any, Self

    from naq.nats.connection import Connection, Message, PubAck, Stored

__all__ = ["Results", "job_error"]

LEASES = 10
"""How many leases (``ack_wait``) a record lives at least, whatever it is told. While the server is
away nothing is delivered, and time passes: a job that has ended would run again."""


@public
class Results:
    """Results on the server. Use it inside a connection, or open one with :meth:`open`."""

    def __init__(self, connection: Connection, *, codec: Codec | None = None) -> None:
        self._connection = connection
        self._codec = codec or Codec.from_settings(connection.settings)
        settings = connection.settings
        longest = max(settings.default_ack_wait, *settings.ack_wait_per_queue.values(), 0.0)
        self._default_ttl = _whole_seconds(max(settings.default_result_ttl, LEASES * longest))

    @classmethod
    @asynccontextmanager
    async def open(cls, nats_url: str | None = None) -> AsyncIterator[Self]:
        """Open a connection for the length of the block; ``async with Results.open() as r``."""
        async with connect(nats_url) as connection:
            yield cls(connection)

    async def get(self, job_id: str, *, near: bool = False) -> tuple[JobRecord | None, int]:
        """Return a job's record and its sequence in the stream; ``(None, 0)`` if there is none.

        Args:
            job_id: the job.
            near: take what the nearest replica has, which may be a little older.

        Raises:
            SerializationError: it exists but was not written by naq, or is wrongly signed.
            NaqConnectionError: the server cannot be reached.
        """
        names = self._connection.names
        stored = await self._connection.streams.get(
            names.results_stream, names.result(job_id), near=near
        )
        if stored is None:
            return None, 0
        return self._open(stored), stored.seq

    async def several(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """Return the records of several jobs, by id; without those that have none, or a broken one.

        Raises:
            NaqConnectionError: the server cannot be reached.
        """
        found = await self.look_up(job_ids)
        return {
            job_id: record for job_id, (record, _) in found.items() if isinstance(record, JobRecord)
        }

    async def look_up(
        self, job_ids: Sequence[str]
    ) -> dict[str, tuple[JobRecord | SerializationError, int]]:
        """Return what :meth:`get` does, for several jobs, by id; without those that have no record.

        One that cannot be read is returned as the reason.

        Raises:
            NaqConnectionError: the server cannot be reached.
        """
        names = self._connection.names
        found: dict[str, tuple[JobRecord | SerializationError, int]] = {}
        for begin in range(0, len(job_ids), MOST_SUBJECTS):
            filters = [names.result(job_id) for job_id in job_ids[begin : begin + MOST_SUBJECTS]]
            for stored in await self._connection.streams.last_of(names.results_stream, filters):
                job_id = stored.subject.rpartition(".")[2]
                try:
                    found[job_id] = self._open(stored), stored.seq
                except SerializationError as exc:
                    found[job_id] = exc, stored.seq
        return found

    async def put(self, record: JobRecord, *, ttl: float | None, expected: int) -> bool:
        """Write a record in place of the one with sequence ``expected`` (0: there is none yet).

        Args:
            record: the new record.
            ttl: how many seconds it is kept; None for the default.
            expected: the sequence :meth:`get` returned.

        Returns False if another record has been written meanwhile.

        Raises:
            PayloadTooLargeError: the value is larger than the server takes.
            ServerRefusedError: for another reason than that (a full disk).
            NaqConnectionError: the server cannot be reached.
        """
        subject, body, headers = self._envelope(record, ttl)
        streams = self._connection.streams
        return await streams.put_if(subject, body, headers, expected=expected) is not None

    def put_soon(
        self,
        record: JobRecord,
        *,
        ttl: float | None,
        expected: int,
        done: Callable[[PubAck | Exception], None],
    ) -> None:
        """:meth:`put` without waiting: ``done`` is called with the answer, or what went wrong."""
        subject, body, headers = self._envelope(record, ttl)
        headers[EXPECTED_SEQUENCE] = str(expected)
        self._connection.store_soon(done, subject, body, headers)

    def _envelope(self, record: JobRecord, ttl: float | None) -> tuple[str, bytes, dict[str, str]]:
        try:
            body, headers = self._codec.seal(record)
        except (ValueError, TypeError, OverflowError):
            body, headers = self._codec.seal(storable(record))
        headers[TTL] = self._default_ttl if ttl is None else self._ttl(record.queue, ttl)
        return self._connection.names.result(record.id), body, headers

    def _ttl(self, queue: str, ttl: float) -> str:
        """Return how long a record lives: as it says, but while its job may be delivered again."""
        return _whole_seconds(max(ttl, LEASES * self._connection.settings.ack_wait(queue)))

    async def delete(self, job_id: str) -> bool:
        """Remove a job's record; return whether there was one."""
        names = self._connection.names
        purged = await self._connection.streams.purge(names.results_stream, names.result(job_id))
        return purged > 0

    async def fetch(self, job_id: str) -> Any:
        """Return the value of a job that has ended; does not wait.

        Raises:
            JobNotFoundError: there is no result (yet, or no longer).
            JobError: the job ended without a value.
        """
        record, _ = await self.get(job_id)
        if record is None or not record.status.final:
            raise JobNotFoundError(f"there is no result for job {job_id}", job_id=job_id)
        return self.value(record)

    def value(self, record: JobRecord) -> Any:
        """Return the value in a final record, or raise how the job ended."""
        if record.status != "completed":
            raise job_error(record)
        return self._codec.decode_value(record.value, record.encoding)

    async def wait(self, job_id: str, timeout: float | None = None) -> JobRecord:
        """Wait for a job's final record, also while the server is away.

        Raises:
            TimeoutError: it has not ended within ``timeout`` seconds.
            ServerRefusedError: the server does not let us ask for it.
            SerializationError: its record cannot be read.
        """

        async def look() -> JobRecord | None:
            record, _ = await self.get(job_id, near=True)
            return None if record is None else _final(record)

        return await look_until(
            self._connection,
            self._connection.names.result_event(job_id),
            look=look,
            hear=lambda message: _final(self._open(message)),
            what=f"the result of job {job_id}",
            timeout=timeout,
        )

    def _open(self, message: Stored | Message) -> JobRecord:
        return self._codec.open(JobRecord, message.data, message.headers)


def _whole_seconds(seconds: float) -> str:
    """Return a time to live as the server takes it: whole seconds, at least one."""
    return str(max(1, math.ceil(seconds)))


def _final(record: JobRecord) -> JobRecord | None:
    return record if record.status.final else None


def job_error(record: JobRecord) -> Exception:
    """Return the exception ``Job.result`` raises for a job that ended without a value."""
    if record.status is JobStatus.CANCELLED:
        return JobCancelledError(f"job {record.id} was cancelled", job_id=record.id)
    if record.status is JobStatus.EXPIRED:
        return JobExpiredError(
            f"job {record.id} was not started before it expired", job_id=record.id
        )
    error = record.error or Failure("", "no reason recorded")
    cls = JobTimeoutError if error.type == TIMEOUT_TYPE else JobExecutionError
    name = error.type.rpartition(".")[2]
    return cls(
        f"job {record.id} ({record.function}) failed after {record.attempts} "
        f"attempt{'s' if record.attempts != 1 else ''}: {name}: {error.message}",
        job_id=record.id,
        error_type=error.type,
        error_message=error.message,
        traceback=error.traceback,
        attempts=record.attempts,
    )
