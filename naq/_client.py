"""The asyncio half of a connection: nats-py, with the parts that matter here done our way.

It lives on one asyncio loop, the caller's own or one on a thread beside Trio (``_seam``), and is
driven by plain calls with a ``done`` callback, so that neither a task nor a crossing of threads is
paid per message. What is done differently from nats-py 2.16:

* **Answers** are awaited in one table, and lost ones asked for again (``_exchange``).
* **Writing has an owner**: one task writes what is queued here, so cancelling a caller can never
  hit nats-py in the middle of a write (its ``_flush_pending`` swallows the cancellation), and
  nothing is buffered blindly while the server is away.
* **Reconnecting for ever**, with backoff and jitter; a client that nats-py closed for good (an
  ``-ERR`` it does not know) is replaced by a new one, with all subscriptions.
* **Acks are sent again after a reconnect**: those written just before the link broke may be lost,
  and the server would wait its whole ``ack_wait`` to deliver those finished jobs again.

Only this module imports nats-py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import nats.errors
from nats.aio.client import Client as NatsClient

from naq import _backoff
from naq._exchange import Exchange, Exchanges
from naq._locate import redact
from naq.exceptions import ConfigurationError, NaqConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskStatus

    from naq._exchange import Reply
    from naq._locate import Target

__all__ = ["Client", "Subscription"]

log = logging.getLogger("naq.connection")

CONNECT_TIMEOUT = 5.0
"""Seconds for the first connection; a refused one fails at once."""
PING_INTERVAL = 2
"""Seconds between pings; two unanswered ones mean the link is dead. Two and not one: a loop that
user code blocks for a while sends one late ping when it comes back, and must not lose its link."""
CLOSE_TIMEOUT = 2.0
WRITES_PER_TURN = 64
"""Messages written before the loop gets a turn (and nats-py's flusher with it)."""
RECENT_ACKS = 1024
MINIMUM_SERVER = (2, 14)


class Outgoing(Protocol):
    """What the writer writes."""

    async def write(self, nc: NatsClient) -> None:
        """Send it."""

    def failed(self, exc: Exception) -> None:
        """It cannot be sent, ever."""


class Subscription:
    """A standing interest; survives reconnects and rebuilt clients until it is ended."""

    __slots__ = ("_batch", "_loop", "native", "nc", "on_messages", "subject")

    def __init__(
        self,
        subject: str,
        on_messages: Callable[[list[Reply]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.subject = subject
        self.on_messages = on_messages
        self.nc: NatsClient | None = None
        self.native: Any = None
        self._loop = loop
        self._batch: list[Reply] = []

    async def handle(self, message: Any) -> None:
        """Collect what arrived in one go and hand it over as one list."""
        self._batch.append(message)
        if len(self._batch) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self.on_messages(batch)

    async def write(self, nc: NatsClient) -> None:
        # What arrives is bounded by what was asked for, and a message dropped here would be a job
        # that waits its whole ack_wait: no limits.
        self.nc = nc
        self.native = await nc.subscribe(
            self.subject, cb=self.handle, pending_msgs_limit=0, pending_bytes_limit=0
        )

    def failed(self, exc: Exception) -> None:
        log.warning("cannot subscribe to %s: %s", self.subject, exc)


class _Unsubscribe:
    __slots__ = ("subscription",)

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    async def write(self, nc: NatsClient) -> None:
        if self.subscription.nc is nc:  # else its client was replaced, and it went with it
            await self.subscription.native.unsubscribe()

    def failed(self, exc: Exception) -> None:
        log.debug("cannot unsubscribe from %s: %s", self.subscription.subject, exc)


class _Publish:
    """A message without an answer: acks, events, pulls."""

    __slots__ = ("data", "headers", "reply", "subject")

    def __init__(
        self, subject: str, data: bytes, reply: str, headers: dict[str, str] | None
    ) -> None:
        self.subject = subject
        self.data = data
        self.reply = reply
        self.headers = headers

    async def write(self, nc: NatsClient) -> None:
        await nc.publish(self.subject, self.data, self.reply, self.headers)

    def failed(self, exc: Exception) -> None:
        log.warning("cannot publish to %s: %s", self.subject, exc)


class Client:
    """One connection to NATS. Every method but :meth:`run` is a plain call on its loop."""

    def __init__(self, target: Target, *, name: str = "naq") -> None:
        """Describe a connection to ``target``; ``name`` is shown in the server's monitoring."""
        self.server_version = ""
        self.connected = False
        self.exchanges: Exchanges
        self._loop: asyncio.AbstractEventLoop
        self.target = target
        self._name = name
        self._listeners: list[Callable[[bool], None]] = []
        self._nc: NatsClient
        self._outbox: deque[Outgoing] = deque()
        self._subscriptions: set[Subscription] = set()
        self._recent_acks: deque[_Publish] = deque(maxlen=RECENT_ACKS)
        self._attempts = 0
        self._last_try = 0.0
        self._work: asyncio.Event
        self._drained: asyncio.Event
        self._up: asyncio.Event
        self._broken: asyncio.Event
        self._closing: asyncio.Event

    @property
    def max_payload(self) -> int:
        """Bytes of headers and body the server takes in one message."""
        return self.exchanges.max_payload

    # ------------------------------------------------------------------ life

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Connect, serve until :meth:`close` is called, flush, and disconnect.

        Raises:
            NaqConnectionError: before readiness only: no server there, or too old.
        """
        self._loop = asyncio.get_running_loop()
        self._work, self._drained, self._up = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._broken, self._closing = asyncio.Event(), asyncio.Event()
        self.exchanges = Exchanges(
            loop=self._loop, queue=self._queue, connected=lambda: self.connected
        )
        self._nc = await self._dial()
        try:
            self._check_version()
            self._mark_up()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write_loop, name="naq connection writer")
                tasks.start_soon(self._rebuild_loop, name="naq connection rebuilder")
                task_status.started()
                await self._closing.wait()
                with anyio.move_on_after(CLOSE_TIMEOUT):
                    await self._flush_out()
                tasks.cancel_scope.cancel()
        finally:
            self.connected = False
            self.exchanges.fail_all(NaqConnectionError("the connection was closed"))
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self._nc.close()

    def close(self) -> None:
        """Ask :meth:`run` to flush and end."""
        self._closing.set()

    async def _flush_out(self) -> None:
        if self._outbox and self.connected:
            await self._drained.wait()
        if self.connected:
            with contextlib.suppress(nats.errors.Error, asyncio.TimeoutError):
                await self._nc.flush(timeout=1)

    async def _dial(self) -> NatsClient:
        """Open one client. Every server of the list is tried once; then the last error counts."""
        nc = NatsClient()
        problems: list[Exception] = []
        target = self.target
        scope = anyio.CancelScope()

        async def on_error(exc: Exception) -> None:
            if self.connected:
                log.warning("NATS: %s", str(exc).removeprefix("nats: ") or type(exc).__name__)
                return
            problems.append(exc)
            if len(problems) >= len(target.servers):
                scope.cancel()

        try:
            with anyio.move_on_after(CONNECT_TIMEOUT), scope:
                await nc.connect(
                    target.servers,
                    name=self._name,
                    error_cb=on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    closed_cb=self._on_closed,
                    reconnect_to_server_handler=self._next_server,
                    max_reconnect_attempts=-1,
                    connect_timeout=2,
                    ping_interval=PING_INTERVAL,
                    token=target.token,
                    user=target.user,
                    password=target.password,
                    user_credentials=target.creds,
                    nkeys_seed=target.nkey_seed,
                    tls=target.tls,
                )
                return nc
        except ImportError as exc:
            raise ConfigurationError(
                "credentials with nkeys need one more package: pip install 'naq[nkeys]'"
            ) from exc
        except (nats.errors.Error, OSError, ValueError) as exc:
            problems.append(exc)
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True), contextlib.suppress(Exception):
            await nc.close()
        raise _cannot_connect(target, problems[-1] if problems else None)

    def _check_version(self) -> None:
        version = self._nc.connected_server_version
        self.server_version = f"{version.major}.{version.minor}.{version.patch}"
        if (version.major, version.minor) < MINIMUM_SERVER:
            need = ".".join(map(str, MINIMUM_SERVER))
            raise NaqConnectionError(
                f"nats-server {self.server_version} at {redact(self.target.url)} is too old: "
                f"naq needs {need} or newer"
            )

    # ---------------------------------------------------- losing and finding

    def on_link(self, listener: Callable[[bool], None]) -> None:
        """Call ``listener(True)`` after every reconnect, ``listener(False)`` at every loss."""
        self._listeners.append(listener)

    def _next_server(self, servers: list[Any], _info: dict[str, Any]) -> tuple[Any, float]:
        """nats-py asks which server to try next, and how long to wait before."""
        self._last_try = time.monotonic()
        delay = _backoff.exponential(self._attempts, initial=0.02, maximum=2.0, jitter=0.5)
        server = servers[self._attempts % len(servers)]
        self._attempts += 1
        return server, delay

    async def _on_disconnected(self) -> None:
        self._mark_down()

    async def _on_reconnected(self) -> None:
        log.info("connected to NATS again")
        self._mark_up()

    async def _on_closed(self) -> None:
        self._mark_down()
        self._broken.set()

    def _mark_up(self) -> None:
        self.connected = True
        self._attempts = 0
        exchanges = self.exchanges
        exchanges.max_payload = self._nc.max_payload
        first = not exchanges.inbox
        if first:
            exchanges.inbox = self._nc.new_inbox()
            self.subscribe(Subscription(f"{exchanges.inbox}.*", exchanges.on_replies, self._loop))
        self._queue_again()
        self._up.set()
        if not first:
            for listener in self._listeners:
                listener(True)

    def _queue_again(self) -> None:
        """Queue everything that has no answer yet, and the acks that may have been lost."""
        others = [item for item in self._outbox if not isinstance(item, Exchange)]
        queued = set(map(id, others))
        self._outbox.clear()
        self._outbox.extend(others)
        self._outbox.extend(ack for ack in self._recent_acks if id(ack) not in queued)
        self._outbox.extend(self.exchanges.to_send_again())
        self._work.set()

    def _mark_down(self) -> None:
        if not self.connected:
            return
        self.connected = False
        self._up.clear()
        self._last_try = time.monotonic()
        if self._closing.is_set():
            return
        log.warning("lost the connection to NATS; trying again until it is back")
        for listener in self._listeners:
            listener(False)
        self._loop.call_later(1.0, self._look_down)

    def _look_down(self) -> None:
        """While down: notice a client that was closed silently, or that stopped trying."""
        if self.connected or self._closing.is_set():
            return
        if self._nc.is_closed or time.monotonic() - self._last_try > 4 * CONNECT_TIMEOUT:
            self._broken.set()
        self._loop.call_later(1.0, self._look_down)

    async def _rebuild_loop(self) -> None:
        while True:
            await self._broken.wait()
            if self._closing.is_set():
                return
            log.warning("the NATS client was closed; building a new one")
            with anyio.move_on_after(CLOSE_TIMEOUT), contextlib.suppress(Exception):
                await self._nc.close()
            self._nc = await self._dial_until_there()
            self._broken.clear()
            self._outbox.extendleft(self._subscriptions)
            self._mark_up()

    async def _dial_until_there(self) -> NatsClient:
        attempt = 0
        while True:
            try:
                return await self._dial()
            except NaqConnectionError as exc:
                log.warning("%s", exc)
            self._last_try = time.monotonic()
            await asyncio.sleep(_backoff.exponential(attempt, initial=0.5, maximum=5.0, jitter=0.3))
            attempt += 1

    # --------------------------------------------------------------- writing

    async def _write_loop(self) -> None:
        written = 0
        while True:
            await self._work.wait()
            self._work.clear()
            while self._outbox:
                if not self.connected:
                    await self._up.wait()
                    continue
                await self._write(self._outbox.popleft())
                written += 1
                if written % WRITES_PER_TURN == 0:
                    await asyncio.sleep(0)
            self._drained.set()

    async def _write(self, item: Outgoing) -> None:
        try:
            await item.write(self._nc)
        except (
            nats.errors.ConnectionClosedError,
            nats.errors.ConnectionDrainingError,
            nats.errors.OutboundBufferLimitError,
        ):
            self._outbox.appendleft(item)
            self._mark_down()
        except Exception as exc:  # noqa: BLE001 - one message is isolated, and told so
            item.failed(exc)

    def _queue(self, item: Outgoing) -> None:
        self._outbox.append(item)
        if len(self._outbox) == 1:
            self._drained.clear()
            self._work.set()

    def publish(
        self,
        subject: str,
        data: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send a message that gets no answer; kept while the server is away."""
        self._queue(_Publish(subject, data, reply, headers))

    def ack(self, reply: str, data: bytes = b"+ACK") -> None:
        """Settle a delivery; sent again after a reconnect, which is harmless."""
        item = _Publish(reply, data, "", None)
        self._recent_acks.append(item)
        self._queue(item)

    def subscribe(self, subscription: Subscription) -> None:
        """Begin a subscription."""
        self._subscriptions.add(subscription)
        self._queue(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._queue(_Unsubscribe(subscription))


def _cannot_connect(target: Target, problem: Exception | None) -> NaqConnectionError:
    url = ",".join(redact(server) for server in target.servers)
    where = f"{url} (from {target.source})"
    text = "" if problem is None else str(problem) or type(problem).__name__
    if "authorization" in text.lower() or "authentication" in text.lower():
        error = NaqConnectionError(f"the NATS server at {where} refuses these credentials")
    else:
        said = f": {text}" if text else ""
        error = NaqConnectionError(f"no NATS server answers at {where}{said}; `naq up` starts one")
    error.__cause__ = problem
    return error
