"""The asyncio half of a connection: losing the server, finding it again, going on.

It lives on one asyncio loop, the caller's own or one on a thread beside Trio, and is driven by
plain calls with a ``done`` callback, so that neither a task nor a crossing of threads is paid per
message. nats-py keeps the link; what is done differently from nats-py 2.16:

* **Messages and subscriptions** are encoded and read by :mod:`naq.nats.protocol`.
* **Answers** are awaited in one table, and lost ones asked for again
  (:mod:`naq.nats.link.exchange`).
* **Writing is a plain call** (:mod:`naq.nats.link.outbox`), which cannot be cancelled halfway, and
  nothing is buffered blindly while the server is away.
* **Reconnecting goes on for ever**, with backoff and jitter; a client that nats-py closed for good
  (an ``-ERR`` it does not know) is replaced by a new one, with all subscriptions.
* **Acks are sent again after a reconnect**: those written just before the link broke may be lost,
  and the server would wait its whole ``ack_wait`` before it delivers those finished jobs again.
  Not what hands a job back: by then the server may have given it to somebody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from contextvars import Context, copy_context
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio
from sniffio import current_async_library_cvar

from naq.base import backoff
from naq.base.fork import drop, undone_in_children
from naq.exceptions import NaqConnectionError
from naq.nats.jetstream import ACK, API, NAK
from naq.nats.link.dial import CONNECT_TIMEOUT, NatsClient, dial, nats_errors
from naq.nats.link.exchange import Exchanges
from naq.nats.link.outbox import Outbox, Publish
from naq.nats.locate import moved
from naq.nats.protocol import Subscription, Unsubscribe

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup, TaskStatus

    from naq.nats.link.outbox import Writable
    from naq.nats.locate import Target

__all__ = ["Client"]

log = logging.getLogger("naq.connection")

CLOSE_TIMEOUT = 2.0
"""Seconds for the last messages to be written, and again for the link to be closed."""
RECENT_ACKS = 1024
"""Acks that are sent again after a reconnect."""


class Client:
    """One connection to NATS. Every method but :meth:`run` is a plain call on its loop."""

    def __init__(self, target: Target, *, name: str = "naq") -> None:
        """Describe a connection to ``target``; ``name`` is shown in the server's monitoring."""
        self.server_version = ""
        self.server_id = ""
        self.clustered = False
        self.connected = False
        self.exchanges: Exchanges
        self.context: Context
        """Timers and callbacks run in this context, not in that of whoever caused them."""
        self._loop: asyncio.AbstractEventLoop
        self.target = target
        self._name = name
        self._listeners: list[Callable[[bool], None]] = []
        self._nc: NatsClient
        self._tasks: TaskGroup
        self._outbox: Outbox
        self._routes: dict[bytes, Subscription] = {}
        self._sids = count(1)
        self._recent_acks: deque[Publish] = deque(maxlen=RECENT_ACKS)
        self._attempts = 0
        self._last_try = 0.0
        self._broken: asyncio.Event
        self._closing: asyncio.Event
        self._hurry = False
        self._ended = False

    @property
    def in_cluster(self) -> bool:
        """Whether the server has others beside it."""
        return self._nc.in_cluster

    @property
    def max_payload(self) -> int:
        """Bytes of headers and body the server takes in one message."""
        return self.exchanges.max_payload

    def addressed(self, subject: str) -> str:
        """Return a subject of JetStream's API, or of a bucket, as that of the domain that is meant.

        Between a leaf node and a hub of another domain, servers let neither pass as it is.
        """
        domain = self.target.domain
        if domain is None:
            return subject
        if subject.startswith("$KV."):
            return f"$JS.{domain}.API.{subject}"
        return f"$JS.{domain}.API.{subject[len(API) :]}" if subject.startswith(API) else subject

    # ------------------------------------------------------------------ life

    async def run(  # noqa: ASYNC128 - _serve reports readiness
        self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Connect, serve until :meth:`close` is called, flush, and disconnect.

        Raises:
            NaqConnectionError: there is no server, or it is too old; only before it is ready.
        """
        self._loop = asyncio.get_running_loop()
        # Callbacks start tasks, for which AnyIO must know that it runs on asyncio. It cannot see
        # that outside of a task, and asyncio.run does not say so.
        current_async_library_cvar.set("asyncio")
        self.context = copy_context()
        self._outbox = Outbox(self._loop, self.context, link=self._writable)
        self._broken, self._closing = asyncio.Event(), asyncio.Event()
        self.exchanges = Exchanges(
            loop=self._loop,
            context=self.context,
            queue=self._outbox.put,
            connected=lambda: self.connected,
        )
        self._nc = await self._dial()
        with undone_in_children(self.sever):
            await self._serve(task_status)

    async def _serve(self, task_status: TaskStatus[None]) -> None:
        try:
            self._mark_up()
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._outbox.run, name="naq connection writer")
                tasks.start_soon(self._rebuild_loop, name="naq connection rebuilder")
                task_status.started()
                await self._closing.wait()
                with anyio.move_on_after(CLOSE_TIMEOUT):
                    await self._flush_out()
                tasks.cancel_scope.cancel()
        finally:
            self.connected = False
            self._ended = True
            self._outbox.close()
            self.exchanges.close(NaqConnectionError("the connection was closed"))
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self._nc.dispose()

    def close(self, hurry: bool = False) -> None:
        """Ask :meth:`run` to flush and end; in a ``hurry``, not to wait for the server."""
        self._hurry = hurry
        self._closing.set()

    def start_soon(
        self, done: Callable[[Any], None], function: Callable[[Callable[[Any], None]], Any]
    ) -> None:
        """Run ``function(done)`` as a task on this loop; it ends with the client at the latest."""
        self._tasks.start_soon(function, done, name="naq beside")

    def sever(self) -> None:
        """Let go of the socket without a word, in a forked child: it is the parent's."""
        fd = self._nc.socket
        if fd is not None:
            drop(fd)

    async def _flush_out(self) -> None:
        if self._outbox and self.connected:
            await self._outbox.drained.wait()
        if self.connected and not self._hurry:
            with contextlib.suppress(nats_errors.Error, asyncio.TimeoutError):
                await self._nc.flush(timeout=1)

    async def _dial(self) -> NatsClient:
        nc, self.server_version = await dial(
            self.target,
            name=self._name,
            routes=self._routes,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            reconnect_to_server_handler=self._next_server,
        )
        return nc

    # ---------------------------------------------------- losing and finding

    def on_link(self, listener: Callable[[bool], None]) -> None:
        """Call ``listener(True)`` after every reconnect, ``listener(False)`` at every loss."""
        self._listeners.append(listener)

    def off_link(self, listener: Callable[[bool], None]) -> None:
        """Do not call ``listener`` any more."""
        with contextlib.suppress(ValueError):
            self._listeners.remove(listener)

    def _next_server(self, servers: list[Any], _info: dict[str, Any]) -> tuple[Any, float]:
        """Tell nats-py which server to try next, and how long to wait before."""
        self._last_try = time.monotonic()
        delay = backoff.exponential(self._attempts, initial=0.02, maximum=2.0, jitter=0.5)
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
        self.server_id, self.clustered = self._nc.server_id, self._nc.clustered
        first = not exchanges.inbox
        if first:
            exchanges.inbox = self._nc.new_inbox()
            self.subscribe(Subscription(f"{exchanges.inbox}.*", exchanges.on_replies, self._loop))
        self._queue_again()
        if not first:
            for listener in list(self._listeners):
                listener(True)

    def _queue_again(self) -> None:
        """Queue what the server must hear again: subscriptions, what has no answer, recent acks."""
        unsent = [item for item in self._outbox.unsent() if not _hands_back(item)]
        queued = set(map(id, unsent))
        self._outbox.begin_again(
            [
                *(route for route in self._routes.values() if not route.ended),
                *unsent,
                *(ack for ack in self._recent_acks if id(ack) not in queued),
                *self.exchanges.to_send_again(),
            ]
        )

    def _mark_down(self) -> None:
        if not self.connected:
            return
        self.connected = False
        self._last_try = time.monotonic()
        self._outbox.lost()
        if self._closing.is_set():
            return
        log.warning("lost the connection to NATS; reconnecting")
        self.exchanges.link_lost()
        for listener in list(self._listeners):
            listener(False)
        self._loop.call_later(1.0, self._look_down)

    def _look_down(self) -> None:
        """Look, while the link is down, for what nats-py does not notice by itself.

        A client that was closed silently or stopped trying, and a server that has come back
        elsewhere: ``naq up`` may choose another port each time.
        """
        if self.connected or self._closing.is_set():
            return
        elsewhere = moved(self.target)
        if elsewhere is not None:
            self.target = elsewhere
            self._broken.set()
        elif self._nc.is_closed or time.monotonic() - self._last_try > 4 * CONNECT_TIMEOUT:
            self._broken.set()
        self._loop.call_later(1.0, self._look_down)

    async def _rebuild_loop(self) -> None:
        while True:
            await self._broken.wait()
            if self._closing.is_set():
                return
            log.warning("the NATS client was closed; building a new one")
            with anyio.move_on_after(CLOSE_TIMEOUT):
                await self._nc.dispose()
            self._nc = await self._dial_for_ever()
            self._broken.clear()
            self._mark_up()

    async def _dial_for_ever(self) -> NatsClient:
        attempt = 0
        while True:
            try:
                return await self._dial()
            except NaqConnectionError as exc:
                log.warning("%s", exc)
            self._last_try = time.monotonic()
            self.target = moved(self.target) or self.target
            await asyncio.sleep(backoff.exponential(attempt, initial=0.5, maximum=5.0, jitter=0.3))
            attempt += 1

    # --------------------------------------------------------------- writing

    def _writable(self) -> NatsClient | None:
        if not self.connected:
            return None
        nc = self._nc
        if nc.writable:
            return nc
        if nc.is_closed:  # silently; any other end is reported by a callback
            self._mark_down()
        return None

    def publish(
        self,
        subject: str,
        data: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send a message that gets no answer; it is kept while the server is away."""
        self._outbox.put(Publish(subject, data, reply, headers))

    def push(self, item: Writable) -> None:
        """Send many messages as one piece; it is dropped when the link is lost."""
        self._outbox.push(item)

    def ack(self, reply: str, data: bytes = ACK) -> None:
        """Settle a delivery; sent again after a reconnect, unless it hands the job back."""
        item = Publish(reply, data)
        if data is ACK or not _hands_back(item):
            self._recent_acks.append(item)
        self._outbox.put_idly(item)

    def subscribe(self, subscription: Subscription) -> None:
        """Begin a subscription."""
        subscription.sid = b"%d" % next(self._sids)
        self._routes[subscription.sid] = subscription
        self._outbox.put(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; only what has arrived already is still handed over."""
        if self._routes.pop(subscription.sid, None) is not None and not subscription.ended:
            subscription.ended = True
            self._outbox.put(Unsubscribe(subscription))

    def drain(self, subscription: Subscription, done: Callable[[None], None]) -> None:
        """End a subscription; ``done`` is called once all that was sent to it is handed over."""
        if self._ended:
            done(None)
            return
        self._tasks.start_soon(self._drain, subscription, done, name="naq connection drain")

    async def _drain(self, subscription: Subscription, done: Callable[[None], None]) -> None:
        # What the server sent before it heard of the end arrives before its answer to a ping.
        subscription.ended = True
        if self.connected:
            self._outbox.put(Unsubscribe(subscription))
            with anyio.move_on_after(CLOSE_TIMEOUT):
                await self._outbox.drained.wait()
                try:
                    await self._nc.flush()
                except nats_errors.Error as exc:
                    log.debug("cannot drain %s: %s", subscription.subject, exc)
        self._routes.pop(subscription.sid, None)
        self._loop.call_soon(done, None)  # after the hand-over, which is one call_soon away too


def _hands_back(item: object) -> bool:
    return isinstance(item, Publish) and item.data.startswith(NAK)
