"""What is stored of a schedule: its record, and the alarm that the server fires.

The record (``naq.c.<id>``) is the truth; every change of it is a compare-and-set. The alarm
(``naq.cs.<id>``) is derived from it and can be made again from it at any time: for a plain schedule
the server's own recurring pattern, aimed at the queue; for one with a policy the next moment,
aimed at the schedulers. An alarm names the revision it was made for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from naq.base.names import REVISION
from naq.exceptions import SerializationError
from naq.jobs.message import at
from naq.nats.jetstream import SCHEDULE, SCHEDULE_TARGET, SCHEDULE_TIME_ZONE, TTL
from naq.schedules.schedule import ScheduleRecord, ScheduleStatus

if TYPE_CHECKING:
    from naq.jobs.coding.codec import Codec
    from naq.nats.connection import Connection, Stored

__all__ = ["Records", "revision"]


class Records:
    """Records and alarms on one server."""

    def __init__(self, connection: Connection, codec: Codec) -> None:
        self._connection = connection
        self._codec = codec

    async def get(self, schedule_id: str) -> tuple[ScheduleRecord | None, int]:
        """Return a record and its sequence in the stream; ``(None, 0)`` if there is none.

        Raises:
            SerializationError: it is there and cannot be read.
            NaqConnectionError: the server cannot be reached.
        """
        names = self._connection.names
        stored = await self._connection.streams.get(names.jobs_stream, names.schedule(schedule_id))
        return (None, 0) if stored is None else (self.open(stored), stored.seq)

    def open(self, stored: Stored) -> ScheduleRecord:
        """Return the record in a message.

        Raises:
            SerializationError: it cannot be read, or is another one's.
        """
        record = self._codec.open(ScheduleRecord, stored.data, stored.headers)
        if record.id != self.id_of(stored):
            raise SerializationError(f"it is the definition of {record.id}")
        return record

    def id_of(self, stored: Stored) -> str:
        """Return the schedule a message belongs to."""
        return stored.subject.rpartition(".")[2]

    async def put(self, record: ScheduleRecord, expected: int) -> int | None:
        """Store a record in place of the one with that sequence (0: of none).

        One that has ended is kept for as long as results are.

        Returns its sequence, None when another one was stored meanwhile.

        Raises:
            PayloadTooLargeError: the arguments are more than the server takes.
            ServerRefusedError: for another reason than that (a full disk).
            NaqConnectionError: no answer in time.
        """
        body, headers = self._codec.seal(record)
        if record.status not in {ScheduleStatus.ACTIVE, ScheduleStatus.PAUSED}:
            ttl = self._connection.settings.default_result_ttl
            headers[TTL] = str(max(1, math.ceil(ttl)))
        subject = self._connection.names.schedule(record.id)
        ack = await self._connection.streams.put_if(subject, body, headers, expected=expected)
        return None if ack is None else ack.seq

    async def changed(self, after: int = 0) -> list[Stored]:
        """Return the records stored after a sequence, oldest first, unopened."""
        names = self._connection.names
        everything = self._connection.streams.all(
            names.jobs_stream, names.schedule("*"), after=after
        )
        return [stored async for stored in everything]

    async def remove(self, schedule_id: str) -> bool:
        """Remove a record and its alarm; whether there was one."""
        await self.disarm(schedule_id)
        names = self._connection.names
        return (
            await self._connection.streams.purge(names.jobs_stream, names.schedule(schedule_id)) > 0
        )

    # ---------------------------------------------------------------- alarms

    async def arm(self, record: ScheduleRecord, now: float) -> None:
        """Set the alarm of an active schedule, in place of any other.

        Args:
            record: the schedule, as it is stored or about to be.
            now: the server's time.
        """
        due = record.next_run
        if due is None:
            await self.disarm(record.id)
            return
        names = self._connection.names
        fire = names.fire(record.job.queue, record.id)
        if not record.plain:
            await self._set(names.alarm(record.id), at(due), names.tick(record.id), record)
        elif record.next_at is not None:
            await self._set(names.alarm(record.id), at(due), fire, record)
        else:
            timing = record.timing
            assert timing.pattern is not None
            zone = timing.timezone if timing.interval is None else "UTC"
            await self._set(names.alarm(record.id), timing.pattern, fire, record, zone=zone)
            shifted = timing.next_shifted(max(now, record.cursor))
            if shifted is not None:
                await self._set(names.gap_alarm(record.id), at(shifted), fire, record)

    async def _set(
        self, subject: str, pattern: str, target: str, record: ScheduleRecord, *, zone: str = "UTC"
    ) -> None:
        headers = {
            SCHEDULE: pattern,
            SCHEDULE_TARGET: target,
            REVISION: str(record.revision),
        }
        if zone != "UTC":
            headers[SCHEDULE_TIME_ZONE] = zone
        await self._connection.store(subject, b"", headers)

    async def armed(self, record: ScheduleRecord) -> bool:
        """Whether the alarm of an active schedule is there, for its present timing."""
        names = self._connection.names
        found = await self._connection.streams.get(names.jobs_stream, names.alarm(record.id))
        return found is not None and revision(found.headers) == record.revision

    async def disarm(self, schedule_id: str) -> None:
        """Remove the alarm and what it may have fired for the schedulers."""
        names = self._connection.names
        for subject in (
            names.alarm(schedule_id),
            names.gap_alarm(schedule_id),
            names.tick(schedule_id),
        ):
            await self._connection.streams.purge(names.jobs_stream, subject)


def revision(headers: dict[str, str] | None) -> int:
    """Return the revision an alarm was made for, 0 if it does not say."""
    text = (headers or {}).get(REVISION, "")
    return int(text) if text.isdigit() else 0
