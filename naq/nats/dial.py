"""Open one connection to NATS, or say in one line why there is none.

The first connection fails at once where nobody listens; nats-py by itself would try for ever. Later
ones, for a client that was closed for good, are opened here as well, by whoever keeps trying.

nats-py's client with what is slow or wrong in it done differently; the only import of nats-py.

It dials, authenticates, keeps the link alive and finds it again. What goes over the link is
written and read here. The internals it uses are those of nats-py 2.16, which is why the version is
pinned that narrowly.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

import anyio
import nats.errors as nats_errors
from nats.aio.client import Client
from nats.protocol.parser import Parser

from naq.exceptions import ConfigurationError, NaqConnectionError
from naq.nats.locate import redact
from naq.nats.protocol import MalformedError, Splitter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq.nats.locate import Target
    from naq.nats.protocol import Subscription

__all__ = ["CONNECT_TIMEOUT", "NatsClient", "dial", "nats_errors"]

log = logging.getLogger("naq.connection")

CONNECT_TIMEOUT = 5.0
"""Seconds for all servers of the list together."""
DISPOSE_TIMEOUT = 2.0
PING_INTERVAL = 2
"""Seconds between pings; two unanswered ones mean the link is dead. Two and not one: a loop that
user code blocks for a while sends one late ping when it comes back, and must not lose its link."""
MINIMUM_SERVER = (2, 14)


async def dial(
    target: Target, *, name: str, routes: Mapping[bytes, Subscription], **callbacks: Any
) -> tuple[NatsClient, str]:
    """Return a connected client and the version of its server.

    Every server of the list is tried once; then the last error counts.

    Args:
        target: where, and with which credentials.
        name: shown in the server's monitoring.
        routes: who gets which messages.
        callbacks: nats-py's, for what happens later.

    Raises:
        NaqConnectionError: nobody there, credentials refused, too old.
        ConfigurationError: the credentials need a package that is not installed.
    """
    nc = NatsClient(routes)
    problems: list[Exception] = []
    scope = anyio.CancelScope()
    connected = False

    async def on_error(exc: Exception) -> None:
        if connected:
            log.warning("NATS: %s", str(exc).removeprefix("nats: ") or type(exc).__name__)
            return
        problems.append(exc)
        if len(problems) >= len(target.servers):
            scope.cancel()

    try:
        with anyio.move_on_after(CONNECT_TIMEOUT), scope:
            await nc.connect(
                target.servers,
                name=name,
                error_cb=on_error,
                max_reconnect_attempts=-1,
                connect_timeout=2,
                ping_interval=PING_INTERVAL,
                token=target.token,
                user=target.user,
                password=target.password,
                user_credentials=target.creds,
                nkeys_seed=target.nkey_seed,
                tls=target.tls,
                **callbacks,
            )
            connected = True
    except ImportError as exc:
        raise ConfigurationError(
            "credentials with nkeys need one more package: pip install 'naq[nkeys]'"
        ) from exc
    except (nats_errors.Error, OSError, ValueError) as exc:
        problems.append(exc)
    problem: NaqConnectionError | None
    if connected:
        version = nc.connected_server_version
        problem = _too_old(target, version.major, version.minor)
        if problem is None:
            return nc, f"{version.major}.{version.minor}.{version.patch}"
    else:
        problem = _cannot_connect(target, problems[-1] if problems else None)
    with anyio.move_on_after(DISPOSE_TIMEOUT, shield=True):
        await nc.dispose()
    raise problem


def _too_old(target: Target, major: int, minor: int) -> NaqConnectionError | None:
    if (major, minor) >= MINIMUM_SERVER:
        return None
    need = ".".join(map(str, MINIMUM_SERVER))
    return NaqConnectionError(
        f"nats-server {major}.{minor} at {redact(target.url)} is too old: naq needs {need} or newer"
    )


def _cannot_connect(target: Target, problem: Exception | None) -> NaqConnectionError:
    url = ",".join(redact(server) for server in target.servers)
    where = f"{url} (from {target.source})"
    text = "" if problem is None else str(problem) or type(problem).__name__
    if isinstance(problem, OSError) and problem.errno:
        text = os.strerror(problem.errno).lower()
    if "authorization" in text.lower() or "authentication" in text.lower():
        error = NaqConnectionError(f"the NATS server at {where} refuses these credentials")
    else:
        said = f": {text}" if text else ""
        error = NaqConnectionError(f"no NATS server answers at {where}{said}; `naq up` starts one")
    error.__cause__ = problem
    return error


class NatsClient(Client):
    """One connection; messages go straight to :class:`naq.nats.protocol.Subscription` objects."""

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
