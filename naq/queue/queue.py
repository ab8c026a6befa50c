"""Put jobs into queues: :class:`Queue`."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import anyio

from naq.base.names import check_job_id, check_queue
from naq.base.public import public
from naq.exceptions import ConfigurationError
from naq.jobs import calls
from naq.jobs.calls import Call, Declared
from naq.jobs.coding.codec import Codec
from naq.jobs.inspect.backend import Backend
from naq.jobs.inspect.info import cancel_job, forget_job
from naq.jobs.job import Job, JobMessage
from naq.jobs.layout import ensure_consumer, ensure_streams
from naq.jobs.message import Batch, prepare
from naq.jobs.shared import open_connection
from naq.nats.connection import using
from naq.queue import admin
from naq.queue.send import Sender
from naq.schedules.manage import Schedules, wanted
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from datetime import datetime, timedelta
    from typing import Self

    from naq.jobs.calls import Function
    from naq.nats.connection import Connection
    from naq.queue.numbers.stats import QueueStats
    from naq.schedules.schedule import Schedule

__all__ = ["Queue"]


@public
class Queue(anyio.AsyncContextManagerMixin):
    """A named queue: ``async with naq.Queue("default") as queue: await queue.enqueue(add, 2, 3)``.

    Every option of :meth:`enqueue` is a keyword: ``job_id max_retries retry_delay retry_strategy
    retry_jitter retry_on ignore_on timeout expires result_ttl meta``; docs/jobs.md explains each.

    Its methods work inside the ``async with`` block; outside of it they raise
    :class:`~naq.ConfigurationError`.
    """

    _sender: Sender | None = None

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
            nats_url: URL of the server; None: the connection of the surrounding ``async with
                naq.connect()`` or job, or else a server found as docs/guide.md describes.
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

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Connect, and declare the queue if it is new.

        Raises:
            NaqConnectionError: no usable server.
        """
        async with open_connection(
            self._nats_url, given=self._given, settings=self._settings
        ) as connection:
            await self._declare(connection, self.name)
            self._sender = Sender(connection, self._codec, Backend(connection))
            try:
                with nullcontext() if self._given else using(connection):
                    yield self
            finally:
                self._sender = None

    @staticmethod
    async def _declare(connection: Connection, name: str) -> None:
        if connection.names.consumer(name) not in connection.declared:
            await ensure_streams(connection)
            await ensure_consumer(connection, name)

    @property
    def _opened(self) -> Sender:
        if self._sender is None:
            raise ConfigurationError(
                f"queue {self.name} is not open; use it inside its block: "
                f'async with naq.Queue("{self.name}") as queue'
            )
        return self._sender

    @property
    def _connection(self) -> Connection:
        return self._opened.connection

    # --------------------------------------------------------------- enqueue

    async def enqueue(self, function: Function, /, *args: Any, **kwargs: Any) -> Job:
        """Put a call into the queue and return the job once the server has stored it.

        Args:
            function: any callable, sync or async; a :func:`naq.call`; or ``"module:function"``.
                The options of a task hold, however it is written; its queue is this one.
            args: its positional arguments.
            kwargs: its keyword arguments, and the options.

        With ``job_id`` the call is idempotent: if a job with that id is queued, is delayed, is
        running, or has ended and its result is still kept, nothing is queued (see
        ``Job.duplicate``). Once it has been purged, deleted or forgotten (:meth:`forget`), or its
        result has expired, the id is new.

        Raises:
            SerializationError: the function or an argument cannot be sent.
            PayloadTooLargeError: the job is larger than the server accepts.
            ConfigurationError: an option cannot be used, or the queue is not open.
            ServerRefusedError: the server does not store it (a full disk).
            NaqConnectionError: the server does not answer. If the job may be queued all the same,
                the message says so; it can be repeated with the same ``job_id``.
        """
        sender = self._opened
        return await sender.one(prepare(self._codec, self.name, function, args, kwargs))

    async def enqueue_in(
        self, delay: float | timedelta, function: Function, /, *args: Any, **kwargs: Any
    ) -> Job:
        """Like :meth:`enqueue`, but runnable only after ``delay`` (seconds or timedelta).

        The server itself keeps the job until then; a delay below 0.25 s may take that long.

        Raises:
            ConfigurationError: also when the delay is negative.
        """
        sender = self._opened
        due = time.time() + calls.seconds("delay", delay)
        return await sender.one(prepare(self._codec, self.name, function, args, kwargs, due=due))

    async def enqueue_at(
        self, when: datetime, function: Function, /, *args: Any, **kwargs: Any
    ) -> Job:
        """Like :meth:`enqueue`, but runnable only from ``when`` on; at once if that is past.

        Raises:
            ConfigurationError: also when ``when`` has no time zone.
        """
        sender = self._opened
        due = calls.when("when", when)
        return await sender.one(prepare(self._codec, self.name, function, args, kwargs, due=due))

    async def enqueue_many(self, calls: Iterable[Function], /, **options: Any) -> list[Job]:
        """Put many calls into the queue, in order, and return their jobs once all are stored.

        All calls are encoded before the first is sent: one that cannot be sent raises as in
        :meth:`enqueue`, and nothing is queued.

        Args:
            calls: :func:`naq.call` objects, or functions without arguments.
            options: for all of them; a call's own (``with_options``) take precedence.

        Raises:
            EnqueueError: some were not stored; it holds the jobs that were, and the errors.
        """
        sender = self._opened
        return await sender.many(Batch(self._codec, self.name, calls, options))

    async def send_batch(self, batch: Batch) -> list[Job]:
        """Send jobs that are encoded already, each to its own queue."""
        sender = self._opened
        for name in batch.queues:
            await self._declare(sender.connection, name)
        return await sender.many(batch)

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
        nothing has changed, so a program may call it each time it starts. Each run is a job of its
        own, queued once, with an id made of the schedule and the due time.

        The server alone runs a schedule without ``repeat``, ``end`` and ``jitter`` and with the
        default ``misfire`` and ``overlap``. With any of them ``naq scheduler`` has to run
        somewhere; also for ``L`` and ``#`` in ``cron``, and for an interval that is not a whole
        number of seconds.

        Args:
            function: as in :meth:`enqueue`.
            args: its positional arguments.
            cron: five fields, or six with seconds first, or ``@daily`` and the like.
            interval: seconds or timedelta between two due times, at least 1 s.
            repeat: how often it is run in all.
            timezone: IANA name of the time zone of ``cron``; UTC by default.
            start: nothing is due before this time; an interval counts from here.
            end: nothing is due after this time.
            jitter: each run begins up to this many seconds later than due.
            misfire: what happens to runs that nobody could start in time: ``"skip"`` makes up for
                none, ``"once"`` for the last one, ``"all"`` for the last ``misfire_cap``.
            misfire_grace: how many seconds late still counts as in time; 10 by default.
            misfire_cap: 100 by default.
            overlap: what to do if the last run has not ended: ``"allow"`` another beside it,
                ``"skip"`` the new one, or ``"replace"`` the last one, which is cancelled.
            schedule_id: by default, made of the function, its arguments and its times.
            kwargs: its keyword arguments, and the options of each run.

        Raises:
            ConfigurationError: an option cannot be used, or the queue is not open.
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
        connection = self._connection
        if not isinstance(function, (Call, Declared)):
            given = [name for name, value in options.items() if value is not None]
            calls.refuse_clashes(function, given)
        call = calls.bind(function, args, kwargs)
        record = await wanted(connection, self._codec, self.name, call, options)
        schedules = Schedules(connection, codec=self._codec)
        return schedules.handle(await schedules.make(record))

    # ----------------------------------------------------------------- queue

    async def purge(self) -> int:
        """Remove all queued and delayed jobs; return how many there were."""
        return await admin.purge(self._connection, self.name)

    async def delete(self) -> None:
        """Delete the queue, with its jobs, dead letters and counters; open it anew to use it again.

        Raises:
            ConfigurationError: a worker serves it, or a schedule puts jobs into it.
            QueueNotFoundError: it was deleted already.
        """
        await admin.delete(self._connection, self.name)

    async def pause(self) -> None:
        """Give no more jobs to workers until :meth:`resume`, across restarts of everything."""
        await admin.pause(self._connection, self.name)

    async def resume(self) -> None:
        """End a pause."""
        await admin.resume(self._connection, self.name)

    async def stats(self) -> QueueStats:
        """Return the queue's figures: depth, running, delayed, dead, paused, oldest age."""
        return await admin.queue_stats(self._connection, self.name)

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job of this queue by its id; see :meth:`naq.Job.cancel`.

        Raises:
            JobNotFoundError: there is no such job.
        """
        return await cancel_job(self._connection, check_job_id(job_id), self.name)

    async def forget(self, job_id: str) -> bool:
        """Free the id of a job that has ended; see :func:`naq.forget`."""
        return await forget_job(self._connection, check_job_id(job_id))

    def job(self, job_id: str) -> Job:
        """Return a handle to a job of this queue by its id, without asking the server.

        Raises:
            ConfigurationError: that cannot be an id, or the queue is not open.
        """
        message = JobMessage.unknown(check_job_id(job_id), self.name)
        return Job(message, backend=self._opened.backend)
