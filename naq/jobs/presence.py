"""Which workers there are, and what they do: announced to live, asked for to be true.

Each worker keeps a key in the bucket ``naq_workers``, with a time to live, so one that was killed
disappears by itself. What a worker runs changes thousands of times a second and is not stored:
whoever wants a list asks all workers (``naqctl.ping``) and fills in those that answer; one that is
announced but silent is shown as ``unresponsive``.

Questions and commands to workers, by core messages: nothing of it is stored.

``naqctl.where.<job>`` the worker that holds the job answers; ``naqctl.cancel.<job>`` it stops it;
``naqctl.ping`` every worker says what it does. A job that nobody answers for is not running.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import msgspec

from naq.exceptions import NaqConnectionError
from naq.jobs.layout import ensure_streams
from naq.nats.jetstream import TTL
from naq.nats.streams import Followed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anyio.abc import TaskStatus

    from naq.nats.connection import Connection, Message
    from naq.settings import Settings
    from naq.worker.decide import Run

__all__ = [
    "ANSWER_TIMEOUT",
    "Control",
    "Whereabouts",
    "WorkerInfo",
    "announce",
    "announced",
    "cancel",
    "keep_announced",
    "list_all",
    "list_workers",
    "where",
    "withdraw",
]

log = logging.getLogger("naq.worker")

ANSWER_TIMEOUT = 1.0
"""Seconds a worker has to answer; one whose loop user code blocks does not."""

MAX_LISTED_JOBS = 100


class WorkerInfo(msgspec.Struct, kw_only=True):
    """One worker.

    ``kind`` is ``worker`` or ``scheduler``; ``status`` is ``idle``, ``busy``, ``paused``,
    ``draining`` or ``unresponsive``; ``jobs`` the ids of (up to 100 of) the jobs it runs,
    ``running`` how many those are; ``seen_at`` and ``started_at`` seconds since the epoch.
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

    def heartbeat_age(self, now: float | None = None) -> float:
        """Seconds since it was last heard of."""
        return max(0.0, (time.time() if now is None else now) - self.seen_at)


_decode = msgspec.json.Decoder(WorkerInfo).decode


async def announce(connection: Connection, info: WorkerInfo, *, ttl: float) -> None:
    """Say that a worker is there, for ``ttl`` seconds.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    await ensure_streams(connection)  # the bucket is in memory, and ends with the server
    subject = connection.names.presence(info.id)
    await connection.store(subject, msgspec.json.encode(info), {TTL: str(max(1, int(ttl)))})


async def keep_announced(
    connection: Connection,
    info: Callable[[], WorkerInfo],
    settings: Settings,
    *,
    task_status: TaskStatus[None],
) -> None:
    """Announce a worker or scheduler, now and then and after each reconnect, until cancelled.

    After a reconnect, because the bucket is in memory: a restarted server has forgotten everyone.
    """
    ttl, interval = settings.worker_ttl, settings.worker_heartbeat_interval
    back = anyio.Event()

    def on_link(up: bool) -> None:
        if up:
            back.set()

    await announce(connection, info(), ttl=ttl)
    task_status.started()
    with connection.link_listener(on_link):
        while True:
            with anyio.move_on_after(interval):
                await back.wait()
            back = anyio.Event()
            try:
                await announce(connection, info(), ttl=ttl)
            except NaqConnectionError as exc:
                log.warning("cannot announce this worker: %s", exc)


async def withdraw(connection: Connection, worker_id: str) -> None:
    """Say that a worker is gone; without a link it is forgotten by itself."""
    names = connection.names
    if connection.connected:
        try:
            await connection.streams.purge(names.workers_stream, names.presence(worker_id))
        except NaqConnectionError as exc:
            log.debug("cannot withdraw this worker: %s", exc)


async def list_workers(connection: Connection, kind: str = "worker") -> list[WorkerInfo]:
    """Return all workers (or schedulers), oldest first, with what they run right now.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    return [info for info in await list_all(connection) if info.kind == kind]


async def list_all(connection: Connection) -> list[WorkerInfo]:
    """Return all workers and schedulers, oldest first, with what they do right now.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    await ensure_streams(connection)
    found = await announced(connection)
    if found:
        replies = await connection.gather(
            connection.names.control("ping"), timeout=ANSWER_TIMEOUT, enough=_Heard(found)
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
    """Return what workers and schedulers have last announced of themselves, by id; asks none."""
    names = connection.names
    kept = connection.streams.all(names.workers_stream, names.presence(">"))
    infos = [_decode(stored.data) async for stored in kept]
    return {info.id: info for info in infos}


HOLDER_TIMEOUT = 0.5
"""Seconds the worker that holds a job has to say so."""


class Whereabouts(msgspec.Struct):
    """Where a job runs: the worker, since when (seconds since the epoch), and at which attempt."""

    worker: str
    started_at: float | None
    attempt: int


class _Holding(Protocol):
    run: Run | None
    scope: anyio.CancelScope | None
    cancelled: bool
    concluded: bool
    started_at: float | None


class _Holder(Protocol):
    id: str

    def held(self, job_id: str) -> Any:
        """Return a job it holds."""

    def info(self) -> WorkerInfo:
        """Return what it does."""


class Control:
    """A worker's ear."""

    def __init__(self, worker: _Holder, connection: Connection) -> None:
        self._worker = worker
        self._connection = connection

    def on_messages(self, messages: list[Message]) -> None:
        """Answer what concerns this worker; everything else is for others."""
        for message in messages:
            _, verb, *target = message.subject.split(".", 2)
            answer: object = None
            if verb == "ping":
                answer = self._worker.info()
            elif verb in ("where", "cancel") and target:
                answer = self._about(target[0], stop=verb == "cancel")
            if answer is not None and message.reply:
                self._connection.publish(message.reply, msgspec.json.encode(answer))

    def _about(self, job_id: str, *, stop: bool) -> Whereabouts | None:
        held: _Holding | None = self._worker.held(job_id)
        if held is None:
            return None
        if stop:
            if held.concluded:
                return None  # too late: it has come to its end
            held.cancelled = True
            if held.scope is not None:
                held.scope.cancel()
        attempt = held.run.attempt if held.run else 0
        return Whereabouts(self._worker.id, held.started_at, attempt)


async def where(connection: Connection, job_id: str) -> Whereabouts | None:
    """Return where a job runs, None when no worker holds it."""
    return await _ask(connection, "where", job_id)


async def cancel(connection: Connection, job_id: str) -> Whereabouts | None:
    """Have the worker that runs a job stop it; None when no worker holds it."""
    return await _ask(connection, "cancel", job_id)


async def _ask(connection: Connection, verb: str, job_id: str) -> Whereabouts | None:
    reply = await connection.ask(connection.names.control(verb, job_id), timeout=HOLDER_TIMEOUT)
    return None if reply is None else msgspec.json.decode(reply.data, type=Whereabouts)
