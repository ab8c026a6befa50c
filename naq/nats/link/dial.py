"""nats-py, and opening one of its connections; the only module that imports it.

nats-py dials, authenticates, keeps the link alive and finds it again; what goes over the link is
written and read by :mod:`naq.nats.protocol`. :class:`NatsClient` mends what is slow or wrong in
nats-py 2.16 through its internals, which is why the version is pinned so narrowly. :func:`dial`
opens one connection, or says in one line why there is none: nats-py alone would try for ever, and
a program that starts wants to know at once that no server is there.
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

from naq.exceptions import ConfigurationError, NaqConnectionError, NoServerError
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


class NatsClient(Client):
    """A connection of nats-py's whose messages go straight to their subscriptions."""

    def __init__(self, routes: Mapping[bytes, Subscription]) -> None:
        """Prepare to connect.

        Args:
            routes: the subscriptions, by ``sid``; they may change later.
        """
        super().__init__()
        self._ps = _Parser(self, Splitter(routes))

    @property
    def writable(self) -> bool:
        """Whether there is a link, as far as is known."""
        stream = self._stream()
        return bool(self.is_connected) and (stream is None or not stream.is_closing())

    @property
    def in_cluster(self) -> bool:
        """Whether the server has others beside it."""
        return bool(self._server_info.get("cluster"))

    def send(self, commands: bytes) -> None:
        """Write to the socket now, or as soon as it takes more; see :attr:`crowded`."""
        assert self._transport is not None
        self._transport.write(commands)

    @property
    def crowded(self) -> bool:
        """Whether something is not written yet; :meth:`until_free` waits until all is."""
        stream = self._stream()
        return stream is None or stream.get_write_buffer_size() > 0

    async def until_free(self) -> None:
        """Wait until all is written; a link that turns out to be broken is given up."""
        assert self._transport is not None
        try:
            await self._transport.drain()  # type: ignore[no-untyped-call]
        except OSError as exc:
            await self._process_op_err(exc)

    @property
    def server_id(self) -> str:
        """The id of the server, which makes itself another one at each start."""
        return str(self._server_info.get("server_id", ""))

    @property
    def clustered(self) -> bool:
        """Whether the server belongs to a cluster."""
        return bool(self._server_info.get("cluster"))

    @property
    def socket(self) -> int | None:
        """The descriptor of the link's socket, None where there is no link or it is not known."""
        stream = self._stream()
        link = None if stream is None else stream.get_extra_info("socket")
        fd = -1 if link is None else link.fileno()
        return None if fd < 0 else fd

    def _stream(self) -> asyncio.WriteTransport | None:
        """Return asyncio's transport of this link; a websocket has none."""
        writer = getattr(self._transport, "_io_writer", None)
        return None if writer is None else writer.transport

    async def _process_connect_init(self) -> None:
        await super()._process_connect_init()
        # Below this limit uvloop writes when all callbacks of a turn have run, and the server would
        # sit idle meanwhile.
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
        except Exception as exc:  # noqa: BLE001 - it is given up in any case
            log.debug("closing: %s", exc)
        finally:
            if self._transport:
                self._transport.close()  # type: ignore[no-untyped-call]

    async def _process_pong(self) -> None:
        # A flush that was given up leaves its future behind. The PONG for it then raises in the
        # read loop, which ends silently, and the connection hears nothing until pings fail.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()


class _Parser(Parser):
    """Leaves to nats-py what is not a message: INFO, PING, PONG, errors."""

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
            log.warning("cannot read what the server sends: %s", exc)
            raise nats_errors.ProtocolError from exc
        for line in lines:
            await super().parse(line)


async def dial(
    target: Target, *, name: str, routes: Mapping[bytes, Subscription], **callbacks: Any
) -> tuple[NatsClient, str]:
    """Return a connected client and the version of its server.

    Every server of the list is tried once; if all fail, the last error is reported.

    Args:
        target: where, and with which credentials.
        name: shown in the server's monitoring.
        routes: the subscriptions, by ``sid``; they may change later.
        callbacks: for what happens later, as nats-py names them.

    Raises:
        NaqConnectionError: no server there, credentials refused, or it is too old.
        ConfigurationError: the credentials need a package that is not installed.
    """
    nc = NatsClient(routes)
    problems: list[Exception] = []
    scope = anyio.CancelScope()
    connected = False

    async def on_error(exc: Exception) -> None:
        if connected:
            # While the link is down every attempt fails; that it is down was said once.
            level = logging.WARNING if nc.is_connected else logging.DEBUG
            log.log(level, "NATS: %s", str(exc).removeprefix("nats: ") or type(exc).__name__)
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
                tls_handshake_first=target.tls_first,
                **callbacks,
            )
            connected = True
    except ImportError as exc:
        raise ConfigurationError(
            "credentials with nkeys need another package: pip install nkeys"
        ) from exc
    except (nats_errors.Error, OSError, ValueError) as exc:
        problems.append(exc)
    except BaseException:  # cancelled
        with anyio.move_on_after(DISPOSE_TIMEOUT, shield=True):
            await nc.dispose()
        raise
    problem: NaqConnectionError | None
    if connected:
        version = nc.connected_server_version
        problem = _too_old(target, version.major, version.minor)
        if problem is None:
            return nc, f"{version.major}.{version.minor}.{version.patch}"
    else:
        problem = _cannot_connect(target, problems[-1] if problems else None)
    await _dispose(nc)
    raise problem


async def _dispose(nc: NatsClient) -> None:
    with anyio.move_on_after(DISPOSE_TIMEOUT, shield=True):
        await nc.dispose()


def _too_old(target: Target, major: int, minor: int) -> NaqConnectionError | None:
    if (major, minor) >= MINIMUM_SERVER:
        return None
    need = ".".join(map(str, MINIMUM_SERVER))
    return NaqConnectionError(
        f"nats-server {major}.{minor} at {target.url} is too old: naq needs {need} or newer"
    )


def _cannot_connect(target: Target, problem: Exception | None) -> NaqConnectionError:
    where = f"{target.url} (from {target.source})"
    text = "" if problem is None else str(problem) or type(problem).__name__
    if isinstance(problem, OSError) and problem.errno:
        text = os.strerror(problem.errno).lower()
    if "authorization" in text.lower() or "authentication" in text.lower():
        error = NaqConnectionError(f"the NATS server at {where} refuses these credentials")
    else:
        said = f": {text}" if text else ""
        error = NoServerError(f"no NATS server answers at {where}{said}; `naq up` starts one")
    error.__cause__ = problem
    return error
