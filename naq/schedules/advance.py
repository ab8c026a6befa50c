"""One step of a schedule: what has fired becomes jobs, once, however often it is done.

A worker that was handed a firing (plain schedules) and a scheduler that was handed a tick (those
with a policy) do the same:

1. read the record, and decide what is to run (:mod:`naq.schedules.due`);
2. set the next alarm, so that the schedule goes on even if this process dies;
3. write the decision, compare-and-set: the runs are *pending* now. This is the commit point. One
   that loses the race begins again, and finds nothing left to do;
4. queue the pending runs. Each has an id made of the schedule and its due time, and is queued once
   however often it is sent;
5. strike them off, compare-and-set;
6. ack.

A process that dies after 3 leaves the pending runs in the record, and the next that reads it queues
them: the one that is handed the same message again, the next firing, or the sweep.
"""

from __future__ import annotations

import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from naq.exceptions import JobNotFoundError, SerializationError
from naq.jobs.inspect.info import cancel_job, job_info
from naq.jobs.message import job_envelope
from naq.nats.jetstream import nak
from naq.schedules.due import Plan, advanced, plan
from naq.schedules.records import Records
from naq.schedules.schedule import ScheduleRecord, ScheduleStatus, run_id
from naq.schedules.timing import EARLY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.jobs.coding.codec import Codec
    from naq.jobs.job import JobMessage
    from naq.nats.connection import Connection

__all__ = ["Advance", "run_message", "settled"]

log = logging.getLogger("naq.scheduler")

AGAIN = nak(1.0)
"""Have it delivered again in a second."""


class Advance:
    """Takes schedules of one server a step further."""

    def __init__(self, connection: Connection, codec: Codec) -> None:
        self._connection = connection
        self._codec = codec
        self.records = Records(connection, codec)

    async def fire(
        self, schedule_id: str, stored_at: float, revision: int, *, again: bool = False
    ) -> None:
        """Queue the run of a plain schedule that the server has fired.

        Args:
            schedule_id: the schedule.
            stored_at: when the server fired, by its clock.
            revision: of the alarm.
            again: whether this firing was handed out before.

        Raises:
            SerializationError: its record cannot be read.
            NaqConnectionError: the server cannot be reached; do the same again later.
        """
        while True:
            found = await self._active(schedule_id)
            if found is None:
                return
            record, seq = found
            if not record.plain or revision != record.revision:
                # The alarm is from before a change that was not completed.
                await self.records.arm(record, stored_at)
                return
            due = _fired(record, stored_at)
            if not due.runs and not due.missed:
                if again:
                    await self.records.arm(record, stored_at)
                return
            if await self._step(record, seq, due, stored_at):
                return

    async def tick(self, schedule_id: str) -> ScheduleRecord | None:
        """Do what is due of a schedule; return it as it is then, None if there is no active one.

        Raises:
            SerializationError: its record cannot be read.
            NaqConnectionError: the server cannot be reached; do the same again later.
        """
        while True:
            found = await self._active(schedule_id)
            if found is None:
                return None
            record, seq = found
            now = await self._connection.clock.now()
            if record.plain:
                await self.records.arm(record, now)
                return record
            done = await self._step(record, seq, plan(record, now), now)
            if done is not None:
                return done

    async def revive(self, schedule_id: str) -> ScheduleRecord | None:
        """Look after a schedule that was due and not heard of; return it as it is then.

        The server was down, an alarm was lost, or the process that queued its runs was killed.
        Raises as :meth:`tick`.
        """
        while True:
            found = await self._active(schedule_id)
            if found is None:
                return None
            record, seq = found
            if not record.plain:
                return await self.tick(schedule_id)
            names = self._connection.names
            fire = names.fire(record.job.queue, schedule_id)
            if await self._connection.streams.get(names.jobs_stream, fire) is not None:
                return record  # it waits for a worker
            now = await self._connection.clock.now()
            if not await self.records.armed(record):
                await self.records.arm(record, now)
            due = plan(record, now)
            if not due.runs and not due.missed:
                return record
            done = await self._step(record, seq, due, now)
            if done is not None:
                return done

    async def _active(self, schedule_id: str) -> tuple[ScheduleRecord, int] | None:
        """Return an active schedule, with nothing pending, and its sequence.

        None if there is none; then it has no alarm either.
        """
        record, seq = await self.records.get(schedule_id)
        if record is not None:
            record, seq = await self.settle(record, seq)
        if record is None or record.status is not ScheduleStatus.ACTIVE:
            await self.records.disarm(schedule_id)
            return None
        return record, seq

    async def _step(
        self, record: ScheduleRecord, seq: int, due: Plan, now: float
    ) -> ScheduleRecord | None:
        """Write a decision and queue what it says; None if another was written first."""
        if not due.runs and not due.missed:
            await self.records.arm(record, now)
            return record
        runs = await self._without_overlap(record, due.runs)
        last = run_id(record.id, runs[-1]) if runs else ""
        changed = advanced(record, due, runs=runs, last_job=last)
        if record.timing.drifts and runs:
            changed = msgspec.structs.replace(changed, anchor=runs[-1]).timed()
        await self._arm_again(record, changed, now)
        if changed != record:
            stored = await self.records.put(changed, seq)
            if stored is None:
                return None
            changed, _ = await self.settle(changed, stored)
        if changed.status is ScheduleStatus.FINISHED:
            log.info("schedule %s is finished after %d runs", record.id, changed.runs)
        return changed

    async def _arm_again(self, before: ScheduleRecord, after: ScheduleRecord, now: float) -> None:
        if after.status is not ScheduleStatus.ACTIVE:
            await self.records.disarm(after.id)
        elif not after.plain or before.next_at is not None:
            await self.records.arm(after, now)
        elif after.timing.next_shifted(before.cursor) != after.timing.next_shifted(after.cursor):
            await self.records.arm(after, now)  # the gap of this year is behind us

    async def _without_overlap(self, record: ScheduleRecord, runs: list[float]) -> list[float]:
        """Return the runs that may be queued beside what is queued or runs already."""
        if record.overlap == "allow" or not runs:
            return runs
        if record.last_job and await self._is_alive(record):
            if record.overlap == "skip":
                log.info("schedule %s: the last run has not ended; skipped", record.id)
                return []
            with suppress(JobNotFoundError):  # it has just ended
                await cancel_job(self._connection, record.last_job, record.job.queue)
        return runs[-1:]

    async def _is_alive(self, record: ScheduleRecord) -> bool:
        try:
            info = await job_info(self._connection, record.last_job, record.job.queue)
        except (JobNotFoundError, SerializationError):
            return False
        return not info.status.final

    async def settle(self, record: ScheduleRecord, seq: int) -> tuple[ScheduleRecord, int]:
        """Queue the pending runs and strike them off; return record and sequence then."""
        queued: set[float] = set()
        while record.pending:
            for due in record.pending:
                if due not in queued:
                    await self._queue(record, due)
                    queued.add(due)
            left = [due for due in record.pending if due not in queued]
            struck = msgspec.structs.replace(record, pending=left)
            stored = await self.records.put(struck, seq)
            if stored is not None:
                return struck, stored
            newest, seq = await self.records.get(record.id)
            if newest is None:
                return struck, 0
            record = newest
        return record, seq

    async def _queue(self, record: ScheduleRecord, due: float) -> None:
        message = run_message(record, due, delay=_jitter(record, due))
        envelope = job_envelope(self._connection.names, self._codec, message, chosen=True)
        await self._connection.streams.put_if(*envelope, expected=0)


