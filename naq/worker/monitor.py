"""What a worker or scheduler tells whoever watches it over HTTP: /healthz, /readyz, /metrics.

Only that: a stranger who can connect learns names and numbers, and can change nothing. It runs
beside the worker and not in it, so that it answers before there is a server and after.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
import anyio.abc

from naq.base.exposition import CONTENT_TYPE, build_info, counter, gauge, process, text
from naq.base.http import Page, ServerExchange
from naq.base.text import address
from naq.exceptions import ConfigurationError, EnvironmentProblemError
from naq.queue.numbers.metrics import jobs
from naq.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anyio.abc import SocketStream, TaskStatus
    from prometheus_client.core import Metric

    from naq.schedules.scheduler import Scheduler

    Watched = Worker | Scheduler

__all__ = ["serve_monitor"]

log = logging.getLogger("naq.monitor")

PATIENCE = 5.0
"""Seconds for a request and its answer."""
MAX_CLIENTS = 16


async def serve_monitor(  # noqa: ASYNC114
    where: str, watched: Watched, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Answer at ``where`` (see :func:`address`) until cancelled; ready with the port.

    Raises:
        ConfigurationError: ``where`` is no address.
        EnvironmentProblemError: it cannot listen there.
    """
    try:
        host, port = address(where)
    except ValueError as exc:
        raise ConfigurationError(str(exc)) from exc
    try:
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    except OSError as exc:
        # asyncio's own text repeats the address; the error number says it for both loops.
        raise EnvironmentProblemError(
            f"metrics: cannot listen on {where}: {exc.strerror or exc}; give another port"
        ) from exc
    clients = anyio.CapacityLimiter(MAX_CLIENTS)

    def page_at(path: str) -> Page:
        return _page(path, watched)

    async def talk(stream: SocketStream) -> None:
        gone = (anyio.BrokenResourceError, anyio.ClosedResourceError, EOFError)
        async with stream:
            with suppress(*gone), anyio.move_on_after(PATIENCE):
                async with clients:
                    await _answer(stream, page_at)

    async with listener:
        found = int(listener.extra(anyio.abc.SocketAttribute.local_port))  # noqa: S610 - AnyIO's
        log.info("metrics and health at http://%s:%d/metrics", host, found)
        task_status.started(found)
        await listener.serve(talk)


async def _answer(stream: SocketStream, page_at: Callable[[str], Page]) -> None:
    exchange = ServerExchange()
    due = False
    while not due:
        try:
            data = await stream.receive()
        except anyio.EndOfStream:
            data = b""
        due = exchange.receive(data)
    await stream.send(exchange.answer(page_at))


def _page(path: str, watched: Watched) -> Page:
    match path:
        case "/healthz":
            return Page(HTTPStatus.OK, "ok\n")
        case "/readyz":
            reason = watched.unready()
            if reason is None:
                return Page(HTTPStatus.OK, "ok\n")
            return Page(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n")
        case "/metrics":
            try:
                return Page(HTTPStatus.OK, _numbers(watched), CONTENT_TYPE)
            except Exception:
                log.exception("cannot collect the metrics")
                return Page(HTTPStatus.INTERNAL_SERVER_ERROR, "see the log\n")
    return Page(HTTPStatus.NOT_FOUND, "there are /healthz, /readyz and /metrics\n")


def _numbers(watched: Watched) -> str:
    own = _of_worker(watched) if isinstance(watched, Worker) else _of_scheduler(watched)
    return text([build_info(), *own, *process()])


def _of_worker(worker: Worker) -> Iterator[Metric]:
    yield from _state("worker", worker)
    yield gauge("naq_worker_running", "Jobs it holds.", [], [([], worker.running)])
    yield gauge("naq_worker_slots", "Jobs it can run at once.", [], [([], worker.concurrency)])
    yield gauge("naq_worker_paused", "1 if it takes no jobs for now.", [], [([], worker.paused)])
    yield from jobs("naq_worker_", worker.tally.counts())


def _of_scheduler(scheduler: Scheduler) -> Iterator[Metric]:
    yield from _state("scheduler", scheduler)
    yield gauge("naq_scheduler_running", "Ticks in hand.", [], [([], scheduler.running)])
    yield counter("naq_scheduler_ticks", "Ticks handled.", [], [([], scheduler.ticks)])


def _state(kind: str, watched: Watched) -> Iterator[Metric]:
    ready = watched.unready() is None
    yield gauge(f"naq_{kind}_ready", "1 if it takes what comes.", [], [([], ready)])
    help_ = "1 if it has a link to the server."
    yield gauge(f"naq_{kind}_connected", help_, [], [([], watched.connected)])
