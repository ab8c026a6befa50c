"""What is to be written to the server: in order, and as soon as it takes it.

What is put in during one turn of the event loop is written at the turn's end, as one piece; or
earlier, once there are ``EAGER`` messages, so that the server works on those while the rest are
made. No caller waits here, so none can be cancelled in the middle of a write. While there is no
link, or its socket takes no more, messages stay here, and none is encoded before its turn: a bulk
of large ones is never copied into memory as a whole.
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

    from naq.nats.link.dial import NatsClient

__all__ = ["Outbox", "Publish", "Writable"]

PER_TURN = 128
"""Messages written at once before the loop gets a turn."""
ENOUGH = 262_144
"""Bytes after which no more is added to a write: what the socket does not take stays in memory."""
EAGER = 8
"""Messages that are written without waiting for the end of the loop's turn."""


class Writable(Protocol):
    """What can be put in here."""

    def encode(self) -> bytes:
        """Return the bytes to send, now that its turn to be written has come."""


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
        """Return its bytes."""
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
            link: returns the link that can be written to now, None if there is none.
        """
        self.drained = asyncio.Event()
        """Set when nothing was left to be written at the end of a turn."""
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
        """Have something written that nobody waits for: with what follows, or at the turn's end."""
        self._items.append(item)
        if not self._due:
            self._write_soon()

    def push(self, item: Writable) -> None:
        """Have something large written, at once if possible."""
        self._items.append(item)
        self._write(PER_TURN)
        if self._items:
            self._write_soon()

    # ------------------------------------------------------- losing the link

    def lost(self) -> None:
        """Stop waiting for the socket of a link that is gone."""
        if self._relief is not None:
            self._relief.cancel()

    def unsent(self) -> list[Publish]:
        """Return the plain publishes that are not written yet."""
        return [item for item in self._items if isinstance(item, Publish)]

    def begin_again(self, items: Iterable[Writable]) -> None:
        """Begin on a new link: ``items`` are to be written, and nothing else that was here."""
        self._items = deque(items)
        self._write_soon()

    def close(self) -> None:
        """Write nothing any more."""
        self._items.clear()
        self._due = True  # so that no turn of the loop, which ends, is asked for

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
        """Go on writing whenever the socket takes more again, or another link has replaced it."""
        while True:
            await self._crowded.wait()
            link = self._link()
            if link is not None:
                with anyio.CancelScope() as self._relief:
                    await link.until_free()
                self._relief = None
            self._crowded.clear()
            self._write_soon()
