"""``/metrics``: the numbers of the queues and of the supervisor's services, as one text.

There is an answer whatever is missing: ``naq_up`` says whether the server could be asked, and
everything that can be known without it is there. An error would hide both.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from naq.base.exposition import build_info, gauge, process, text
from naq.exceptions import NaqException
from naq.queue.numbers.metrics import QueueMetrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from naq.dashboard.data.link import Link
    from naq.dashboard.data.services import Services
    from naq.nats.connection import Connection

__all__ = ["Metrics"]

log = logging.getLogger("naq.dashboard")

FRESH = 1.0
"""Seconds for which an answer serves every collector."""
PATIENCE = 5.0
"""Seconds the server has to answer; half of what Prometheus waits by default."""


class Metrics:
    """Collects once at a time: whoever asks meanwhile gets the same answer."""

    def __init__(self, link: Link, services: Services) -> None:
        self._link = link
        self._services = services
        self._queue: tuple[Connection, QueueMetrics] | None = None
        self._collecting = trio.Lock()
        self._text = ""
        self._at = float("-inf")

    async def text(self) -> str:
        """Return everything in Prometheus' text format."""
        async with self._collecting:
            if trio.current_time() - self._at >= FRESH:
                self._text = await self._collect()
                self._at = trio.current_time()
            return self._text

    async def _collect(self) -> str:
        services: list[str] = []

        async def ask_supervisor() -> None:
            services.append(await self._of_services())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_supervisor)
            found = await self._of_server()
        help_ = "1 if the server could be asked; if not, numbers of queues are missing."
        up = gauge("naq_up", help_, [], [([], found is not None)])
        return text([build_info(), up, *(found or []), *process()]) + "".join(services)

    async def _of_server(self) -> list[Metric] | None:
        """Return the numbers of the queues; None if there is no answer."""
        try:
            connection, _ = self._link.here()
            if self._queue is None or self._queue[0] is not connection:
                self._queue = connection, QueueMetrics(connection)
            with trio.move_on_after(PATIENCE):
                return await self._queue[1].collect()
        except NaqException as exc:
            log.debug("metrics: %s", exc)
        else:
            log.warning("metrics: the server does not answer in %g s", PATIENCE)
        return None

    async def _of_services(self) -> str:
        """Return the metrics of the supervisor itself; nothing if none runs here."""
        try:
            return str(await self._services.ask("metrics"))
        except NaqException:
            return ""
