"""The dashboard's connection to the server, whenever there is one.

The dashboard starts without a server, says so, and carries on once there is one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from naq.base import backoff
from naq.dashboard.data.queries import Queries
from naq.exceptions import NaqConnectionError, NaqException
from naq.jobs.layout import ensure_streams
from naq.nats.connection import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.nats.connection import Connection
    from naq.settings import Settings

__all__ = ["Link"]

log = logging.getLogger("naq.dashboard")


class Link:
    """Keeps a connection, for ever.

    Attributes:
        connection: the connection while there is one; it reconnects by itself.
        queries: what can be asked over it.
        came: set once there has been a connection.
    """

    def __init__(self, nats_url: str | None, settings: Settings) -> None:
        """Describe the server.

        Args:
            nats_url: its address; None looks for one.
            settings: of naq.
        """
        self.connection: Connection | None = None
        self.queries: Queries | None = None
        self.came = trio.Event()
        self._nats_url = nats_url
        self._settings = settings
        self._problem: str | None = "connecting to the server"

    @property
    def problem(self) -> str | None:
        """What is wrong with the link; None if nothing is."""
        if self.connection is not None and not self.connection.connected:
            return f"no connection to {self.connection.url}; reconnecting"
        return self._problem

    async def run(self, changed: Callable[[], None]) -> None:
        """Keep a connection until cancelled; ``changed()`` is called when it comes or goes."""
        attempt = 0
        while True:
            try:
                await self._hold(changed)
            except NaqException as exc:
                self._problem = str(exc)
                log.warning("no server: %s", exc)
            changed()
            await trio.sleep(backoff.exponential(attempt, initial=0.25, maximum=2.0, jitter=0.3))
            attempt += 1

    async def _hold(self, changed: Callable[[], None]) -> None:
        name = "naq dashboard"
        async with connect(self._nats_url, settings=self._settings, name=name) as connection:
            await ensure_streams(connection)
            with connection.link_listener(lambda _: changed()):
                self.connection, self.queries = connection, Queries(connection)
                self._problem = None
                self.came.set()
                changed()
                try:
                    await trio.sleep_forever()
                finally:
                    self.connection = self.queries = None

    def here(self) -> tuple[Connection, Queries]:
        """Return the connection and what can be asked over it.

        Raises:
            NaqConnectionError: there is no connection at the moment.
        """
        if self.problem is not None or self.connection is None or self.queries is None:
            raise NaqConnectionError(self.problem or "there is no server")
        return self.connection, self.queries
