"""What is on its way to a client that may read slowly, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naq.supervisor.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Outbox"]

# What may wait for one client, characters. What finds no room is dropped, counted, and the count is
# sent once there is room again.
_LIMIT = 1024 * 1024


class Outbox:
    """A bounded queue of encoded events with a sender at its end."""

    def __init__(self, encode: Callable[[object], bytes], *, limit: int = _LIMIT) -> None:
        """Make an empty outbox.

        Args:
            encode: makes a line of an event.
            limit: bytes that may wait.
        """
        self._encode = encode
        self._limit = limit
        self._bell = Bell()
        self._lines: list[bytes] = []
        self._size = 0
        self._dropped = 0
        self._closed = False

    def put(self, event: object) -> None:
        """Take an event; it is dropped and counted if there is no room. Never waits."""
        if self._size >= self._limit:
            self._dropped += 1
            return
        line = self._encode(event)
        self._lines.append(line)
        self._size += len(line)
        self._bell.ring()

    def close(self) -> None:
        """No more events: :meth:`send` ends when everything is sent."""
        self._closed = True
        self._bell.ring()

    async def send(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send until closed and empty."""
        while True:
            await self._bell.until(lambda: True if self._lines or self._closed else None)
            lines, self._lines, self._size = self._lines, [], 0
            if self._dropped:
                lines.append(self._encode({"dropped": self._dropped}))
                self._dropped = 0
            if not lines:
                return
            await send(b"".join(lines))
