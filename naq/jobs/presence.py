"""Which workers and schedulers there are, and what they do.

Each of them keeps a key in the bucket ``naq_workers``, with a time to live, so one that was killed
disappears by itself. What they do changes thousands of times a second and is not stored: it is
asked for, by core messages.

* ``naqctl.ping``: everyone says what it does. One that is announced but silent is shown as
  ``unresponsive``.
* ``naqctl.where.<job>``: the worker that holds the job answers.
* ``naqctl.cancel.<job>``: that worker stops the job, and answers.

A job that nobody answers for is not running.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec

from naq.base.local import started_at
from naq.base.names import check_queue, new_id
from naq.exceptions import ConfigurationError, NaqConnectionError
from naq.jobs.layout import ensure_streams
from naq.nats.connection import connect
from naq.nats.jetstream import TTL
from naq.nats.link.seam import on_trio
from naq.nats.streams import Followed
from naq.nats.watch import watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from anyio.abc import TaskGroup

    from naq.nats.connection import Connection, Message
    from naq.settings import Settings

__all__ = [
    "ANSWER_TIMEOUT",
    "Presence",
    "Whereabouts",
    "WorkerInfo",
    "WorkerRow",
    "announce",
    "announced",
    "cancel",
    "follow_announced",
    "list_all",
    "list_workers",
    "where",
]

log = logging.getLogger("naq.worker")

ANSWER_TIMEOUT = 1.0
"""Seconds a worker has to answer; one whose loop user code blocks does not."""
HOLDER_TIMEOUT = 0.5
"""Seconds the worker that holds a job has to say so."""
LEAVE_TIMEOUT = 2.0
"""Seconds for saying that a worker is gone."""
MAX_LISTED_JOBS = 100


class WorkerInfo(msgspec.Struct, kw_only=True):
    """One worker.

    ``kind`` is ``worker`` or ``scheduler``; ``status`` is ``idle``, ``busy``, ``paused``,
    ``draining``, ``stuck`` (threads that do not return hold all slots) or ``unresponsive``;
    ``jobs`` the ids of (up to 100 of) the jobs it runs, ``running`` how many those are; ``seen_at``
    and ``started_at`` seconds since the epoch. ``running_of`` and ``waiting_of`` count, by queue,
    the jobs that run and those that wait for a slot; None where a worker of an older release does
    not say.
    """

    id: str
    host: str
    pid: int
    status: str
    queues: list[str]
    concurrency: int
    backend: str
    started_at: float
    seen_at: float
    running: int = 0
    jobs: list[str] = []
    kind: str = "worker"
    running_of: dict[str, int] | None = None
    waiting_of: dict[str, int] | None = None

    def heartbeat_age(self, now: float | None = None) -> float:
        """Seconds since it was last heard of."""
        return max(0.0, (time.time() if now is None else now) - self.seen_at)


class Whereabouts(msgspec.Struct):
    """Where a job runs.

    ``started_at`` is seconds since the epoch, None if it has not started yet; ``attempt`` counts
    from 1 and is 0 until then.
    """

    worker: str
    started_at: float | None
    attempt: int


class WorkerRow(msgspec.Struct, kw_only=True):
    """A worker or scheduler as it is shown, by the command line, the pages and the API alike.

    ``heartbeat_age_s``: seconds since it was last heard of; ``heartbeat_age`` is the same, by an
    older name.
    """

    id: str
    kind: str
    host: str
    pid: int
    status: str
    queues: list[str]
    concurrency: int
    running: int
    waiting: int
    """Jobs that it was given and that wait for a slot."""
    jobs: list[str]
    backend: str
    started_at: float
    heartbeat_age_s: float
    heartbeat_age: float

    @classmethod
    def of(cls, info: WorkerInfo) -> WorkerRow:
        """Return what is shown of a worker or scheduler."""
        said = msgspec.structs.asdict(info)
        fields = {name: said[name] for name in cls.__struct_fields__ if name in said}
        age = round(info.heartbeat_age(), 3)
        waiting = sum((info.waiting_of or {}).values())
        return cls(**fields, waiting=waiting, heartbeat_age_s=age, heartbeat_age=age)


_decode = msgspec.json.Decoder(WorkerInfo).decode


# ------------------------------------------------------------------ being there


class About(Protocol):
    """Says where a job runs, None if it does not run here; stops it if ``stop``."""

    def __call__(self, job_id: str, *, stop: bool) -> Whereabouts | None:
        """Look for a job."""


class Presence:
    """What others see of a worker or scheduler: its name, and what it says of itself."""

    def __init__(self, kind: str, name: str | None, settings: Settings) -> None:
        """Give it a name; nobody is told yet.

        Args:
            kind: ``worker`` or ``scheduler``.
            name: unique, or it gets another one when it starts; None makes one of host, pid and
                chance.
            settings: how often it is announced, and for how long.

        Raises:
            ConfigurationError: the name cannot be used.
        """
        self.id = name or f"{socket.gethostname()}-{os.getpid()}-{new_id()[:4]}"
        check_queue(self.id.replace(".", "-"))
        self._kind = kind
        self._settings = settings
        self._started_at = 0.0
        self._backend = ""

    def info(
        self,
        status: str,
        *,
        concurrency: int,
        running: int,
        queues: Sequence[str] = (),
        jobs: Sequence[str] = (),
        running_of: dict[str, int] | None = None,
        waiting_of: dict[str, int] | None = None,
    ) -> WorkerInfo:
        """Return what it is and does right now.

        Raises:
            ConfigurationError: it has not been started yet.
        """
        if not self._backend:
            raise ConfigurationError(f"{self._kind} {self.id} is not running yet: call run() first")
        return WorkerInfo(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            status=status,
            queues=list(queues),
            concurrency=concurrency,
            backend=self._backend,
            started_at=self._started_at,
            seen_at=time.time(),
            running=running,
            jobs=list(jobs[:MAX_LISTED_JOBS]),
            kind=self._kind,
            running_of=running_of,
            waiting_of=waiting_of,
        )

    @asynccontextmanager
    async def started(
        self, nats_url: str | None, given: Connection | None
    ) -> AsyncIterator[Connection]:
        """Begin to run, with a connection for the length of the block.

        Args:
            nats_url: where to connect to.
            given: a connection that is open already, instead.

        Raises:
            NaqConnectionError: no usable server.
        """
        self._started_at = time.time()
        self._backend = "trio" if on_trio() else "asyncio"
        if given is not None:
            yield given
            return
        name = f"naq {self._kind} {self.id}"
        async with connect(nats_url, settings=self._settings, name=name) as connection:
            yield connection

    @asynccontextmanager
    async def serving(
        self,
        connection: Connection,
        info: Callable[[], WorkerInfo],
        about: About | None = None,
    ) -> AsyncIterator[TaskGroup]:
        """Be announced, and answer who asks, for the length of the block.

        Yields a group for tasks that serve it, too; they are cancelled when all else has ended.

        Args:
            connection: where it is announced.
            info: says what it is and does right now.
            about: says where a job runs; None if it runs no jobs.
        """
        subject = connection.names.control("ping" if about is None else ">")
        answers = _Answers(connection, info, about)
        async with anyio.create_task_group() as services:
            # It can be asked before it takes its name: another one of that name hears it.
            with connection.subscription(subject, answers.on_messages):
                await self._claim(connection, info)
                try:
                    announcing = partial(_keep_announced, connection, info, self._settings)
                    services.start_soon(announcing, name=f"naq {self._kind} presence")
                    yield services
                finally:
                    with anyio.move_on_after(LEAVE_TIMEOUT, shield=True):
                        await _withdraw(connection, self.id)
            services.cancel_scope.cancel()

    async def _claim(self, connection: Connection, info: Callable[[], WorkerInfo]) -> None:
        """Announce it under its name; under another one if somebody of that name is there."""
        ttl, name = self._settings.worker_ttl, self.id
        while not await announce(connection, info(), ttl=ttl, first=True):
            other = await _namesake(connection, info())
            if other is None:  # it was killed, and its key is left
                await announce(connection, info(), ttl=ttl)
                return
            self.id = f"{name[:59]}-{new_id()[:4]}"
            text = "a %s named %s is running already (pid %d on %s): this one is %s"
            log.warning(text, self._kind, name, other.pid, other.host, self.id)


async def announce(
    connection: Connection, info: WorkerInfo, *, ttl: float, first: bool = False
) -> bool:
    """Say that a worker is there, for ``ttl`` seconds.

    Returns whether that was said: not if ``first`` and somebody has that name.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    await ensure_streams(connection)  # the bucket is in memory, and ends with the server
    subject = connection.addressed(connection.names.presence(info.id))
    body, headers = msgspec.json.encode(info), {TTL: str(max(1, int(ttl)))}
    if first:
        return await connection.streams.put_if(subject, body, headers, expected=0) is not None
    await connection.store(subject, body, headers)
    return True


