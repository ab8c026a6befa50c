"""Jobs whose id the caller chose: queued unless the id is known, once however often they are sent.

An id is known while a message of it is queued or delayed, in whichever queue, and while a final
record of it is kept. Nothing else counts: not the server's memory of message ids, which lasts for
two minutes, whatever became of the job. So an id is new again after a purge, after its job has been
forgotten or deleted, and when its result has expired.

Each call gives its job a name of its own (``Naq-Call``), so that it can tell a job it finds queued
from that of another call. Two calls at once, one of them delayed, may both find nothing; then both
are queued, and the worker that takes the later one finds the record of the other.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from naq.base.names import CALL
from naq.exceptions import SerializationError
from naq.jobs.job import JobRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from naq.jobs.coding.codec import Codec
    from naq.jobs.message import Prepared
    from naq.nats.connection import Connection, Stored

__all__ = ["ChosenIds", "Whose", "whose"]

AT_ONCE = 250
"""Ids that are looked up in one request; each may have a message in several queues."""


class Whose(Enum):
    """Who queued what stands in the way of a job."""

    OURS = auto()
    ANOTHERS = auto()
    NOBODYS = auto()
    """It is gone, and no record says that it ran: it was purged meanwhile."""


class _Kept(NamedTuple):
    """A record: its sequence, and what it says, None where it cannot be read."""

    seq: int
    record: JobRecord | None

    @property
    def final(self) -> bool:
        """Whether the job has ended. What cannot be read says nothing, and is replaced."""
        return self.record is not None and self.record.status.final


def whose(prepared: Prepared, calls: Collection[str | None], record: JobRecord | None) -> Whose:
    """Decide whose job it was that stood in the way of one that was sent.

    Args:
        prepared: what was sent.
        calls: what queued the messages of its id that are there now; None: an older release.
        record: its record now.
    """
    if prepared.call in calls:
        return Whose.OURS
    if calls:
        return Whose.ANOTHERS
    if record is None:
        return Whose.NOBODYS
    # It has run already. The record has the time of the call, to the microsecond.
    ours = record.enqueued_at == prepared.message.enqueued_at
    return Whose.OURS if ours else Whose.ANOTHERS


class ChosenIds:
    """What the server knows of ids."""

    def __init__(self, connection: Connection, codec: Codec) -> None:
        self._connection = connection
        self._codec = codec

    async def known(self, job_ids: Iterable[str]) -> set[str]:
        """Return those ids that are queued, delayed or running, or whose end is still recorded.

        The record of an unfinished job whose messages are gone (it was purged while it waited for
        another attempt) is removed, or the next job of this id would go on counting there.
        """
        wanted = list(dict.fromkeys(job_ids))
        known: set[str] = set()
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            # In this order: a record is stored before its message goes.
            queued = await self._queued(some)
            records = await self._records([job_id for job_id in some if job_id not in queued])
            ended = {job_id for job_id, kept in records.items() if kept.final}
            left = records.keys() - ended
            if left:
                queued |= await self._queued(sorted(left))
            for job_id in left - queued.keys():
                await self._remove(records[job_id])
            known |= queued.keys() | ended
        return known

    async def whose(self, prepared: Prepared) -> Whose:
        """Tell who queued what stood in the way of a job."""
        job_id = prepared.message.id
        calls = (await self._queued([job_id])).get(job_id, [])
        kept = None if calls else (await self._records([job_id])).get(job_id)
        found = whose(prepared, calls, kept.record if kept else None)
        if found is Whose.OURS or kept is None or kept.final:
            return found
        await self._remove(kept)
        return Whose.NOBODYS

    async def _queued(self, job_ids: Sequence[str]) -> dict[str, list[str | None]]:
        """Return the calls that queued messages of these ids, by id."""
        names = self._connection.names
        filters = [of("*", job_id) for job_id in job_ids for of in (names.job, names.delayed)]
        found: dict[str, list[str | None]] = {}
        for stored in await self._last(names.jobs_stream, filters):
            call = stored.headers.get(CALL)
            found.setdefault(names.parts(stored.subject).id, []).append(call)
        return found

    async def _records(self, job_ids: Sequence[str]) -> dict[str, _Kept]:
        names = self._connection.names
        filters = [names.result(job_id) for job_id in job_ids]
        found: dict[str, _Kept] = {}
        for stored in await self._last(names.results_stream, filters):
            try:
                record = self._codec.open(JobRecord, stored.data, stored.headers)
            except SerializationError:
                record = None
            found[names.parts(stored.subject).id] = _Kept(stored.seq, record)
        return found

    async def _last(self, stream: str, filters: list[str]) -> list[Stored]:
        return await self._connection.streams.last_of(stream, filters) if filters else []

    async def _remove(self, kept: _Kept) -> None:
        """Remove this very record: not one that has been written in its place."""
        names = self._connection.names
        await self._connection.streams.remove(names.results_stream, kept.seq)
