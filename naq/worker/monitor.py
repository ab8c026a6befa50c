"""What a worker or scheduler tells whoever watches it over HTTP: /healthz, /readyz, /metrics.

Only that: a stranger who can connect learns names and numbers, and can change nothing. It runs
beside what it tells of and not in it, so that it answers before there is a server and after.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio

from naq.base.text import address
from naq.exceptions import ConfigurationError, EnvironmentProblemError
from naq.queue.metrics import CONTENT_TYPE, build_info, counter, gauge, jobs, process, text
from naq.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.abc import SocketStream, TaskStatus
    from prometheus_client.core import Metric

    from naq.schedules.scheduler import Scheduler

    Watched = Worker | Scheduler

__all__ = ["serve_monitor"]

log = logging.getLogger("naq.monitor")

MAX_REQUEST = 8192
PATIENCE = 5.0
"""Seconds for a request and its answer."""
MAX_CLIENTS = 16
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


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

    async def talk(stream: SocketStream) -> None:
        async with stream:
            with suppress(*_GONE), anyio.move_on_after(PATIENCE):
                async with clients:
                    await stream.send(_answer(await _request_line(stream), watched))

    async with listener:
        found = int(listener.extra(anyio.abc.SocketAttribute.local_port))  # noqa: S610 - AnyIO's
        log.info("metrics and health at http://%s:%d/metrics", host, found)
        task_status.started(found)
        await listener.serve(talk)


async def _request_line(stream: SocketStream) -> bytes:
    """Read a request to its end, up to a limit, and return its first line."""
    request = b""
    while b"\r\n\r\n" not in request and len(request) < MAX_REQUEST:
        request += await stream.receive(MAX_REQUEST)
    return request.partition(b"\r\n")[0]


def _answer(line: bytes, watched: Watched) -> bytes:
    words = line.split()
    if len(words) != 3:
        return _response(HTTPStatus.BAD_REQUEST, "that is no HTTP request\n")
    if words[0] not in {b"GET", b"HEAD"}:
        return _response(HTTPStatus.METHOD_NOT_ALLOWED, "GET it\n", "Allow: GET, HEAD\r\n")
    try:
        status, body = _page(words[1].partition(b"?")[0], watched)
    except Exception:
        log.exception("cannot answer %r", line)
        status, body = HTTPStatus.INTERNAL_SERVER_ERROR, "see the log\n"
    response = _response(status, body)
    return response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if words[0] == b"HEAD" else response


def _page(path: bytes, watched: Watched) -> tuple[HTTPStatus, str]:
    match path:
        case b"/healthz":
            return HTTPStatus.OK, "ok\n"
        case b"/readyz":
            reason = watched.unready()
            if reason is None:
                return HTTPStatus.OK, "ok\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n"
        case b"/metrics":
            own = _of_worker(watched) if isinstance(watched, Worker) else _of_scheduler(watched)
            return HTTPStatus.OK, text([build_info(), *own, *process()])
    return HTTPStatus.NOT_FOUND, "there are /healthz, /readyz and /metrics\n"


def _response(status: HTTPStatus, body: str, more: str = "") -> bytes:
    content = body.encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(content)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + content


def _of_worker(worker: Worker) -> Iterator[Metric]:
    yield from _state("worker", worker)
    yield gauge("naq_worker_running", "Jobs it holds.", [], [([], worker.running)])
    yield gauge("naq_worker_slots", "Jobs it can run at once.", [], [([], worker.concurrency)])
    yield gauge("naq_worker_paused", "1 if it takes no jobs for now.", [], [([], worker.paused)])
    yield from jobs("naq_worker_", worker.tally.counts())


def _of_scheduler(scheduler: Scheduler) -> Iterator[Metric]:
    yield from _state("scheduler", scheduler)
    info = scheduler.info()
    yield gauge("naq_scheduler_running", "Ticks in hand.", [], [([], info.running)])
    yield counter("naq_scheduler_ticks", "Ticks handled.", [], [([], scheduler.ticks)])


def _state(kind: str, watched: Watched) -> Iterator[Metric]:
    ready = watched.unready() is None
    yield gauge(f"naq_{kind}_ready", "1 if it takes what comes.", [], [([], ready)])
    help_ = "1 if it has a link to the server."
    yield gauge(f"naq_{kind}_connected", help_, [], [([], watched.connected)])
