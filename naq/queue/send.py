"""Send prepared jobs: check their sizes, trace them, and read the server's answers.

An enqueue is one publish with a compare-and-set (the job is not queued yet) and a message id (it
was not queued lately). Sending it again does no harm, so it is sent until it is acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from naq.exceptions import (
    EnqueueError,
    NaqConnectionError,
    PayloadTooLargeError,
    SerializationError,
)
from naq.jobs.job import Job, JobMessage
from naq.jobs.message import job_envelope
from naq.nats.jetstream import PubAck, is_conflict
from naq.queue.tracing import tracing

if TYPE_CHECKING:
    from naq.jobs.codec import Codec
    from naq.jobs.inspect import Backend
    from naq.jobs.message import Batch, Prepared
    from naq.nats.connection import Connection, Envelope

__all__ = ["Sender"]

ROOM_FOR_LETTER = 1024
"""Bytes a job stays below the server's limit: what a dead letter adds to it must fit."""
ROOM_FOR_OPTIONS = 8192
"""Bytes everything in a job but its arguments and ``meta`` stays below."""
ROOM_FOR_TRACE = 4096
"""Bytes a job must be below the server's limit to carry the context of a trace as well."""


class Sender:
    """Sends jobs over one connection."""

    def __init__(self, connection: Connection, codec: Codec, backend: Backend) -> None:
        """Prepare to send.

        Args:
            connection: where to.
            codec: seals the jobs.
            backend: what the handles of sent jobs ask.
        """
        self.connection = connection
        self.backend = backend
        self._codec = codec
        self._tracing = tracing()

    async def one(self, prepared: Prepared) -> Job:
        """Send a job; return its handle once it is stored, now or already.

        Raises:
            PayloadTooLargeError: it is larger than the server takes.
            ServerRefusedError: the server does not store it.
            NaqConnectionError: the server does not answer.
        """
        if self._tracing is None or (span := self._tracing.sending(prepared.message)) is None:
            return await self._one(prepared)
        with span as trace:
            return await self._one(prepared._replace(trace=trace))

    async def _one(self, prepared: Prepared) -> Job:
        self._check_size(prepared.message)
        ack = await self.connection.streams.put_if(*self._envelope(prepared), expected=0)
        duplicate = ack is None or ack.duplicate
        return Job(prepared.message, backend=self.backend, duplicate=duplicate)

    async def many(self, batch: Batch) -> list[Job]:
        """Send many jobs of one queue; nothing is sent if one of them is too large.

        Raises:
            EnqueueError: some were not stored.
            PayloadTooLargeError: one is larger than the server takes.
        """
        span = None
        if self._tracing is not None and len(batch):
            span = self._tracing.sending(batch.prepared(0).message, of=len(batch))
        if span is None:
            return await self._many(batch, None)
        with span as trace:
            return await self._many(batch, trace)

    async def _many(self, batch: Batch, trace: dict[str, str] | None) -> list[Job]:
        for index in batch.not_below(self._room - ROOM_FOR_OPTIONS):
            self._check_size(batch.prepared(index).message)
        jobs: list[Any] = [None] * len(batch)

        def make(index: int) -> Envelope:
            prepared = batch.prepared(index)
            jobs[index] = Job(prepared.message, backend=self.backend)
            return self._envelope(prepared if trace is None else prepared._replace(trace=trace))

        answers = await self.connection.store_many(range(len(batch)), make, fresh=not batch.chosen)
        errors: dict[int, Exception] = {}
        for index, answer in enumerate(answers):
            if isinstance(answer, PubAck) and not answer.duplicate:
                continue
            try:
                jobs[index] = self._job(batch.prepared(index), answer)
            except (NaqConnectionError, SerializationError) as exc:
                jobs[index] = None
                errors[index] = exc
        if errors:
            raise EnqueueError(jobs, errors)
        return jobs

    def _envelope(self, prepared: Prepared) -> Envelope:
        """Return subject, body and headers of a job that may be run at once or later."""
        subject, body, headers = job_envelope(
            self.connection.names, self._codec, prepared.message, chosen=prepared.given_id
        )
        if prepared.trace and len(body) < self.connection.max_payload - ROOM_FOR_TRACE:
            headers |= prepared.trace
        return subject, body, headers

    @property
    def _room(self) -> int:
        return self.connection.max_payload - ROOM_FOR_LETTER

    def _check_size(self, message: JobMessage) -> None:
        room = self._room
        size = len(message.payload)
        if size < room - ROOM_FOR_OPTIONS and not message.meta:
            return
        size = len(self._codec.seal(message)[0])
        if size > room:
            raise PayloadTooLargeError(
                f"the job ({message.function}) is {size} bytes, the server takes {room}; "
                "pass a reference to the data instead, or raise the server's max_payload",
                size=size,
                limit=room,
            )

    def _job(self, prepared: Prepared, answer: PubAck | Exception) -> Job:
        """Return the job if it is queued, now or already; raise otherwise."""
        if isinstance(answer, PubAck):
            return Job(prepared.message, backend=self.backend, duplicate=answer.duplicate)
        if is_conflict(answer):
            return Job(prepared.message, backend=self.backend, duplicate=True)
        raise answer
