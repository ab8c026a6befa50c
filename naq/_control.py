"""Questions and commands to workers, by core messages: nothing of it is stored.

``naqctl.where.<job>`` the worker that holds the job answers; ``naqctl.cancel.<job>`` it stops it;
``naqctl.ping`` every worker says what it does. A job that nobody answers for is not running.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    import anyio

    from naq._decide import Run
    from naq.connection import Connection, Message
    from naq.presence import WorkerInfo

__all__ = ["ANSWER_TIMEOUT", "Control", "Whereabouts", "cancel", "where"]

log = logging.getLogger("naq.worker")

ANSWER_TIMEOUT = 0.5
"""Seconds the worker that holds a job has to say so."""


class Whereabouts(msgspec.Struct):
    """Where a job runs: the worker, since when (seconds since the epoch), the how manieth time."""

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
    reply = await connection.ask(connection.names.control(verb, job_id), timeout=ANSWER_TIMEOUT)
    return None if reply is None else msgspec.json.decode(reply.data, type=Whereabouts)
