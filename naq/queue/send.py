"""Send prepared jobs: check their sizes, trace them, and read the server's answers.

An enqueue is one publish with a compare-and-set (the job is not queued yet) and a message id (this
call has not queued it already). Sending it again does no harm, so it is sent until it is
acknowledged. Whether an id that somebody chose is known, :mod:`naq.queue.chosen` says.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from naq.base.names import new_id
from naq.exceptions import (
    EnqueueError,
    NaqConnectionError,
    PayloadTooLargeError,
    SerializationError,
    ServerRefusedError,
)
from naq.jobs.job import Job, JobMessage
from naq.jobs.message import LATER_COPIES, job_envelope
from naq.nats.connection import STORE_TIMEOUT
from naq.nats.jetstream import PubAck, is_conflict
from naq.nats.streams import REQUEST_TIMEOUT
from naq.queue.chosen import ChosenIds, Whose
from naq.queue.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from naq.jobs.coding.codec import Codec
    from naq.jobs.inspect.backend import Backend
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
        self._chosen = ChosenIds(connection, codec)
        self._tracing = tracing()

    async def one(self, prepared: Prepared) -> Job:
        """Send a job; return its handle once it is stored, or its id is known.

        Raises:
            PayloadTooLargeError: it is larger than the server takes.
            ServerRefusedError: the server does not store it.
            NaqConnectionError: the server does not answer; the message says whether the job may
                be queued.
        """
        if self._tracing is None or (span := self._tracing.sending(prepared.message)) is None:
            return await self._one(prepared)
        with span as trace:
            return await self._one(prepared._replace(trace=trace))

    async def _one(self, prepared: Prepared) -> Job:
        self._check_size(prepared.message)
        if not prepared.given_id:
            await self._store(prepared)
            return Job(prepared.message, backend=self.backend)
        if await self._known([prepared]):
            return Job(prepared.message, backend=self.backend, duplicate=True)
        return await self._one_chosen(prepared, await self._store(prepared))

    async def _store(self, prepared: Prepared) -> bool:
        """Send a job until it is acknowledged; False if one of its id is queued."""
        try:
            await self.connection.store(*self._envelope(prepared), later=LATER_COPIES)
        except NaqConnectionError as exc:
            if is_conflict(exc):
                return False
            raise _described(prepared, exc) from exc
        return True

    async def _one_chosen(self, prepared: Prepared, stored: bool) -> Job:
        """Return a job whose id was chosen, after it was sent; send it again if need be."""
        deadline = time.monotonic() + STORE_TIMEOUT
        while not stored:
            try:
                found = await self._chosen.whose(prepared)
            except NaqConnectionError as exc:
                raise _described(prepared, exc) from exc
            if found is not Whose.NOBODYS:
                duplicate = found is Whose.ANOTHERS
                return Job(prepared.message, backend=self.backend, duplicate=duplicate)
            if time.monotonic() > deadline:
                raise _described(prepared, NaqConnectionError("others remove it again and again"))
            # What was in its place has been purged since. A new call: the server may remember this.
            prepared = prepared._replace(call=new_id())
            stored = await self._store(prepared)
        return Job(prepared.message, backend=self.backend)

    async def _known(self, some: Sequence[Prepared]) -> set[str]:
        """Return which of the ids are known."""
        ids = [one.message.id for one in some]
        tries = int(STORE_TIMEOUT / REQUEST_TIMEOUT)
        while True:
            tries -= 1
            try:
                return await self._chosen.known(ids)
            except NaqConnectionError as exc:
                if tries and not isinstance(exc, ServerRefusedError):
                    continue
                these = ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")
                raise NaqConnectionError(
                    f"cannot ask whether the id is known, so nothing is queued: job {these}: {exc}"
                ) from exc

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
        places: Sequence[int] = range(len(batch))
        if batch.chosen:
            places = await self._unknown(batch, jobs)

        def make(index: int) -> Envelope:
            prepared = batch.prepared(index)
            jobs[index] = Job(prepared.message, backend=self.backend)
            return self._envelope(prepared if trace is None else prepared._replace(trace=trace))

        answers = await self.connection.store_many(
            places, make, fresh=not batch.chosen, later=LATER_COPIES
        )
        errors: dict[int, Exception] = {}
        for index, answer in zip(places, answers, strict=True):
            if isinstance(answer, PubAck):
                continue
            try:
                jobs[index] = await self._answered(batch.prepared(index), answer)
            except (NaqConnectionError, SerializationError) as exc:
                jobs[index] = None
                errors[index] = exc
        if errors:
            raise EnqueueError(jobs, errors)
        return jobs

    async def _unknown(self, batch: Batch, jobs: list[Any]) -> list[int]:
        """Return the places of jobs that are to be sent; put the others into ``jobs``."""
        chosen = [one for index in range(len(batch)) if (one := batch.prepared(index)).given_id]
        known = await self._known(chosen)
        places: list[int] = []
        for index in range(len(batch)):
            one = batch.prepared(index)
            if one.given_id and one.message.id in known:
                jobs[index] = Job(one.message, backend=self.backend, duplicate=True)
            else:
                places.append(index)
        return places

    def _envelope(self, prepared: Prepared) -> Envelope:
        """Return subject, body and headers of a job that may be run at once or later."""
        subject, body, headers = job_envelope(
            self.connection.names,
            self._codec,
            prepared.message,
            chosen=prepared.given_id,
            call=prepared.call,
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

    async def _answered(self, prepared: Prepared, answer: Exception) -> Job:
        """Return the job if it is queued all the same; raise otherwise."""
        if is_conflict(answer):
            if prepared.given_id:
                return await self._one_chosen(prepared, stored=False)
            return Job(prepared.message, backend=self.backend)  # a copy of ours is queued
        raise _described(prepared, answer)


def _described(prepared: Prepared, problem: Exception) -> Exception:
    """Return what to raise when a job was sent and no answer came: nobody knows if it is queued."""
    if isinstance(problem, ServerRefusedError) or not isinstance(problem, NaqConnectionError):
        return problem
    job = prepared.message
    return NaqConnectionError(
        f"job {job.id} ({job.function}), queue {job.queue}: not known whether it is queued "
        f"({problem}); repeat it with the same id, job_id={job.id!r}: it is queued once"
    )
