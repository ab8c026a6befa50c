"""Schedules on the server: make, find, list and change them.

Whatever is done to one is a single compare-and-set of its record; the alarm follows. Somebody who
dies in between leaves an alarm of an older revision, which is noticed when it fires, or none, which
the sweep of a scheduler notices.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from naq.exceptions import ConfigurationError, JobNotFoundError, SerializationError
from naq.jobs.calls import Call
from naq.jobs.calls import normalize as normalize_options
from naq.jobs.codec import Codec
from naq.jobs.inspect import Backend
from naq.jobs.job import Job, JobMessage
from naq.jobs.layout import ensure_consumer, ensure_streams
from naq.jobs.message import job_envelope, prepare
from naq.nats.streams import server_now
from naq.schedules.advance import Advance, run_message
from naq.schedules.options import normalize, rescheduled
from naq.schedules.schedule import Schedule, ScheduleRecord, ScheduleStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq.nats.connection import Connection, Stored

__all__ = ["Schedules", "new_record", "wanted"]

_LIVE = frozenset({ScheduleStatus.ACTIVE, ScheduleStatus.PAUSED})


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
    given = dict(call.options)
    if "job_id" in given:
        raise ConfigurationError("job_id belongs to one run; a schedule has a schedule_id")
    expires = given.pop("expires", None)
    if isinstance(expires, datetime):
        raise ConfigurationError("expires: give seconds; they count from each run's due time")
    timeless = Call(call.function, call.args, call.kwargs, given)
    return new_record(
        prepare(codec, queue, timeless, (), {}).message,
        options,
        now=await server_now(connection),
        expires_in=normalize_options({"expires": expires}, due=0.0).get("expires_at"),
        source=source,
    )


def new_record(
    job: JobMessage,
    options: Mapping[str, Any],
    *,
    now: float,
    expires_in: float | None = None,
    source: str = "",
) -> ScheduleRecord:
    """Return the record of a new schedule.

    Args:
        job: what each run is made of.
        options: those of ``schedule``; None means the default.
        now: the server's time.
        expires_in: seconds after its due time at which a run that nobody has started expires.
        source: where it is declared: empty for a call of ``schedule``.

    Raises:
        ConfigurationError: with one line per option that cannot be used.
    """
    fields = normalize(options, now=now)
    schedule_id = fields.pop("schedule_id", None)
    record = ScheduleRecord(
        id=schedule_id or "-",
        job=msgspec.structs.replace(job, id="", due_at=None),
        expires_in=expires_in,
        source=source,
        **fields,
    )
    if schedule_id is None:
        record = msgspec.structs.replace(record, id=_made_id(record))
    if record.plain and record.start is not None and record.start > now:
        record = msgspec.structs.replace(record, next_at=record.timing.next(now))
    record = record.timed()
    if record.next_run is None:
        raise ConfigurationError("it is never due between start and end")
    return record


def _made_id(record: ScheduleRecord) -> str:
    """Return an id for who gave none: the same for the same function, arguments and times."""
    job = record.job
    what = (job.queue, job.function, job.payload, record.cron, record.interval, record.timezone)
    digest = hashlib.sha256(msgspec.msgpack.encode(what)).hexdigest()[:8]
    name = job.function.rpartition(":")[2].rpartition(".")[2]
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in name)
    return f"{safe[:64] or 'schedule'}-{digest}"


class Schedules:
    """All schedules of one server."""

    def __init__(self, connection: Connection, *, codec: Codec | None = None) -> None:
        self._connection = connection
        self._codec = codec or Codec.from_settings(connection.settings)
        self._advance = Advance(connection, self._codec)
        self._records = self._advance.records

    def handle(self, record: ScheduleRecord) -> Schedule:
        """Return a handle to a schedule."""
        return Schedule(record, backend=_ScheduleBackend(self._connection))

    async def make(self, wanted: ScheduleRecord) -> ScheduleRecord:
        """Make a schedule, or change the one of that id; return it as it is then.

        What it has come to stays: how often it ran, whether it is paused, and when it is due next
        if its timing is the same. Of a schedule that is declared beside the function or in a file
        an operator's ``cancel`` stays, too; made by code, it is made anew.

        Raises:
            ConfigurationError: the schedule of that id is somebody else's, or cannot be read.
            NaqConnectionError: the server cannot be reached.
        """
        await ensure_streams(self._connection)
        while True:
            try:
                there, seq = await self._records.get(wanted.id)
            except SerializationError as exc:
                raise ConfigurationError(
                    f"schedule {wanted.id} is there and cannot be read ({exc}); cancel it first"
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
            JobNotFoundError: there is none of that id.
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
        found = await self._connection.get(names.jobs_stream, names.schedule(schedule_id))
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
        """Do something to a schedule; return it as it is then.

        Args:
            schedule_id: the schedule.
            action: ``pause``, ``resume``, ``cancel``, ``reschedule`` or ``refresh``.
            changes: of ``reschedule``: ``cron interval repeat timezone next_run``.

        Raises:
            ConfigurationError: that cannot be done to it, or a change cannot be used.
            JobNotFoundError: there is none of that id.
            SerializationError: it cannot be read (``cancel`` removes it then).
        """
        while True:
            try:
                record, seq = await self._found(schedule_id)
            except SerializationError:
                if action != "cancel":
                    raise
                return await self._remove_broken(schedule_id)
            now = await server_now(self._connection)
            fields = _ACTIONS[action](record, changes, now)
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
            JobNotFoundError: there is none of that id.
            SerializationError: it cannot be read.
        """
        record, _ = await self._found(schedule_id)
        due = int(await server_now(self._connection) * 1000) / 1000
        message = msgspec.structs.replace(run_message(record, due), due_at=None)
        await ensure_consumer(self._connection, message.queue)
        names = self._connection.names
        await self._connection.store(*job_envelope(names, self._codec, message, chosen=True))
        return Job(message, backend=Backend(self._connection))

    async def remove(self, schedule_id: str) -> bool:
        """Remove a schedule without a trace; whether there was one."""
        return await self._records.remove(schedule_id)

    async def _found(self, schedule_id: str) -> tuple[ScheduleRecord, int]:
        await ensure_streams(self._connection)
        record, seq = await self._records.get(schedule_id)
        if record is None:
            raise JobNotFoundError(f"there is no schedule {schedule_id}", job_id=schedule_id)
        return record, seq

    async def _remove_broken(self, schedule_id: str) -> ScheduleRecord:
        names = self._connection.names
        stored = await self._connection.get(names.jobs_stream, names.schedule(schedule_id))
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
            await self._connection.purge(names.jobs_stream, names.gap_alarm(record.id))
        await _declare(self._connection, record.job.queue)
        await self._records.arm(record, await server_now(self._connection))


