"""What is to be written to the server: in order, and as soon as it takes it.

What one turn of the event loop puts in is written at the turn's end, as one piece; or earlier, as
soon as it is ``EAGER`` messages, so that the server works on those while the rest are made. No
caller waits here, so none can be cancelled in the middle of a write. While there is no link, or
its socket takes no more, messages stay here, and are not encoded before their turn: so a bulk of
large ones is not copied into memory as a whole.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

import anyio

from naq.nats.protocol import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Context

    from naq.nats.dial import NatsClient

__all__ = ["Outbox", "Publish", "Writable"]

PER_TURN = 128
"""Messages written at once before the loop gets a turn."""
ENOUGH = 262_144
"""Bytes after which no more is added to a write: what the socket does not take lies in memory."""
EAGER = 8
"""Messages that are written without waiting for the end of the loop's turn."""


class Writable(Protocol):
    """What can be put in here."""

    def encode(self) -> bytes:
        """Return it as it is sent; its turn has come."""


class Publish:
    """A message without an answer: acks, events, pulls."""

    __slots__ = ("data", "headers", "reply", "subject")

    def __init__(
        self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self.subject = subject
        self.data = data
        self.reply = reply
        self.headers = headers

    def encode(self) -> bytes:
        """Return what is written to the server."""
        return encode(self.subject, self.reply, self.headers, self.data)


class Outbox:
    """Every method but :meth:`run` is a plain call on the client's loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: Context,
        *,
        link: Callable[[], NatsClient | None],
    ) -> None:
        """Make an empty one.

        Args:
            loop: the client's.
            context: in which writing is done.
            link: returns what can be written to now, None if there is nothing.
        """
        self.drained = asyncio.Event()
        """Set when all was written that was here at the end of a turn."""
        self._loop = loop
        self._context = context
        self._link = link
        self._items: deque[Writable] = deque()
        self._due = False
        self._crowded = asyncio.Event()
        self._relief: anyio.CancelScope | None = None

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, item: Writable) -> None:
        """Have something written."""
        self._items.append(item)
        if not self._due:
            self._write_soon()
        elif len(self._items) >= EAGER:
            self._write(EAGER)

    def put_idly(self, item: Writable) -> None:
        """Have something written that nobody waits for: with what follows, or when all is done."""
        self._items.append(item)
        self._write_soon()

    def push(self, item: Writable) -> None:
        """Have something large written, at once if possible."""
        self._items.append(item)
        self._write(PER_TURN)
        if self._items:
            self._write_soon()

    # ------------------------------------------------------- losing the link

    def lost(self) -> None:
        """The link is gone: nobody need wait any more for its socket."""
        if self._relief is not None:
            self._relief.cancel()

    def left(self) -> list[Publish]:
        """Return the plain publishes that are not written yet."""
        return [item for item in self._items if isinstance(item, Publish)]

    def begin_again(self, items: Iterable[Writable]) -> None:
        """On a new link: these, and nothing else that was here, are to be written."""
        self._items = deque(items)
        self._write_soon()

    # --------------------------------------------------------------- writing

    def _write_soon(self) -> None:
        if not self._due:
            self._due = True
            self.drained.clear()
            self._loop.call_soon(self._turn, context=self._context)

    def _turn(self) -> None:
        self._due = False
        written = self._write(PER_TURN)
        if not self._items:
            self.drained.set()
        elif written:
            self._write_soon()

    def _write(self, limit: int) -> bool:
        """Write some of it, in order, as one piece; False if that has to wait."""
        link = None if self._crowded.is_set() else self._link()
        if link is None:
            return False
        items, size = self._items, 0
        commands: list[bytes] = []
        while items and len(commands) < limit and size < ENOUGH:
            encoded = items.popleft().encode()
            commands.append(encoded)
            size += len(encoded)
        link.send(b"".join(commands))
        if link.crowded:
            self._crowded.set()
            return False
        return True

    async def run(self) -> None:
        """Go on writing whenever the socket takes more again, or there is another one."""
        while True:
            await self._crowded.wait()
            link = self._link()
            if link is not None:
                with anyio.CancelScope() as self._relief:
                    await link.until_free()
                self._relief = None
            self._crowded.clear()
            self._write_soon()
