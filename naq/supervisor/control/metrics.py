"""The project as numbers that Prometheus collects: ``metrics`` in ``[control]``.

Over HTTP and not over the control socket, because that is how collectors ask; and nothing else is
served there: a stranger who can connect learns names and numbers, and can change nothing.

prometheus-client and h11 are imported on first use, and in a thread where numbers are served: most
projects need neither, and the loop has to supervise meanwhile.
"""

from __future__ import annotations

import os
from contextlib import suppress
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any

import trio

from naq.base.text import address
from naq.supervisor.process.system import usage
from naq.supervisor.project.events import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.board import Board

__all__ = ["exposition", "serve_metrics"]

PATIENCE = 5.0
"""Seconds for a request and its answer."""
MAX_CLIENTS = 16
_CHUNK = 4096

_NUMBERS: Sequence[tuple[str, str, str, Callable[[Mapping[str, Any]], float | None]]] = (
    # name, kind, help, value of a row of `naq ps`
    ("naq_replica_ready", "gauge", "1 if it is as it should be.", lambda r: r["ready"]),
    ("naq_replica_wanted", "gauge", "1 if it is meant to run.", lambda r: r["want"] == "UP"),
    ("naq_replica_paused", "gauge", "1 if it takes nothing new.", lambda r: r["paused"]),
    ("naq_replica_restarts", "counter", "Runs after the first.", lambda r: r["restarts"]),
    ("naq_replica_uptime_seconds", "gauge", "Age of its run.", lambda r: r["uptime_s"]),
    ("naq_replica_resident_bytes", "gauge", "Of its own process.", lambda r: r["rss_bytes"]),
    ("naq_replica_cpu_seconds", "counter", "Of its own process.", lambda r: r["cpu_s"]),
)


def exposition(project: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the text that Prometheus reads. Pure but for this process's own usage.

    Args:
        project: its name, a label of everything.
        rows: as of ``naq ps --json``.
    """
    from naq.base.exposition import counter, gauge, text  # noqa: PLC0415 - see the head of the file

    labels = ["project", "service", "replica"]
    replicas = [([project, row["service"], str(row["replica"])], row) for row in rows]
    states = [([*values, row["state"]], 1) for values, row in replicas]
    found = [gauge("naq_replica_state", "1 for the state it is in.", [*labels, "state"], states)]
    for name, kind, help_, value_of in _NUMBERS:
        samples = [(values, value_of(row)) for values, row in replicas]
        known = [(values, value) for values, value in samples if value is not None]
        found.append((gauge if kind == "gauge" else counter)(name, help_, labels, known))
    used = usage(os.getpid())
    if used is not None:
        memory, cpu = ([project], used.rss_bytes), ([project], used.cpu_s)
        found += [
            gauge("naq_supervisor_resident_bytes", "Of `naq up`.", ["project"], [memory]),
            counter("naq_supervisor_cpu_seconds", "Of `naq up`.", ["project"], [cpu]),
        ]
    return text(found)


async def serve_metrics(topology: Topology, board: Board, warn: Callable[[str], None]) -> None:
    """Answer ``GET /metrics`` where the topology says, until cancelled.

    Args:
        topology: return at once if it names no place.
        board: the state of everything.
        warn: told if it cannot listen: then there are no metrics, and all else goes on.
    """
    if topology.metrics is None:
        return
    host, port = address(topology.metrics)
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as exc:
        warn(f"metrics: cannot listen on {topology.metrics}: {exc.strerror or exc}")
        return
    for name in ("naq.base.exposition", "naq.base.http"):
        await trio.to_thread.run_sync(import_module, name)

    def numbers() -> str:
        return exposition(topology.name, describe(board, trio.current_time()))

    clients = trio.CapacityLimiter(MAX_CLIENTS)

    async def talk(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, EOFError):  # it has gone: its loss
            async with clients, stream:
                with trio.move_on_after(PATIENCE):
                    await _answer(stream, numbers)

    await trio.serve_listeners(talk, listeners)


async def _answer(stream: trio.SocketStream, numbers: Callable[[], str]) -> None:
    from naq.base.exposition import CONTENT_TYPE  # noqa: PLC0415
    from naq.base.http import Page, ServerExchange  # noqa: PLC0415

    def page_at(path: str) -> Page:
        if path == "/metrics":
            return Page(HTTPStatus.OK, numbers(), CONTENT_TYPE)
        return Page(HTTPStatus.NOT_FOUND, "there is /metrics\n")

    exchange = ServerExchange()
    while not exchange.receive(await stream.receive_some(_CHUNK)):
        pass
    await stream.send_all(exchange.answer(page_at))
