"""Put jobs into queues: :class:`Queue`.

An enqueue is one publish with a compare-and-set (the job is not queued yet) and a message id (it
was not queued lately): sent again it does no harm, so it is sent until it is acknowledged.
"""

from __future__ import annotations

import contextlib
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from naq import _options, _queues
from naq._inspect import cancel_job, job_info
from naq._names import check_job_id, check_queue, new_id
from naq._settle import CHECK
from naq._sync import runtime
from naq._task import Call, Task
from naq._topology import ensure_consumer, ensure_streams
from naq.connection import CONFLICT, PubAck, connect, current_connection, use_connection
from naq.exceptions import (
    ConfigurationError,
    EnqueueError,
    JobExpiredError,
    NaqConnectionError,
    PayloadTooLargeError,
    SerializationError,
    ServerRefusedError,
)
from naq.job import Job, JobMessage, JobStatus
from naq.results import Results
from naq.serializers import Codec
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
    from datetime import timedelta
    from typing import Self

    from naq._queues import QueueStats
    from naq.connection import Connection, Envelope
    from naq.job import JobInfo

    Function = Callable[..., Any] | Task[..., Any] | Call | str

__all__ = ["Queue", "open_connection"]

ROOM_FOR_LETTER = 1024
"""Bytes a job stays below the server's limit: what a dead letter adds to it must fit."""

