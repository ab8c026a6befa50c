"""What a scheduler looks for now and then, because nothing would tell it: what did not come.

Schedules: a server that is killed skips what was due while it was down, and a process that died
between two steps of a change left an alarm that does not fit, or runs that are decided and not
queued. Only records that have changed since the last look are read again.

Jobs: a message that its consumer has given up (``max_deliver`` of a consumer that was configured by
hand) or lost track of stays in the stream, and no worker will ever see it. It is stored again under
the same subject.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from naq.exceptions import SerializationError
from naq.jobs.message import carried
from naq.nats.jetstream import MESSAGE_ID

if TYPE_CHECKING:
    from naq.nats.connection import Connection, Stored
    from naq.schedules.advance import Advance
    from naq.schedules.schedule import ScheduleRecord

__all__ = ["Sweep"]

log = logging.getLogger("naq.scheduler")

LATE = 2.0
"""Seconds after a due time until a scheduler that was not told looks after it."""


class Sweep:
    """Looks after what fell through; remembers what it has read."""

    def __init__(self, connection: Connection, advance: Advance) -> None:
        self._connection = connection
        self._advance = advance
        self._known: dict[str, float] = {}
        """When something is due of each schedule; overdue means that it must be looked after."""
        self._seen = 0

    async def run(self) -> None:
        """Look once.

        Raises:
            NaqConnectionError: the server cannot be reached.
        """
        await self._read()
        now = await self._connection.clock.now()
        overdue = [name for name, due in self._known.items() if due + LATE < now]
        for schedule_id in overdue:
            await self._revive(schedule_id, now)
        await self._find_invisible()

    async def _read(self) -> None:
        for stored in await self._advance.records.changed(self._seen):
            self._seen = stored.seq
            schedule_id = self._advance.records.id_of(stored)
            try:
                record = self._advance.records.open(stored)
            except SerializationError as exc:
                log.error("schedule %s: its definition cannot be read: %s", schedule_id, exc)  # noqa: TRY400
                self._known.pop(schedule_id, None)
                continue
            self._note(record, stored.time.timestamp())

    def _note(self, record: ScheduleRecord, stored_at: float) -> None:
        due = record.next_run
        if record.pending:  # a process is queueing them, or was killed while it did
            due = stored_at
        if due is None:
            self._known.pop(record.id, None)
        else:
            self._known[record.id] = due

    async def _revive(self, schedule_id: str, now: float) -> None:
        try:
            record = await self._advance.revive(schedule_id)
        except SerializationError as exc:
            log.error("schedule %s: its definition cannot be read: %s", schedule_id, exc)  # noqa: TRY400
            record = None
        if record is None:
            self._known.pop(schedule_id, None)
            return
        self._note(record, now)

    async def _find_invisible(self) -> None:
        names = self._connection.names
        for info in await self._connection.streams.consumers(names.jobs_stream):
            queue = names.queue_of_consumer(info.name)
            if queue is not None:
                # What is given up does not move the floor. But where nothing is in anybody's
                # hands, all that was delivered is settled.
                known = info.ack_floor if info.num_ack_pending else info.delivered
                await self._restore(queue, known.stream_seq)

    async def _restore(self, queue: str, settled: int) -> None:
        """Store again what lies before a sequence: all of that is settled for the consumer."""
        names = self._connection.names
        while True:
            stored = await self._connection.streams.next(
                names.jobs_stream, names.queue_filter(queue), after=0
            )
            if stored is None or stored.seq > settled:
                return
            log.warning("%s: no worker would ever have received it; queued again", stored.subject)
            if not await self._store_again(stored):
                return

    async def _store_again(self, stored: Stored) -> bool:
        headers = carried(stored.headers)
        headers[MESSAGE_ID] = f"{stored.subject}:{stored.seq}"
        ack = await self._connection.streams.put_if(
            stored.subject, stored.data, headers, expected=stored.seq
        )
        return ack is not None  # None: somebody has settled it just now
