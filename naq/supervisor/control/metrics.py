"""What is the case, as numbers that Prometheus collects: ``metrics`` in ``[control]``.

Over HTTP and not over the control socket, because that is how collectors ask; and only this: a
stranger who can connect learns names and numbers, and can change nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from naq.supervisor.process.system import usage
from naq.supervisor.project.events import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.board import Board

__all__ = ["exposition", "serve_metrics"]

_MAX_REQUEST = 8192
_PATIENCE = 5.0  # seconds for a request and its answer
_MAX_CLIENTS = 16

# (name, type, help, value of a row of `naq ps`)
_PER_REPLICA: Sequence[tuple[str, str, str, Callable[[Mapping[str, Any]], float | None]]] = (
    ("naq_replica_ready", "gauge", "1 if it is as it should be.", lambda r: r["ready"]),
    ("naq_replica_wanted", "gauge", "1 if it is meant to run.", lambda r: r["want"] == "UP"),
    ("naq_replica_paused", "gauge", "1 if it takes nothing new.", lambda r: r["paused"]),
    ("naq_replica_restarts_total", "counter", "Runs after the first.", lambda r: r["restarts"]),
    ("naq_replica_uptime_seconds", "gauge", "Age of its run.", lambda r: r["uptime_s"]),
    ("naq_replica_resident_bytes", "gauge", "Of its own process.", lambda r: r["rss_bytes"]),
    ("naq_replica_cpu_seconds_total", "counter", "Of its own process.", lambda r: r["cpu_s"]),
)


def exposition(project: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the text that Prometheus reads. Pure but for this process's own usage.

    Args:
        project: its name, a label of everything.
        rows: as of ``naq ps --json``. Names and states need no escapes: they are words.
    """
    rows = list(rows)
    return "\n".join([*_replicas(project, rows), *_supervisor(project), ""])


def _replicas(project: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    labels = [
        f'project="{project}",service="{row["service"]}",replica="{row["replica"]}"' for row in rows
    ]
    yield from _head("naq_replica_state", "gauge", "1 for the state it is in.")
    for label, row in zip(labels, rows, strict=True):
        yield f'naq_replica_state{{{label},state="{row["state"]}"}} 1'
    for name, type_, text, value_of in _PER_REPLICA:
        yield from _head(name, type_, text)
        for label, row in zip(labels, rows, strict=True):
            if (value := value_of(row)) is not None:
                yield f"{name}{{{label}}} {value + 0}"  # a boolean is 0 or 1


def _supervisor(project: str) -> Iterator[str]:
    used = usage(os.getpid())
    if used is None:
        return
    for name, type_, text, value in (
        ("naq_supervisor_resident_bytes", "gauge", "Of `naq up`.", used.rss_bytes),
        ("naq_supervisor_cpu_seconds_total", "counter", "Of `naq up`.", used.cpu_s),
    ):
        yield from _head(name, type_, text)
        yield f'{name}{{project="{project}"}} {value}'


def _head(name: str, type_: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {type_}"


async def serve_metrics(topology: Topology, board: Board, warn: Callable[[str], None]) -> None:
    """Answer ``GET /metrics`` where the topology says, until cancelled.

    Args:
        topology: return at once if it names no place.
        board: what is the case.
        warn: told if it cannot listen: then there are no metrics, and all else goes on.
    """
    if topology.metrics is None:
        return
    host, _, port = topology.metrics.rpartition(":")
    try:
        listeners = await trio.open_tcp_listeners(int(port), host=host.strip("[]"))
    except OSError as exc:
        warn(f"metrics: cannot listen on {topology.metrics}: {exc.strerror or exc}")
        return

    def text() -> str:
        return exposition(topology.name, describe(board, trio.current_time()))

    clients = trio.CapacityLimiter(_MAX_CLIENTS)

    async def talk(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # it has gone: its loss
            async with clients, stream:
                with trio.move_on_after(_PATIENCE):
                    await stream.send_all(_response(await _request_line(stream), text))

    await trio.serve_listeners(talk, listeners)


async def _request_line(stream: trio.SocketStream) -> bytes:
    """Read a request to its end, up to a limit, and return its first line."""
    request = b""
    while b"\r\n\r\n" not in request and len(request) < _MAX_REQUEST:
        chunk = await stream.receive_some(_MAX_REQUEST)
        if not chunk:
            break
        request += chunk
    return request.partition(b"\r\n")[0]


def _response(line: bytes, text: Callable[[], str]) -> bytes:
    words = line.split()
    known = len(words) == 3 and words[1].partition(b"?")[0] == b"/metrics"
    if not known:
        status, body = "404 Not Found", "there is /metrics\n"
    elif words[0] not in (b"GET", b"HEAD"):
        status, body = "405 Method Not Allowed", "GET it\n"
    else:
        status, body = "200 OK", text()
    content = body.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    ).encode()
    return head if words[:1] == [b"HEAD"] else head + content
