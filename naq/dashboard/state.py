"""What all requests share: the link, the supervisor, who may enter, and answers still fresh."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from naq.dashboard.data.metrics import Metrics
from naq.dashboard.data.model import MinuteRow
from naq.exceptions import NaqConnectionError
from naq.queue.numbers.counters import last_hour

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.dashboard.auth import Auth
    from naq.dashboard.data.link import Link
    from naq.dashboard.data.queries import Queries
    from naq.dashboard.data.services import Services

__all__ = ["Changes", "State"]

T = TypeVar("T")

SILENCE = object()
"""Stands for an answer that did not come."""

FRESH = 0.4
"""Seconds for which an answer serves everybody: twenty open pages ask once."""
PATIENCE = 5.0
"""Seconds to wait for an answer before the page is shown without it."""


class Changes:
    """A bell that anyone may ring when something has changed, and that one task waits for.

    Attributes:
        seen_at: when the last change was taken note of (monotonic); an older answer may be out of
            date.
    """

    def __init__(self) -> None:
        self.seen_at = 0.0
        self._bell = trio.Event()

    def ring(self) -> None:
        """Say that something has changed, or may have."""
        self._bell.set()

    async def wait(self) -> None:
        """Wait until something has changed since :meth:`take`."""
        await self._bell.wait()

    def take(self) -> None:
        """Take note of all changes so far."""
        self._bell = trio.Event()
        self.seen_at = time.monotonic()


class State:
    """One dashboard.

    Attributes:
        link: the connection to the server.
        services: the supervisor of this project.
        metrics: everything in numbers.
        auth: who may enter.
        readonly: nobody may act.
        project: the project's name, for people.
        changes: rung when something has changed; open pages are updated then.
    """

    def __init__(
        self, link: Link, services: Services, auth: Auth, *, readonly: bool, project: str
    ) -> None:
        self.link = link
        self.services = services
        self.metrics = Metrics(link, services)
        self.auth = auth
        self.readonly = readonly
        self.project = project
        self.changes = Changes()
        self._answers: dict[str, tuple[float, Any]] = {}
        self._asking: dict[str, trio.Lock] = {}

    async def cached(self, name: str, ask: Callable[[Queries], Awaitable[T]]) -> T:
        """Return a fresh answer to a question that is never asked twice at the same time.

        Args:
            name: identifies the question.
            ask: asks it.

        Raises:
            NaqConnectionError: the server cannot be reached, or does not answer in time.
        """
        async with self._asking.setdefault(name, trio.Lock()):
            at, answer = self._answers.get(name, (float("-inf"), None))
            if at > self.changes.seen_at and time.monotonic() - at < FRESH:
                if answer is SILENCE:  # or everyone in line would wait as long again
                    raise NaqConnectionError("the server does not answer")
                known: T = answer
                return known
            _, queries = self.link.here()
            began = time.monotonic()  # the answer may miss what happens from here on
            with trio.move_on_after(PATIENCE):
                found = await ask(queries)
                self._answers[name] = (began, found)
                return found
            self._answers[name] = (time.monotonic(), SILENCE)
        raise NaqConnectionError("the server does not answer")

    async def minutes(self, queue: str | None = None) -> list[MinuteRow]:
        """Return the last hour, minute by minute, oldest first; of all queues or one."""

        async def ask(_: Queries) -> list[MinuteRow]:
            connection, _queries = self.link.here()
            return [MinuteRow.of(minute) for minute in await last_hour(connection, queue)]

        return await self.cached(f"minutes:{queue or ''}", ask)