async def _namesake(connection: Connection, mine: WorkerInfo) -> WorkerInfo | None:
    """Return another worker of the same name that is there; not one that was killed."""

    def others(infos: Iterable[WorkerInfo]) -> list[WorkerInfo]:
        return [info for info in infos if info.id == mine.id and not _is_same(info, mine)]

    replies = await connection.gather(
        connection.names.control("ping"),
        timeout=ANSWER_TIMEOUT,
        enough=lambda replies: bool(others(_decode(reply.data) for reply in replies)),
    )
    found = others(_decode(reply.data) for reply in replies)
    if not found:  # it may be unable to answer, blocked by a job
        found = [i for i in others((await announced(connection)).values()) if _is_alive(i, mine)]
    return found[0] if found else None


def _is_same(info: WorkerInfo, mine: WorkerInfo) -> bool:
    return (info.host, info.pid, info.started_at) == (mine.host, mine.pid, mine.started_at)


def _is_alive(info: WorkerInfo, mine: WorkerInfo) -> bool:
    """Whether the process of a worker on this machine, which does not answer, is still there."""
    if info.host != mine.host or info.pid == mine.pid:
        return False
    started = started_at(info.pid)
    return started is not None and started <= info.started_at


async def _keep_announced(
    connection: Connection, info: Callable[[], WorkerInfo], settings: Settings
) -> None:
    """Announce it again, now and then and after each reconnect, until cancelled.

    After a reconnect, because the bucket is in memory: a restarted server has forgotten everyone.
    """
    ttl, interval = settings.worker_ttl, settings.worker_heartbeat_interval
    with watching(connection) as watch:
        while True:
            await watch.sign(within=interval)
            try:
                await announce(connection, info(), ttl=ttl)
            except NaqConnectionError as exc:
                log.warning("cannot announce this worker: %s", exc)


