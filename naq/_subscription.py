"""A standing interest in a subject, and what arrives for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from naq._wire import Message

__all__ = ["Subscription", "Unsubscribe"]


class Subscription:
    """Survives reconnects and rebuilt clients until it is ended.

    ``sid`` is what both sides of the connection call it by; its client gives it that. ``ended``
    ones are not begun again after a reconnect.
    """

    __slots__ = ("_batch", "_loop", "ended", "on_messages", "sid", "subject")

    def __init__(
        self,
        subject: str,
        on_messages: Callable[[list[Message]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.subject = subject
        self.on_messages = on_messages
        self.sid = b""
        self.ended = False
        self._loop = loop
        self._batch: list[Message] = []

    def encode(self) -> bytes:
        """Return what begins it, as it is sent."""
        return b"SUB %b %b\r\n" % (self.subject.encode(), self.sid)

    def receive(self, message: Message) -> None:
        """Collect what arrives in one go; it is handed over as one list."""
        self._batch.append(message)
        if len(self._batch) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self.on_messages(batch)


class Unsubscribe:
    """The end of one."""

    __slots__ = ("sid",)

    def __init__(self, subscription: Subscription) -> None:
        self.sid = subscription.sid

    def encode(self) -> bytes:
        """Return it as it is sent."""
        return b"UNSUB %b\r\n" % self.sid
