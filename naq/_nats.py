"""nats-py's client with what is slow or wrong in it done differently; the only import of nats-py.

The internals it uses are those of nats-py 2.16, which is why the version is pinned that narrowly.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import nats.errors as nats_errors
from nats.aio.client import Client

from naq._wire import Message, parse_headers

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NatsClient", "Subscription", "Unsubscribe", "nats_errors"]

log = logging.getLogger("naq.connection")


class NatsClient(Client):
    """One connection; messages go straight to :class:`Subscription` objects."""

    def __init__(self) -> None:
        super().__init__()
        self.routes: dict[int, Subscription] = {}

    async def send(self, commands: bytes) -> None:
        """Send protocol that is encoded already, as ``publish`` does with one message."""
        await self._send_command(commands)
        await self._flush_pending()

    async def dispose(self) -> None:
        """Close for good; raises nothing.

        ``close`` alone leaves the socket of an interrupted connect open, and fails on a dead one.
        """
        try:
            await self.close()
        except Exception as exc:  # noqa: BLE001 - whatever it is, we are done with it
            log.debug("closing: %s", exc)
        finally:
            if self._transport:
                self._transport.close()  # type: ignore[no-untyped-call]

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        # Straight to whom it concerns; there a queue and a task lie in between.
        subscription = self.routes.get(sid)
        if subscription is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        parsed = parse_headers(headers) if headers else None
        subscription.receive(Message(subject.decode(), reply.decode(), data, parsed))

    async def _process_pong(self) -> None:
        # A flush that was given up leaves its future behind; the PONG for it then raises in the
        # read loop, which ends without a word, and the connection hears nothing until pings fail.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()


class Subscription:
    """A standing interest; survives reconnects and rebuilt clients until it is ended."""

    __slots__ = ("_batch", "_loop", "native", "nc", "on_messages", "subject")

    def __init__(
        self,
        subject: str,
        on_messages: Callable[[list[Message]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.subject = subject
        self.on_messages = on_messages
        self.nc: NatsClient | None = None
        self.native: Any = None
        self._loop = loop
        self._batch: list[Message] = []

    def __repr__(self) -> str:
        return f"subscribe to {self.subject}"

    def receive(self, message: Message) -> None:
        """Collect what arrives in one go; it is handed over as one list."""
        self._batch.append(message)
        if len(self._batch) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self.on_messages(batch)

    async def write(self, nc: NatsClient) -> None:
        """Tell the server, now and (nats-py does) after every reconnect."""
        self.nc = nc
        self.native = await nc.subscribe(self.subject, cb=self._handle)
        nc.routes[self.native._id] = self  # noqa: SLF001 - the number the server calls it by

    async def _handle(self, message: Any) -> None:
        """Take what came before the route was known."""
        headers = message.headers and {str(k): v for k, v in message.headers.items()}
        self.receive(Message(message.subject, message.reply, message.data, headers))


class Unsubscribe:
    __slots__ = ("subscription",)

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    def __repr__(self) -> str:
        return f"unsubscribe from {self.subscription.subject}"

    async def write(self, nc: NatsClient) -> None:
        if self.subscription.nc is nc:  # else its client was replaced, and it went with it
            nc.routes.pop(self.subscription.native._id, None)  # noqa: SLF001
            await self.subscription.native.unsubscribe()