ROOM_FOR_OPTIONS = 8192
"""Bytes everything in a job but its arguments and ``meta`` stays below."""
EXPIRY_SLACK = 0.5
"""Seconds after a job's expiry before it is looked at: the clocks of two machines differ."""


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
        self._backend: _Backend

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Connect, and declare the queue if it is new.

        Raises:
            NaqConnectionError: no usable server.
        """
        async with open_connection(
            self._nats_url, given=self._given, settings=self._settings
        ) as self._connection:
            self._backend = _Backend(self._connection)
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
        return await self._send(self._prepare(function, args, kwargs))

    async def enqueue_in(
        self, delay: float | timedelta, function: Function, /, *args: Any, **kwargs: Any
    ) -> Job:
        """Like :meth:`enqueue`, but runnable only after ``delay`` (seconds or timedelta).

        The server itself keeps the job until then; a delay below 0.25 s may take as long as that.

        Raises:
            ConfigurationError: also when the delay is negative.
        """
        due = time.time() + _options.seconds("delay", delay)
        return await self._send(self._prepare(function, args, kwargs, due=due))

    async def enqueue_at(
        self, when: datetime, function: Function, /, *args: Any, **kwargs: Any
    ) -> Job:
        """Like :meth:`enqueue`, but runnable only from ``when`` on; at once if that is past.

        Raises:
            ConfigurationError: also when ``when`` has no time zone.
        """
        due = _options.when("when", when)
        return await self._send(self._prepare(function, args, kwargs, due=due))

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
        prepared = [self._prepare(call, (), dict(options)) for call in calls]
        for one in prepared:
            self._check_size(one.message)
        answers = await self._connection.store_many(
            prepared, self._envelope, fresh=not any(one.given_id for one in prepared)
        )
        jobs: list[Job | None] = []
        errors: dict[int, Exception] = {}
        for index, (one, answer) in enumerate(zip(prepared, answers, strict=True)):
            try:
                jobs.append(self._job(one, answer))
            except (NaqConnectionError, SerializationError) as exc:
                jobs.append(None)
                errors[index] = exc
        if errors:
            raise EnqueueError(jobs, errors)
        return [job for job in jobs if job is not None]

    def _prepare(
        self,
        function: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        due: float | None = None,
    ) -> _Prepared:
        """Build the message from what was called, and check the options."""
        options, own = _options.split(kwargs)
        if isinstance(function, Call):
            if args or own:
                raise ConfigurationError("give the arguments to naq.call, not beside it")
            bound = function
            options = {**options, **bound.options}
            function, args, own = bound.function, bound.args, bound.kwargs
        elif options:
            target = function.function if isinstance(function, Task) else function
            _options.clashing(target, options)
        if isinstance(function, Task):
            options = {**function.options, **options}
            function = function.function
        name, payload, encoding = self._codec.encode_call(function, args, own)
        now = time.time()
        fields = _options.normalize(options, due=due or now) if options else {}
        given_id = fields.pop("id", None)
        message = JobMessage(
            id=given_id or new_id(),
            queue=self.name,
            function=name,
            payload=payload,
            encoding=encoding,
            enqueued_at=now,
            due_at=due,
            **fields,
        )
        return _Prepared(message, given_id is not None)

    def _envelope(self, prepared: _Prepared) -> Envelope:
        """Return subject, body and headers of a job that may be run at once or later."""
        message = prepared.message
        names = self._connection.names
        body, headers = self._codec.seal(message)
        headers["Nats-Msg-Id"] = message.id
        headers["Nats-Expected-Last-Subject-Sequence"] = "0"
        if prepared.given_id:
            headers[CHECK] = "1"
        subject = names.job(self.name, message.id)
        due = message.due_at
        if due is not None and due > message.enqueued_at:
            moment = datetime.fromtimestamp(due, UTC).isoformat().replace("+00:00", "Z")
            headers["Nats-Schedule"] = f"@at {moment}"
            headers["Nats-Schedule-Target"] = subject
            subject = names.delayed(self.name, message.id)
        return subject, body, headers

    def _check_size(self, message: JobMessage) -> None:
        room = self._connection.max_payload - ROOM_FOR_LETTER
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

    async def _send(self, prepared: _Prepared) -> Job:
        self._check_size(prepared.message)
        answer: PubAck | Exception
        try:
            answer = await self._connection.store(*self._envelope(prepared))
        except ServerRefusedError as exc:
            answer = exc
        return self._job(prepared, answer)

    def _job(self, prepared: _Prepared, answer: PubAck | Exception) -> Job:
        """Return the job if it is queued, now or already; raise otherwise."""
        if isinstance(answer, PubAck):
            return Job(prepared.message, backend=self._backend, duplicate=answer.duplicate)
        if isinstance(answer, ServerRefusedError) and answer.code == CONFLICT:
            return Job(prepared.message, backend=self._backend, duplicate=True)
        raise answer

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


class _Prepared(NamedTuple):
    message: JobMessage
    given_id: bool


@asynccontextmanager
async def open_connection(
    nats_url: str | None = None,
    *,
    given: Connection | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Connection]:
    """Yield a connection: the given one, the surrounding one, or a new one for this block."""
    if given is None and nats_url is None:
        given = current_connection()
    if given is not None:
        yield given
        return
    async with connect(nats_url, settings=settings) as connection:
        yield connection


class _Backend:
    """What a :class:`Job` asks: over the connection it was made with, or else a new one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._nats_url = connection.given_url

    @asynccontextmanager
    async def _here(self) -> AsyncIterator[Connection]:
        if self._connection.usable():
            yield self._connection
            return
        async with open_connection(self._nats_url, settings=self._connection.settings) as found:
            yield found

    async def result(self, job: Job, timeout: float | None) -> Any:
        async with self._here() as connection:
            results = Results(connection)
            expires_at = job.message.expires_at
            if expires_at is None:
                return results.value(await results.wait(job.id, timeout))
            # Nobody may be there to say that it expired, so it is looked at when it must have.
            until = max(0.0, expires_at - time.time()) + EXPIRY_SLACK
            if timeout is None or until < timeout:
                with contextlib.suppress(TimeoutError):
                    return results.value(await results.wait(job.id, until))
                if (await job_info(connection, job.id, job.queue)).status is JobStatus.EXPIRED:
                    raise JobExpiredError(
                        f"job {job.id} was not started before it expired", job_id=job.id
                    )
                timeout = None if timeout is None else timeout - until
            return results.value(await results.wait(job.id, timeout))

    async def info(self, job: Job) -> JobInfo:
        async with self._here() as connection:
            return await job_info(connection, job.id, job.queue)

    async def cancel(self, job: Job) -> bool:
        async with self._here() as connection:
            return await cancel_job(connection, job.id, job.queue)

    def run_sync(self, call: Callable[[], Awaitable[Any]]) -> Any:
        return runtime().run_connected(self._nats_url, lambda connection: _inside(connection, call))


async def _inside(connection: Connection, call: Callable[[], Awaitable[Any]]) -> Any:
    use_connection(connection)
    return await call()
