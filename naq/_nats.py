"""nats-py's client with what is slow or wrong in it done differently; the only import of nats-py.

It dials, authenticates, keeps the link alive and finds it again. What goes over the link is
written and read here. The internals it uses are those of nats-py 2.16, which is why the version is
pinned that narrowly.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import nats.errors as nats_errors
from nats.aio.client import Client
from nats.protocol.parser import Parser

from naq._split import MalformedError, Splitter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq._subscription import Subscription

__all__ = ["NatsClient", "nats_errors"]

log = logging.getLogger("naq.connection")


class NatsClient(Client):
    """One connection; messages go straight to :class:`naq._subscription.Subscription` objects."""

    def __init__(self, routes: Mapping[bytes, Subscription]) -> None:
        """Prepare to connect.

        Args:
            routes: who gets which messages; what changes in it later counts.
        """
        super().__init__()
        self._ps = _Parser(self, Splitter(routes))

    @property
    def writable(self) -> bool:
        """Whether there is a link, as far as is known."""
        stream = self._stream()
        return bool(self.is_connected) and (stream is None or not stream.is_closing())

    def send(self, commands: bytes) -> None:
        """Write protocol to the socket now, or as soon as it takes more; see ``crowded``."""
        assert self._transport is not None
        self._transport.write(commands)

    @property
    def crowded(self) -> bool:
        """Whether not all is written yet; :meth:`until_free` waits until it is."""
        stream = self._stream()
        return stream is None or stream.get_write_buffer_size() > 0

    async def until_free(self) -> None:
        """Wait until all is written; a link that turns out to be broken is given up."""
        assert self._transport is not None
        try:
            await self._transport.drain()  # type: ignore[no-untyped-call]
        except OSError as exc:
            await self._process_op_err(exc)

    def _stream(self) -> asyncio.WriteTransport | None:
        """Return asyncio's transport of this link; a websocket has none."""
        writer = getattr(self._transport, "_io_writer", None)
        return None if writer is None else writer.transport

    async def _process_connect_init(self) -> None:
        await super()._process_connect_init()
        # uvloop writes at once only above the limit, else when all callbacks of a turn have run;
        # the server would sit idle meanwhile.
        stream = self._stream()
        if stream is not None:
            stream.set_write_buffer_limits(high=0)

    async def _attempt_reconnect(self) -> None:
        # Closing waits until all is written; a server that is frozen never takes it.
        stream = self._stream()
        if stream is not None:
            stream.abort()
        await super()._attempt_reconnect()

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

    async def _process_pong(self) -> None:
        # A flush that was given up leaves its future behind; the PONG for it then raises in the
        # read loop, which ends without a word, and the connection hears nothing until pings fail.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()


class _Parser(Parser):
    """Leaves to nats-py what is no message: INFO, PING, PONG, errors."""

    def __init__(self, nc: NatsClient, splitter: Splitter) -> None:
        self._splitter = splitter
        super().__init__(nc)

    def reset(self) -> None:
        super().reset()
        self._splitter.reset()

    async def parse(self, data: bytes = b"") -> None:
        try:
            lines = self._splitter.feed(data)
        except MalformedError as exc:
            log.warning("the server's words are not understood: %s", exc)
            raise nats_errors.ProtocolError from exc
        for line in lines:
            await super().parse(line)
