"""Open pages, and how they stay current: by server-sent events.

Every message the server stores is a sign that something has changed. Listening to all of them would
cost as much as running the jobs; so the hub waits for one message, stops listening for a moment,
renders the open pages, and sends the parts that differ. Browsers that show the same page share one
rendering.

A browser that does not read what it is sent is disconnected; it reconnects by itself.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec
import trio

from naq.exceptions import NaqException
from naq.nats.watch import watching

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.dashboard.state import Changes
    from naq.nats.connection import Connection

__all__ = ["MAX_CLIENTS", "Hub", "TooManyClientsError"]

log = logging.getLogger("naq.dashboard")

MAX_CLIENTS = 1_000
QUEUED = 8
"""Messages a reader may be behind."""
SETTLE = 0.1
"""Seconds between the first sign of a change and a look: what comes together is shown together."""
DUTY = 0.05
"""Share of the time that looking may take while things keep changing."""
SENDING = 0.001
"""Seconds it takes to send an update to one page, roughly; that happens after the look."""
SHORTEST, LONGEST = 0.1, 2.0
"""Seconds between two looks, whatever they cost."""
DEAF, DEAFEST = 0.1, 1.0
"""Seconds without listening after a sign; more while one sign follows another."""
LOOK = 5.0
"""Seconds after which to look without any sign: time alone changes things, as when a worker falls
silent, and in a cluster a sign may be lost."""
BEAT = 15.0
"""Seconds between signs of life, by which a browser notices a dead link."""


class TooManyClientsError(Exception):
    """As many pages are open as can be served."""


_Sending = trio.MemorySendChannel[bytes]
_Receiving = trio.MemoryReceiveChannel[bytes]


class _Page:
    """One page: who reads it, and what they have been sent."""

    def __init__(self) -> None:
        self.readers: set[_Sending] = set()
        self.sent: dict[str, str] = {}


class Hub:
    """All open pages."""

    def __init__(
        self, render: Callable[[str], Awaitable[dict[str, str] | None]], changes: Changes
    ) -> None:
        """Make a hub without pages.

        Args:
            render: returns the live parts of a page by name; None if there is no such page.
            changes: what to look for.
        """
        self._render = render
        self._changes = changes
        self._pages: dict[str, _Page] = {}
        self._opened = trio.Event()
        self._problem: str | None = None
        self._senders: dict[_Receiving, tuple[str, _Sending]] = {}

    @property
    def clients(self) -> int:
        """How many pages are open."""
        return len(self._senders)  # including those dropped that have not noticed yet

    def tell(self, problem: str | None) -> None:
        """Tell all pages what is wrong with the server; None means nothing."""
        if problem != self._problem:
            self._problem = problem
            message = _event("problem", problem)
            self._send_all(message)

    def open(self, path: str) -> _Receiving:
        """Open a page; its events come through the channel until :meth:`close`.

        Raises:
            TooManyClientsError: as many pages are open as can be served.
        """
        if self.clients >= MAX_CLIENTS:
            raise TooManyClientsError
        sending, receiving = trio.open_memory_channel[bytes](QUEUED)
        page = self._pages.setdefault(path, _Page())
        page.readers.add(sending)
        self._senders[receiving] = (path, sending)
        sending.send_nowait(_event("problem", self._problem))
        page.sent.clear()  # a newcomer gets everything once
        self._opened.set()
        self._changes.ring()
        return receiving

    def close(self, receiving: _Receiving) -> None:
        """Close a page."""
        path, sending = self._senders.pop(receiving)
        self._drop(path, sending)
        receiving.close()

    def close_all(self) -> None:
        """Close all pages: nobody is served any more."""
        for path, page in list(self._pages.items()):
            for sending in list(page.readers):
                self._drop(path, sending)

    def _drop(self, path: str, sending: _Sending) -> None:
        sending.close()
        page = self._pages.get(path)
        if page is not None:
            page.readers.discard(sending)
            if not page.readers:
                del self._pages[path]

    def _send_all(self, message: bytes) -> None:
        for path, page in list(self._pages.items()):
            self._send(path, page, message)

    def _send(self, path: str, page: _Page, message: bytes) -> None:
        for sending in list(page.readers):
            try:
                sending.send_nowait(message)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._drop(path, sending)  # too far behind; its reader sees the end

    async def run(self) -> None:
        """Send changes to open pages, until cancelled."""
        while True:
            await self._changes.wait()
            await trio.sleep(SETTLE)
            self._changes.take()
            used = time.thread_time()
            for path, page in list(self._pages.items()):
                await self._update(path, page)
            cost = time.thread_time() - used + self.clients * SENDING
            await trio.sleep(min(LONGEST, max(SHORTEST, cost / DUTY)))

    async def _update(self, path: str, page: _Page) -> None:
        try:
            parts = await self._render(path)
        except NaqException as exc:
            log.debug("%s: %s", path, exc)
            return
        except Exception as exc:
            log.warning("%s: cannot be shown", path, exc_info=exc)
            return
        if not parts:
            return
        changed = {name: html for name, html in parts.items() if page.sent.get(name) != html}
        if changed:
            page.sent = dict(parts)
            self._send(path, page, _event("update", changed))

    async def beat(self) -> None:
        """Send signs of life, until cancelled."""
        while True:
            await trio.sleep(BEAT)
            self._send_all(b": \n\n")

    async def listen(self, connection: Connection) -> None:
        """Listen for signs of change from the server, until cancelled."""
        names = connection.names
        subjects = (
            f"{names.event_root}.>",
            names.job("*", "*"),
            names.delayed("*", "*"),
            names.schedule("*"),
            names.presence("*"),
        )
        deaf = DEAF
        while True:
            if not self._pages:
                self._opened = trio.Event()
                await self._opened.wait()
            with watching(connection, *subjects) as watch:
                self._changes.ring()  # what came while nobody listened
                began = trio.current_time()
                while not await watch.sign(within=LOOK):
                    self._changes.ring()
            busy = trio.current_time() - began < deaf
            deaf = min(DEAFEST, deaf * 2) if busy else DEAF
            self._changes.ring()
            await trio.sleep(deaf)


def _event(name: str, content: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(content) + b"\n\n"
