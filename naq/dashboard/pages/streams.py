"""Responses that do not end by themselves: changes of a page, lines of a service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Self

import trio

from naq.exceptions import NaqException

if TYPE_CHECKING:
    from typing import Any

    from naq.dashboard.data.services import Services
    from naq.dashboard.pages.live import Hub

__all__ = ["LogStream", "PageStream"]

LINES = 500
"""Lines a reader may be behind."""
GATHER = 0.1
"""Seconds for which lines are gathered before they are sent."""


class PageStream:
    """Events of one page; see :class:`naq.dashboard.pages.live.Hub`."""

    def __init__(self, hub: Hub, path: str, token: tuple[str, str]) -> None:
        """Open a page.

        Args:
            hub: of all open pages.
            path: path and query of the page.
            token: what stands for the token of forms in the events, and that token.
        """
        self._hub = hub
        self._token = tuple(text.encode() for text in token)
        self._events = hub.open(path)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            event = await self._events.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None
        placeholder, token = self._token
        return event.replace(placeholder, token)

    async def aclose(self) -> None:
        """Close the page."""
        self._hub.close(self._events)


class LogStream:
    """Lines of one service: the last ones, then others as they come.

    The first event says ``reset``: there may be a gap between the lines a page already has and
    these.

    Each read of this stream reads from the supervisor's socket until there are lines; so it needs
    no task of its own.
    """

    def __init__(self, services: Services, name: str) -> None:
        self._services = services
        self._name = name
        self._follow: Any = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        reset = self._follow is None
        try:
            if reset:
                self._follow = await self._services.open_lines(self._name)
            lines = await self._follow.some(LINES, GATHER)
        except NaqException:
            raise StopAsyncIteration from None
        event = json.dumps({"lines": lines, "reset": reset})
        return b"data: " + event.encode() + b"\n\n"

    async def aclose(self) -> None:
        """Stop following."""
        if self._follow is not None:
            await self._follow.aclose()