async def settled(
    connection: Connection, reply: str, schedule_id: str, step: Callable[[], Awaitable[object]]
) -> None:
    """Take a step and settle the message that asked for it; what fails concerns that schedule.

    Args:
        connection: where the message came from.
        reply: the message's acknowledgement subject.
        schedule_id: the schedule.
        step: does what is due. It may be asked for again.
    """
    try:
        await step()
    except SerializationError as exc:
        log.error("schedule %s: its definition cannot be read: %s", schedule_id, exc)  # noqa: TRY400
        connection.ack(reply)
    except Exception as exc:
        log.warning("schedule %s: will be tried again", schedule_id, exc_info=exc)
        connection.ack(reply, AGAIN)
    else:
        connection.ack(reply)


def run_message(record: ScheduleRecord, due: float, *, delay: float = 0.0) -> JobMessage:
    """Return the job of the run that is due then, ``delay`` seconds later."""
    expires = None if record.expires_in is None else due + delay + record.expires_in
    return msgspec.structs.replace(
        record.job,
        id=run_id(record.id, due),
        # This clock may be behind the server's, by which it is time.
        enqueued_at=max(time.time(), due),
        due_at=due + delay,
        expires_at=expires,
    )


def _fired(record: ScheduleRecord, stored_at: float) -> Plan:
    """Return what a firing of a plain schedule stands for.

    The server does not say which due time a firing is for: the last one before it. A firing for one
    that is settled (a wall time that exists twice) stands for nothing.
    """
    if record.next_at is not None:
        return plan(record, stored_at)
    until = stored_at + EARLY
    timing = record.timing
    if timing.drifts:
        due = float(int(until))
        return Plan([due] if due > record.cursor else [], 0, max(due, record.cursor))
    return plan(record, stored_at)


def _jitter(record: ScheduleRecord, due: float) -> float:
    """Return how much later than due a run begins; the same in every process."""
    if not record.jitter:
        return 0.0
    return random.Random(run_id(record.id, due)).uniform(0.0, record.jitter)  # noqa: S311
