"""Dead letters: jobs that will not be tried again, kept with payload and reason until removed.

They lie under ``naq.d.<queue>.<job>`` in a stream that any tool can read. Requeueing is three
steps that may be repeated: remove the old result, queue the job as it was first queued, remove the
letter.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import anyio
import msgspec

from naq.base.names import OWN_HEADER, SIGNATURE
from naq.exceptions import JobNotFoundError, NaqConnectionError, SerializationError
from naq.jobs.coding.codec import Codec
from naq.jobs.job import DeadLetter, Failure, JobRecord, JobStatus
from naq.jobs.message import LATER_COPIES, trace_headers
from naq.nats.jetstream import MESSAGE_ID
from naq.nats.watch import pause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from naq.nats.connection import Connection, Stored
    from naq.nats.streams import Scan

__all__ = ["DeadLetters", "ever_smaller"]

BRIEF = 100
"""Characters of an error's text that a letter keeps where there is no room for all of it."""
SETTLED_WITHIN = 5.0
"""Seconds that the message of a job may take to go after its letter was stored."""


class DeadLetters:
    """The dead letters on the server of ``connection``."""

    def __init__(self, connection: Connection, *, codec: Codec | None = None) -> None:
        self._connection = connection
        self._codec = codec or Codec.from_settings(connection.settings)

    async def page(
        self, queue: str | None = None, *, after: int = 0, limit: int = 256
    ) -> tuple[list[DeadLetter], int]:
        """Return up to ``limit`` letters, oldest first, and where the next page begins (0: none).

        Args:
            queue: only of this queue.
            after: what the page before returned.
            limit: how many.
        """
        names = self._connection.names
        subject = names.dead_letter(queue or "*", "*")
        page, more = await self._connection.streams.page(
            names.results_stream, subject, after=after, limit=limit
        )
        return [self.open(stored) for stored in page], page[-1].seq if more else 0

    async def all(self, queue: str | None = None) -> Scan:
        """Return an iterator over the letters that are there now, oldest first; see :meth:`open`.

        Those that are made meanwhile are left out: whoever requeues them would see some again.
        """
        names = self._connection.names
        return self._connection.streams.all(
            names.results_stream, names.dead_letter(queue or "*", "*"), before=await self._next()
        )

    async def delete_all(self, queue: str | None = None) -> int:
        """Remove the letters that are there now for good; return how many there were."""
        names = self._connection.names
        return await self._connection.streams.purge(
            names.results_stream, names.dead_letter(queue or "*", "*"), before=await self._next()
        )

    async def _next(self) -> int:
        """Return the sequence of the next message of the stream."""
        info = await self._connection.streams.stream_info(self._connection.names.results_stream)
        return info.state.last_seq + 1

    async def get(self, job_id: str) -> DeadLetter:
        """Return one letter.

        Raises:
            JobNotFoundError: there is none of this job.
        """
        return self.open(await self._find(job_id))

    async def delete(self, job_id: str) -> None:
        """Remove one letter for good, and the failed result with it: the id is new then.

        Raises:
            JobNotFoundError: there is none of this job.
        """
        stored = await self._find(job_id)
        names = self._connection.names
        kept = await self._connection.streams.get(names.results_stream, names.result(job_id))
        if kept is not None and self._failed(kept):
            await self._connection.streams.remove(names.results_stream, kept.seq)
        await self._connection.streams.remove(self._connection.names.results_stream, stored.seq)

    async def requeue(self, job_id: str) -> None:
        """Queue the job again, with all its attempts before it.

        It may be repeated after it was interrupted anywhere: a job that was queued again by then is
        not queued once more, whatever has become of it, and its result is kept.

        Raises:
            JobNotFoundError: there is no dead letter of this job.
            SerializationError: the letter itself cannot be read.
            NaqConnectionError: a job of that id is queued or runs, and does not end.
        """
        stored = await self._find(job_id)
        letter = self._codec.open(DeadLetter, stored.data, stored.headers)
        streams, names = self._connection.streams, self._connection.names
        kept = await streams.get(names.results_stream, names.result(letter.id))
        # Any other record than that of the failure was written after the job was queued again.
        if kept is None or self._failed(kept):
            if kept is not None:
                await streams.remove(names.results_stream, kept.seq)
            headers = trace_headers(letter.headers)
            headers[MESSAGE_ID] = f"{letter.id}:again:{stored.seq}"
            if SIGNATURE in letter.headers:
                headers[SIGNATURE] = letter.headers[SIGNATURE]
            await self._queue(names.job(letter.queue, letter.id), letter, headers)
        # This letter and no other: the job may have failed again by now.
        await streams.remove(names.results_stream, stored.seq)

    async def _queue(self, subject: str, letter: DeadLetter, headers: dict[str, str]) -> None:
        """Store the message of a letter, once what the letter is about has left its place.

        A letter is stored before its message is acknowledged: for a moment both are there, and the
        message would be gone a moment later.
        """
        names, streams = self._connection.names, self._connection.streams
        with anyio.move_on_after(SETTLED_WITHIN):
            for looks in itertools.count(1):
                stored = await streams.put_if(
                    subject, letter.body, headers, expected=0, later=LATER_COPIES
                )
                if stored is not None:
                    return
                there = await streams.get(names.jobs_stream, subject)
                if there is not None and there.headers.get(MESSAGE_ID) == headers[MESSAGE_ID]:
                    return  # somebody has requeued this letter
                await anyio.sleep(pause(looks))
        raise NaqConnectionError(
            f"job {letter.id} is still queued or running in queue {letter.queue}; its dead letter "
            "is kept: requeue it once that has ended"
        )

    def _failed(self, kept: Stored) -> bool:
        """Whether a record is that of a failure: the job may be queued again by now."""
        try:
            record = self._codec.open(JobRecord, kept.data, kept.headers)
        except SerializationError:
            return True  # nothing can be done with it
        return record.status is JobStatus.FAILED

    async def _find(self, job_id: str) -> Stored:
        names = self._connection.names
        stored = await self._connection.streams.first(
            names.results_stream, names.dead_letter("*", job_id)
        )
        if stored is None:
            raise JobNotFoundError(f"there is no dead letter for job {job_id}", job_id=job_id)
        return stored

    def open(self, stored: Stored) -> DeadLetter:
        """Read a letter; one that cannot be read is shown as such, not hidden."""
        try:
            return self._codec.open(DeadLetter, stored.data, stored.headers)
        except SerializationError as exc:
            parts = self._connection.names.parts(stored.subject)
            return DeadLetter(
                id=parts.id,
                queue=parts.queue,
                reason="this dead letter cannot be read",
                failed_at=stored.time.timestamp(),
                body=stored.data,
                error=Failure("naq.exceptions.SerializationError", str(exc)),
            )


def ever_smaller(letter: DeadLetter, max_payload: int) -> Iterator[DeadLetter]:
    """Yield a letter and what is left of it where it is too large: details go first.

    Args:
        letter: the letter.
        max_payload: bytes the server takes.
    """
    replace = msgspec.structs.replace
    error = letter.error and replace(letter.error, traceback="")
    brief = error and replace(error, message=error.message[:BRIEF])
    own = {name: value for name, value in letter.headers.items() if name.startswith(OWN_HEADER)}
    room = max(0, max_payload - 8192)
    yield letter
    yield replace(letter, error=error)
    yield replace(letter, error=brief, headers=own, history=())
    reason = f"{letter.reason} (payload cut)"
    yield replace(letter, body=letter.body[:room], error=None, history=(), reason=reason)
