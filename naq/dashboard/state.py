"""What all requests share: the link, the supervisor, who may, and answers that are still fresh."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from naq.dashboard.data.metrics import Metrics
from naq.dashboard.data.model import MinuteRow
from naq.exceptions import NaqConnectionError
from naq.queue.counters import last_hour

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.dashboard.auth import Auth
    from naq.dashboard.data.link import Link
    from naq.dashboard.data.queries import Queries
    from naq.dashboard.data.services import Services
    from naq.dashboard.pages.live import Hub

__all__ = ["State"]

T = TypeVar("T")

SILENCE = object()
"""An answer that did not come."""

FRESH = 0.4
"""Seconds an answer is good for everybody: twenty open pages ask once."""
PATIENCE = 5.0
"""Seconds an answer may take before the page is shown without."""


class State:
    """One dashboard.

    Attributes:
        link: the server.
        services: the supervisor of this project.
        metrics: everything in numbers.
        auth: who may.
        readonly: nobody may act.
        project: for people.
        hub: open pages.
    """

    hub: Hub

    def __init__(
        self, link: Link, services: Services, auth: Auth, *, readonly: bool, project: str
    ) -> None:
        self.link = link
        self.services = services
        self.metrics = Metrics(link, services)
        self.auth = auth
        self.readonly = readonly
        self.project = project
        self._answers: dict[str, tuple[float, Any]] = {}
        self._asking: dict[str, trio.Lock] = {}

    async def cached(self, name: str, ask: Callable[[Queries], Awaitable[T]]) -> T:
        """Return an answer that is fresh, asking at most once at a time.

        Args:
            name: of the question.
            ask: asks it.

        Raises:
            NaqConnectionError: the server cannot be reached, or does not answer in time.
        """
        async with self._asking.setdefault(name, trio.Lock()):
            at, answer = self._answers.get(name, (float("-inf"), None))
            if at > self.hub.looked_at and time.monotonic() - at < FRESH:
                if answer is SILENCE:  # or those who wait would each wait as long again
                    raise NaqConnectionError("the server does not answer")
                known: T = answer
                return known
            _, queries = self.link.here()
            began = time.monotonic()  # what happens while it is answered may not be in it
            with trio.move_on_after(PATIENCE):
                found = await ask(queries)
                self._answers[name] = (began, found)
                return found
            self._answers[name] = (time.monotonic(), SILENCE)
        raise NaqConnectionError("the server does not answer")

    async def minutes(self, queue: str | None = None) -> list[Any]:
        """Return the last hour, minute by minute, oldest first."""

        async def ask(_: Queries) -> list[Any]:
            connection, _queries = self.link.here()
            return [MinuteRow.of(minute) for minute in await last_hour(connection, queue)]

        return await self.cached(f"minutes:{queue or ''}", ask)