async def _declare(connection: Connection, queue: str) -> None:
    """Declare a queue, so that what is fired into it is seen by ``list-queues``."""
    if connection.names.consumer(queue) not in connection.declared:
        await ensure_consumer(connection, queue)


def _check_source(there: ScheduleRecord, wanted: ScheduleRecord) -> None:
    if there.source != wanted.source and there.status in _LIVE:
        owner = there.source or "code (queue.schedule)"
        raise ConfigurationError(
            f"schedule {wanted.id} exists already and belongs to {owner}; give this one another id"
        )


def _unchanged(there: ScheduleRecord, wanted: ScheduleRecord) -> bool:
    if there.definition() != wanted.definition():
        return False
    return (
        there.status in _LIVE
        or there.status is ScheduleStatus.FINISHED
        or (bool(wanted.source) and there.source == wanted.source)
    )


def _merged(there: ScheduleRecord | None, wanted: ScheduleRecord) -> ScheduleRecord:
    """Return a definition with what the one before has come to."""
    if there is None:
        return wanted
    kept: dict[str, Any] = {"revision": there.revision + 1, "pending": there.pending}
    if there.status in _LIVE:
        kept |= {
            name: getattr(there, name)
            for name in ("status", "created_at", "runs", "missed", "last_run", "last_job")
        }
        mine, theirs = wanted.timing, there.timing
        if _same_times(mine, theirs):
            kept |= {name: getattr(there, name) for name in ("anchor", "cursor", "next_at")}
    return msgspec.structs.replace(wanted, **kept).timed()


def _same_times(mine: Any, theirs: Any) -> bool:
    """Whether two timings say the same, wherever their intervals began."""
    names = ("cron", "interval", "timezone", "start", "end")
    return all(getattr(mine, name) == getattr(theirs, name) for name in names)


# ------------------------------------------------------------------ what may be done to a schedule


def _still(record: ScheduleRecord) -> None:
    if record.status not in _LIVE:
        raise ConfigurationError(f"schedule {record.id} is {record.status}; make it anew instead")


def _refresh(record: ScheduleRecord, changes: dict[str, Any], now: float) -> None:
    del record, changes, now


def _pause(record: ScheduleRecord, changes: dict[str, Any], now: float) -> dict[str, Any] | None:
    del changes, now
    _still(record)
    return None if record.status is ScheduleStatus.PAUSED else {"status": ScheduleStatus.PAUSED}


def _resume(record: ScheduleRecord, changes: dict[str, Any], now: float) -> dict[str, Any] | None:
    del changes
    _still(record)
    if record.status is ScheduleStatus.ACTIVE:
        return None
    next_at = record.next_at if record.next_at is not None and record.next_at > now else None
    return {"status": ScheduleStatus.ACTIVE, "cursor": now, "next_at": next_at}


def _cancel(record: ScheduleRecord, changes: dict[str, Any], now: float) -> dict[str, Any] | None:
    del changes, now
    if record.status is ScheduleStatus.CANCELLED:
        return None
    _still(record)
    return {"status": ScheduleStatus.CANCELLED, "next_at": None}


def _reschedule(record: ScheduleRecord, changes: dict[str, Any], now: float) -> dict[str, Any]:
    _still(record)
    return rescheduled(record, changes, now)


_ACTIONS = {
    "refresh": _refresh,
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
    "reschedule": _reschedule,
}


class _ScheduleBackend:
    """What a :class:`Schedule` asks: over the connection it was made with, or else a new one."""

    def __init__(self, connection: Connection) -> None:
        self._backend = Backend(connection)
        self.nats_url = self._backend.nats_url

    async def control(self, schedule_id: str, action: str, **changes: Any) -> ScheduleRecord:
        async with self._backend.here() as connection:
            return await Schedules(connection).control(schedule_id, action, **changes)

    async def run_now(self, schedule_id: str) -> Job:
        async with self._backend.here() as connection:
            return await Schedules(connection).run_now(schedule_id)
