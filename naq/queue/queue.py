"""Put jobs into queues: :class:`Queue`."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import anyio

from naq.base.names import check_job_id, check_queue
from naq.exceptions import ConfigurationError
from naq.jobs import calls as _options
from naq.jobs.calls import Call, Declared
from naq.jobs.codec import Codec
from naq.jobs.inspect import Backend, cancel_job
from naq.jobs.job import Job, JobMessage
from naq.jobs.layout import ensure_consumer, ensure_streams
from naq.jobs.message import Batch, prepare
from naq.nats.connection import open_connection
from naq.nats.streams import server_now
from naq.queue import admin as _queues
from naq.queue.send import Sender
from naq.schedules.manage import Schedules, new_record
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from datetime import timedelta
    from typing import Self

    from naq.jobs.message import Function
    from naq.nats.connection import Connection
    from naq.queue.admin import QueueStats
    from naq.schedules.schedule import Schedule, ScheduleRecord

__all__ = ["Queue"]


class Queue(anyio.AsyncContextManagerMixin):
    """A named queue: ``async with naq.Queue("default") as queue: await queue.enqueue(add, 2, 3)``.

    Every option of :meth:`enqueue` is a keyword: ``job_id max_retries retry_delay retry_strategy
    retry_jitter retry_on ignore_on timeout expires result_ttl meta``; docs/jobs.md explains each.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        nats_url: str | None = None,
        connection: Connection | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Name a queue; nothing is asked of the server yet.

        Args:
            name: 1 to 64 letters, digits, ``_`` or ``-``; None is ``NAQ_DEFAULT_QUEUE``.
            nats_url: where the server is; None looks where docs/guide.md says, or takes the
                connection of the surrounding ``async with naq.connect()`` or job.
            connection: an open connection to use.
            settings: instead of the environment's.

        Raises:
            ConfigurationError: the name or a setting cannot be used.
        """
        if settings is None:
            settings = connection.settings if connection else Settings.from_env()
        self.name = check_queue(settings.default_queue if name is None else name)
        self._settings = settings
        self._nats_url = nats_url
        self._given = connection
        self._codec = Codec.from_settings(settings)
        self._connection: Connection
        self._backend: Backend
        self._sender: Sender

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Connect, and declare the queue if it is new.

        Raises:
            NaqConnectionError: no usable server.
        """
        async with open_connection(
            self._nats_url, given=self._given, settings=self._settings
        ) as self._connection:
            self._backend = Backend(self._connection)
            self._sender = Sender(self._connection, self._codec, self._backend)
            await self._declare()
            yield self

    async def _declare(self) -> None:
        connection = self._connection
        if connection.names.consumer(self.name) not in connection.declared:
            await ensure_streams(connection)
            await ensure_consumer(connection, self.name)

    # --------------------------------------------------------------- enqueue

    async def enqueue(self, function: Function, /, *args: Any, **kwargs: Any) -> Job:
        """Put a call into the queue and return the job once the server has stored it.

        Args:
            function: any callable, sync or async; a :func:`naq.call`; or ``"module:function"``.
            args: its positional arguments.
            kwargs: its keyword arguments, and the options.

        With ``job_id`` the call is idempotent: a job of that id that is queued, runs or has ended
        not longer ago than its result is kept is not run again (see ``Job.duplicate``).

        Raises:
            SerializationError: the function or an argument cannot be sent.
            PayloadTooLargeError: the job is larger than the server takes.
            ConfigurationError: an option cannot be used.
            ServerRefusedError: the server does not store it (a full disk).
            NaqConnectionError: the server does not answer; the job may or may not be queued.
        """
        return await self._sender.one(prepare(self._codec, self.name, function, args, kwargs))

    async def enqueue_in(
        self, delay: float | timedelta, function: Function, /, *args: Any, **kwargs: Any
    ) -> Job:
        """Like :meth:`enqueue`, but runnable only after ``delay`` (seconds or timedelta).

        The server itself keeps the job until then; a delay below 0.25 s may take as long as that.

        Raises:
            ConfigurationError: also when the delay is negative.
        """
        due = time.time() + _options.seconds("delay", delay)
        return await self._sender.one(
            prepare(self._codec, self.name, function, args, kwargs, due=due)
        )

    async def enqueue_at(
        self, when: datetime, function: Function, /, *args: Any, **kwargs: Any
    ) -> Job:
        """Like :meth:`enqueue`, but runnable only from ``when`` on; at once if that is past.

        Raises:
            ConfigurationError: also when ``when`` has no time zone.
        """
        due = _options.when("when", when)
        return await self._sender.one(
            prepare(self._codec, self.name, function, args, kwargs, due=due)
        )

    async def enqueue_many(self, calls: Iterable[Function], /, **options: Any) -> list[Job]:
        """Put many calls into the queue, in order, and return their jobs once all are stored.

        All calls are encoded before the first is sent: one that cannot be sent raises as in
        :meth:`enqueue`, and nothing is queued.

        Args:
            calls: :func:`naq.call` objects, or functions without arguments.
            options: for all of them; a call's own (``with_options``) win.

        Raises:
            EnqueueError: some were not stored; it has the jobs that were and the errors.
        """
        return await self._sender.many(Batch(self._codec, self.name, calls, options))

    # -------------------------------------------------------------- schedules

    async def schedule(
        self,
        function: Function,
        /,
        *args: Any,
        cron: str | None = None,
        interval: float | timedelta | None = None,
        repeat: int | None = None,
        timezone: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        jitter: float | timedelta | None = None,
        misfire: str | None = None,
        misfire_grace: float | timedelta | None = None,
        misfire_cap: int | None = None,
        overlap: str | None = None,
        schedule_id: str | None = None,
        **kwargs: Any,
    ) -> Schedule:
        """Run a call again and again: at the times of a cron expression, or at an interval.

        Called again with the same ``schedule_id`` it changes the schedule, or does nothing if
        nothing has changed, so a program may do it at every start. Each run is a job of its own
        with an id made of the schedule and its due time, queued once.

        Without ``repeat``, ``end``, ``jitter`` and another ``misfire`` and ``overlap`` than the
        defaults the server does it alone; with them, ``naq scheduler`` has to run somewhere. So it
        has for ``L`` and ``#`` in ``cron`` and for intervals that are no whole seconds.

        Args:
            function: as in :meth:`enqueue`.
            args: its positional arguments.
            cron: five fields, or six with seconds in front, or ``@daily`` and the like.
            interval: seconds or timedelta between two due times, at least 1 s.
            repeat: how many runs there are to be.
            timezone: IANA name of the zone ``cron`` is meant in; UTC unless given.
            start: nothing is due before; an interval counts from there.
            end: nothing is due after.
            jitter: each run begins up to so many seconds later than due.
            misfire: what becomes of runs that nobody could start in time: ``"skip"`` (none is run),
                ``"once"`` (the last one), ``"all"`` (the last ``misfire_cap``).
            misfire_grace: how late, in seconds, is still in time; 10 unless given.
            misfire_cap: 100 unless given.
            overlap: if the last run has not ended: ``"allow"`` another one beside, ``"skip"`` it,
                or ``"replace"`` the last one, which is cancelled.
            schedule_id: unless given, made of the function, its arguments and when it is due.
            kwargs: its keyword arguments, and the options of each run.

        Raises:
            ConfigurationError: an option cannot be used.
            SerializationError: the function or an argument cannot be sent.
            NaqConnectionError: the server cannot be reached.
        """
        options = {
            "cron": cron,
            "interval": interval,
            "repeat": repeat,
            "timezone": timezone,
            "start": start,
            "end": end,
            "jitter": jitter,
            "misfire": misfire,
            "misfire_grace": misfire_grace,
            "misfire_cap": misfire_cap,
            "overlap": overlap,
            "schedule_id": schedule_id,
        }
        wanted = await self.make_schedule(function, args, kwargs, options)
        schedules = Schedules(self._connection, codec=self._codec)
        return schedules.handle(await schedules.make(wanted))

    async def make_schedule(
        self,
        function: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
        *,
        source: str = "",
    ) -> ScheduleRecord:
        """Return what would be stored of a schedule; see :meth:`schedule`."""
        given, own = _options.split(kwargs)
        if "job_id" in given:
            raise ConfigurationError("job_id belongs to one run; a schedule has a schedule_id")
        expires = given.pop("expires", None)
        if isinstance(expires, datetime):
            raise ConfigurationError("expires: give seconds; they count from each run's due time")
        used = [name for name, value in options.items() if value is not None]
        if not isinstance(function, (Call, Declared)):
            _options.clashing(function, used)
        job = prepare(self._codec, self.name, function, args, {**own, **given}).message
        return new_record(
            job,
            options,
            now=await server_now(self._connection),
            expires_in=_options.normalize({"expires": expires}, due=0.0).get("expires_at"),
            source=source,
        )

    # ----------------------------------------------------------------- queue

    async def purge(self) -> int:
        """Remove all queued and delayed jobs; return how many there were."""
        return await _queues.purge(self._connection, self.name)

    async def pause(self) -> None:
        """Give no more jobs to workers until :meth:`resume`; survives restarts of everything."""
        await _queues.pause(self._connection, self.name)

    async def resume(self) -> None:
        """End a pause."""
        await _queues.resume(self._connection, self.name)

    async def stats(self) -> QueueStats:
        """Return the queue's numbers: depth, running, delayed, dead, paused, oldest age."""
        return await _queues.queue_stats(self._connection, self.name)

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job of this queue by its id; see :meth:`naq.Job.cancel`.

        Raises:
            JobNotFoundError: nothing is known of it.
        """
        return await cancel_job(self._connection, check_job_id(job_id), self.name)

    def job(self, job_id: str) -> Job:
        """Return a handle to a job of this queue by its id; asks the server nothing."""
        message = JobMessage(
            id=check_job_id(job_id),
            queue=self.name,
            function="?",
            payload=b"",
            encoding="",
            enqueued_at=0.0,
        )
        return Job(message, backend=self._backend)
