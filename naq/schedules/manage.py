"""Schedules on the server: make, find, list and change them.

Each change is one compare-and-set of the record; the alarm follows. A process that dies in between
leaves an alarm of an older revision, which is noticed when it fires, or none, which the sweep of a
scheduler notices.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from naq.base.public import public
from naq.exceptions import ConfigurationError, JobNotFoundError, SerializationError
from naq.jobs import calls
from naq.jobs.calls import Call
from naq.jobs.coding.codec import Codec
from naq.jobs.inspect.backend import Backend
from naq.jobs.job import Job, JobMessage
from naq.jobs.layout import ensure_consumer, ensure_streams
from naq.jobs.message import job_envelope, prepare
from naq.schedules.advance import Advance, run_message
from naq.schedules.options import acted, new_record
from naq.schedules.schedule import LIVE, Schedule, ScheduleRecord, ScheduleStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from naq.nats.connection import Connection, Stored
    from naq.schedules.timing import Timing

__all__ = ["Schedules", "wanted"]


async def wanted(
    connection: Connection,
    codec: Codec,
    queue: str,
    call: Call,
    options: Mapping[str, Any],
    *,
    source: str = "",
) -> ScheduleRecord:
    """Return what is to be stored of a schedule, by the server's clock; nothing is stored yet.

    Args:
        connection: the server whose clock counts.
        codec: encodes the call.
        queue: where its runs go.
        call: what is run, with the options of each run.
        options: those of the schedule; None means the default.
        source: where it is declared: empty for a call of ``schedule``.

    Raises:
        ConfigurationError: an option cannot be used.
        SerializationError: the function or an argument cannot be sent.
        NaqConnectionError: the server cannot be reached.
    """
    given = dict(calls.bind(call, (), {}).options)
    if "job_id" in given:
        raise ConfigurationError("job_id belongs to one run; a schedule has a schedule_id")
    expires = given.pop("expires", None)
    if isinstance(expires, datetime):
        raise ConfigurationError("expires: give seconds; they count from each run's due time")
    timeless = Call(call.function, call.args, call.kwargs, given)  # its policy is in there
    return new_record(
        prepare(codec, queue, timeless, (), {}).message,
        options,
        now=await connection.clock.now(),
        expires_in=calls.normalize({"expires": expires}, due=0.0).get("expires_in"),
        source=source,
    )


class Schedules:
    """All schedules of one server."""

    def __init__(self, connection: Connection, *, codec: Codec | None = None) -> None:
        self._connection = connection
        self._codec = codec or Codec.from_settings(connection.settings)
        self._advance = Advance(connection, self._codec)
        self._records = self._advance.records

    def handle(self, record: ScheduleRecord) -> Schedule:
        """Return a handle to a schedule."""
        return Schedule(record, backend=_ScheduleBackend(Backend(self._connection)))

    async def make(self, wanted: ScheduleRecord) -> ScheduleRecord:
        """Make a schedule, or change the one with that id; return it as it is then.

        How far it has come is kept: how often it ran, whether it is paused, and, if its timing is
        the same, when it is due next. A schedule that is declared beside a function or in a file
        also stays cancelled; one that is made by code is made anew.

        Raises:
            ConfigurationError: the schedule with that id has another source, or cannot be read.
            NaqConnectionError: the server cannot be reached.
        """
        await ensure_streams(self._connection)
        while True:
            try:
                there, seq = await self._records.get(wanted.id)
            except SerializationError as exc:
                raise ConfigurationError(
                    f"schedule {wanted.id} exists but cannot be read ({exc}); cancel it first"
                ) from exc
            if there is not None:
                _check_source(there, wanted)
                if _unchanged(there, wanted):
                    if there.status is ScheduleStatus.ACTIVE and not await self._records.armed(
                        there
                    ):
                        await self._arm(there)
                    return there
            record = _merged(there, wanted)
            stored = await self._records.put(record, seq)
            if stored is None:
                continue
            await self._arm(record, fresh=there is None)
            record, _ = await self._advance.settle(record, stored)
            return record

    async def get(self, schedule_id: str) -> ScheduleRecord:
        """Return a schedule.

        Raises:
            JobNotFoundError: there is no schedule with this id.
            SerializationError: it cannot be read.
        """
        return (await self._found(schedule_id))[0]

    async def find(self, schedule_id: str) -> ScheduleRecord | None:
        """Return a schedule, None if there is none; raises as :meth:`get` if it cannot be read."""
        await ensure_streams(self._connection)
        return (await self._records.get(schedule_id))[0]

    async def exists(self, schedule_id: str) -> bool:
        """Whether there is a schedule of that id, readable or not."""
        await ensure_streams(self._connection)
        names = self._connection.names
        found = await self._connection.streams.get(names.jobs_stream, names.schedule(schedule_id))
        return found is not None

    async def list(self) -> list[ScheduleRecord]:
        """Return all schedules, the next one due first; those that have ended last.

        One that cannot be read is ``failed``, and its ``error`` says why.
        """
        await ensure_streams(self._connection)
        found = [self._or_failed(stored) for stored in await self._records.changed()]
        never = float("inf")
        return sorted(found, key=lambda r: (never if r.next_run is None else r.next_run, r.id))

    def _or_failed(self, stored: Stored) -> ScheduleRecord:
        try:
            return self._records.open(stored)
        except SerializationError as exc:
            return ScheduleRecord(
                id=self._records.id_of(stored),
                job=JobMessage.unknown(""),
                interval=1.0,
                status=ScheduleStatus.FAILED,
                error=f"its definition cannot be read: {exc}",
            )

    async def control(self, schedule_id: str, action: str, **changes: Any) -> ScheduleRecord:
        """Act on a schedule; return it as it is then.

        Args:
            schedule_id: the schedule.
            action: ``pause``, ``resume``, ``cancel``, ``reschedule`` or ``refresh``.
            changes: for ``reschedule``: ``cron interval repeat timezone next_run``.

        Raises:
            ConfigurationError: that cannot be done to it, or a change cannot be made.
            JobNotFoundError: there is no schedule with this id.
            SerializationError: it cannot be read (``cancel`` removes it then).
        """
        while True:
            try:
                record, seq = await self._found(schedule_id)
            except SerializationError:
                if action != "cancel":
                    raise
                return await self._remove_broken(schedule_id)
            now = await self._connection.clock.now()
            fields = acted(record, action, changes, now)
            if fields is None:
                return record
            revision = record.revision + 1
            changed = msgspec.structs.replace(record, **fields, revision=revision).timed()
            if changed.status is ScheduleStatus.ACTIVE and changed.next_run is None:
                raise ConfigurationError("it would never be due again")
            stored = await self._records.put(changed, seq)
            if stored is not None:
                await self._arm(changed)
                return (await self._advance.settle(changed, stored))[0]

    async def run_now(self, schedule_id: str) -> Job:
        """Queue a run of a schedule now, whatever its state.

        Raises:
            JobNotFoundError: there is no schedule with this id.
            SerializationError: it cannot be read.
        """
        record, _ = await self._found(schedule_id)
        due = int(await self._connection.clock.now() * 1000) / 1000
        message = msgspec.structs.replace(run_message(record, due), due_at=None)
        await ensure_consumer(self._connection, message.queue)
        names = self._connection.names
        await self._connection.store(*job_envelope(names, self._codec, message, chosen=True))
        return Job(message, backend=Backend(self._connection))

    async def remove(self, schedule_id: str) -> bool:
        """Remove a schedule without a trace; return whether there was one."""
        return await self._records.remove(schedule_id)

    async def _found(self, schedule_id: str) -> tuple[ScheduleRecord, int]:
        await ensure_streams(self._connection)
        record, seq = await self._records.get(schedule_id)
        if record is None:
            raise JobNotFoundError(f"there is no schedule {schedule_id}", job_id=schedule_id)
        return record, seq

    async def _remove_broken(self, schedule_id: str) -> ScheduleRecord:
        names = self._connection.names
        stored = await self._connection.streams.get(names.jobs_stream, names.schedule(schedule_id))
        if stored is None:
            raise JobNotFoundError(f"there is no schedule {schedule_id}", job_id=schedule_id)
        await self._records.remove(schedule_id)
        return msgspec.structs.replace(self._or_failed(stored), status=ScheduleStatus.CANCELLED)

    async def _arm(self, record: ScheduleRecord, *, fresh: bool = False) -> None:
        if record.status is not ScheduleStatus.ACTIVE:
            await self._records.disarm(record.id)
            return
        if not fresh:
            names = self._connection.names
            await self._connection.streams.purge(names.jobs_stream, names.gap_alarm(record.id))
        await _declare(self._connection, record.job.queue)
        await self._records.arm(record, await self._connection.clock.now())


async def _declare(connection: Connection, queue: str) -> None:
    """Declare a queue, so that ``list-queues`` shows it before its first run."""
    if connection.names.consumer(queue) not in connection.declared:
        await ensure_consumer(connection, queue)


def _check_source(there: ScheduleRecord, wanted: ScheduleRecord) -> None:
    if there.source != wanted.source and there.status in LIVE:
        owner = there.source or "code (queue.schedule)"
        raise ConfigurationError(
            f"schedule {wanted.id} already exists and belongs to {owner}; give this one another id"
        )


def _unchanged(there: ScheduleRecord, wanted: ScheduleRecord) -> bool:
    if there.definition() != wanted.definition():
        return False
    return (
        there.status in LIVE
        or there.status is ScheduleStatus.FINISHED
        or (bool(wanted.source) and there.source == wanted.source)
    )


def _merged(there: ScheduleRecord | None, wanted: ScheduleRecord) -> ScheduleRecord:
    """Return a definition with how far the one before has come."""
    if there is None:
        return wanted
    kept: dict[str, Any] = {"revision": there.revision + 1, "pending": there.pending}
    if there.status in LIVE:
        kept |= {
            name: getattr(there, name)
            for name in ("status", "created_at", "runs", "missed", "last_run", "last_job")
        }
        if _same_times(wanted.timing, there.timing):
            kept |= {name: getattr(there, name) for name in ("anchor", "cursor", "next_at")}
    return msgspec.structs.replace(wanted, **kept).timed()


def _same_times(mine: Timing, theirs: Timing) -> bool:
    """Whether two timings say the same, wherever their intervals began."""
    names = ("cron", "interval", "timezone", "start", "end")
    return all(getattr(mine, name) == getattr(theirs, name) for name in names)


class _ScheduleBackend:
    """What a :class:`Schedule` asks: over the connection it was made with, or else a new one."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.nats_url = backend.nats_url

    def pickled(self, schedule: Schedule) -> tuple[Callable[..., Schedule], tuple[Any, ...]]:
        """Return what makes a handle again in another process; nothing is asked for that."""
        return _restored_schedule, (_encode(schedule.record), self._backend.place)

    async def control(self, schedule_id: str, action: str, **changes: Any) -> ScheduleRecord:
        """Do something to a schedule; return what it is then."""
        async with self._backend.here() as connection:
            return await Schedules(connection).control(schedule_id, action, **changes)

    async def run_now(self, schedule_id: str) -> Job:
        """Queue a run."""
        async with self._backend.here() as connection:
            return await Schedules(connection).run_now(schedule_id)


@public
def _restored_schedule(record: bytes, place: tuple[str | None, str]) -> Schedule:
    """Make a handle of what was pickled, in whichever release."""
    return Schedule(_decode(record), backend=_ScheduleBackend(Backend.elsewhere(*place)))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ScheduleRecord).decode