async def _withdraw(connection: Connection, worker_id: str) -> None:
    """Say that a worker is gone; without a link it is forgotten by itself."""
    names = connection.names
    if connection.connected:
        try:
            await connection.streams.purge(names.workers_stream, names.presence(worker_id))
        except NaqConnectionError as exc:
            log.debug("cannot withdraw this worker: %s", exc)


class _Answers:
    """Answers questions that concern this worker; all others are for others."""

    def __init__(
        self, connection: Connection, info: Callable[[], WorkerInfo], about: About | None
    ) -> None:
        self._connection = connection
        self._info = info
        self._about = about

    def on_messages(self, messages: list[Message]) -> None:
        for message in messages:
            _, verb, *target = message.subject.split(".", 2)
            answer: object = None
            if verb == "ping":
                answer = self._info()
            elif self._about is not None and verb in ("where", "cancel") and target:
                answer = self._about(target[0], stop=verb == "cancel")
            if answer is not None and message.reply:
                self._connection.publish(message.reply, msgspec.json.encode(answer))


# ------------------------------------------------------------- who is there


async def list_workers(
    connection: Connection, kind: str = "worker", *, timeout: float = ANSWER_TIMEOUT
) -> list[WorkerInfo]:
    """Return all workers (or schedulers), oldest first, with what they run right now.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    return [info for info in await list_all(connection, timeout=timeout) if info.kind == kind]


async def list_all(connection: Connection, *, timeout: float = ANSWER_TIMEOUT) -> list[WorkerInfo]:
    """Return all workers and schedulers, oldest first, with what they do right now.

    Args:
        connection: to the server.
        timeout: seconds they have to answer.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    await ensure_streams(connection)
    found = await announced(connection)
    if found:
        replies = await connection.gather(
            connection.names.control("ping"), timeout=timeout, enough=_Heard(found)
        )
        live = {info.id: info for info in map(_decode, (reply.data for reply in replies))}
        for worker_id, info in found.items():
            info.status = "unresponsive"
            found[worker_id] = live.pop(worker_id, info)
        found.update(live)
    return sorted(found.values(), key=lambda info: (info.started_at, info.id))


class _Heard:
    """Whether everybody who is announced has answered; looks at each answer once."""

    def __init__(self, expected: Iterable[str]) -> None:
        self._missing = set(expected)
        self._seen = 0

    def __call__(self, replies: list[Message]) -> bool:
        for reply in replies[self._seen :]:
            self._missing.discard(_decode(reply.data).id)
        self._seen = len(replies)
        return not self._missing


def follow_announced(connection: Connection) -> Followed[WorkerInfo]:
    """Return what workers and schedulers announce, for whoever looks again and again."""
    names = connection.names
    return Followed(
        connection.streams,
        names.workers_stream,
        names.presence(">"),
        lambda stored: _decode(stored.data),
    )


async def announced(connection: Connection) -> dict[str, WorkerInfo]:
    """Return what workers and schedulers have last announced, by id; none of them is asked."""
    names = connection.names
    kept = connection.streams.all(names.workers_stream, names.presence(">"))
    infos = [_decode(stored.data) async for stored in kept]
    return {info.id: info for info in infos}


async def where(connection: Connection, job_id: str) -> Whereabouts | None:
    """Return where a job runs, None when no worker holds it."""
    return await _ask(connection, "where", job_id)


async def held_elsewhere(connection: Connection, job_id: str, worker: str) -> str | None:
    """Return a worker other than ``worker`` that holds a job; None if there is none."""

    def others(replies: list[Message]) -> list[str]:
        holders = (msgspec.json.decode(reply.data, type=Whereabouts).worker for reply in replies)
        return [holder for holder in holders if holder != worker]

    replies = await connection.gather(
        connection.names.control("where", job_id),
        timeout=HOLDER_TIMEOUT,
        enough=lambda replies: bool(others(replies)),
    )
    return next(iter(others(replies)), None)


async def cancel(connection: Connection, job_id: str) -> Whereabouts | None:
    """Have the worker that runs a job stop it; None when no worker holds it."""
    return await _ask(connection, "cancel", job_id)


async def _ask(connection: Connection, verb: str, job_id: str) -> Whereabouts | None:
    reply = await connection.ask(connection.names.control(verb, job_id), timeout=HOLDER_TIMEOUT)
    return None if reply is None else msgspec.json.decode(reply.data, type=Whereabouts)
