"""The connection of the dashboard, for as long as there is one.

The dashboard comes up without a server, says so, and goes on when there is one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from naq.base import backoff as _backoff
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
    """Connects, for ever.

    Attributes:
        connection: the connection, once there was one; it reconnects by itself.
        queries: what can be asked over it.
    """

    def __init__(
        self, nats_url: str | None, settings: Settings, *, changed: Callable[[], None]
    ) -> None:
        """Describe the server.

        Args:
            nats_url: where it is; None: as found.
            settings: of naq.
            changed: called when the link comes or goes.
        """
        self.connection: Connection | None = None
        self.queries: Queries | None = None
        self._nats_url = nats_url
        self._settings = settings
        self._changed = changed
        self._problem: str | None = "connecting to the server"
        self.came = trio.Event()

    @property
    def problem(self) -> str | None:
        """What is wrong with the link, None if nothing is."""
        if self.connection is not None and not self.connection.connected:
            return f"there is no link to {self.connection.url}; reconnecting"
        return self._problem

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        attempt = 0
        while True:
            try:
                await self._hold()
            except NaqException as exc:
                self._problem = str(exc)
                log.warning("no server: %s", exc)
            self._changed()
            await trio.sleep(_backoff.exponential(attempt, initial=0.25, maximum=2.0, jitter=0.3))
            attempt += 1

    async def _hold(self) -> None:
        name = "naq dashboard"
        async with connect(self._nats_url, settings=self._settings, name=name) as connection:
            await ensure_streams(connection)
            with connection.link_listener(lambda _: self._changed()):
                self.connection, self.queries = connection, Queries(connection)
                self._problem = None
                self.came.set()
                self._changed()
                try:
                    await trio.sleep_forever()
                finally:
                    self.connection = self.queries = None

    def here(self) -> tuple[Connection, Queries]:
        """Return the connection and what can be asked over it.

        Raises:
            NaqConnectionError: there is none at this moment.
        """
        if self.problem is not None or self.connection is None or self.queries is None:
            raise NaqConnectionError(self.problem or "there is no server")
        return self.connection, self.queries
