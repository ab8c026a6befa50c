"""Pulling the messages of one consumer: ask for as many as there is room for, and keep count.

A pull request stands at the server until all its messages are delivered or it expires, so an idle
worker costs nothing and a job arrives without being polled for. Several requests may stand at once;
only their sum matters: what was asked for, less what arrived, less what the server still owed of a
request when it ended it (a status message says how many).

A request is lost without notice when the link breaks, and may be when the consumer's leader
changes. Each generation of requests has its own inbox subject, so that late statuses of earlier
ones are not counted; and requests ask for heartbeats, so that silence is noticed.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from naq.base import backoff
from naq.nats.jetstream import CONSUMER_NEXT, PENDING_MESSAGES, nanoseconds
from naq.nats.protocol import Subscription

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextvars import Context

    from naq.nats.link.client import Client
    from naq.nats.link.seam import Seam
    from naq.nats.protocol import Message

__all__ = ["Metadata", "Pull", "PullHandle", "metadata", "stored_at"]

EXPIRES = 30.0
"""Seconds a pull request stands."""
HEARTBEAT = 5.0
"""Seconds between the server's signs of life for a standing request; two missed: ask again."""

QUIET = 0.1
"""Seconds without a message after which nothing is under way any more, in a cluster."""

_HEARTBEAT_STATUS = "100"
# The request is done but nothing is wrong: its time is up, or there was nothing (no_wait).
_ENDED = frozenset({"404", "408"})


class _Last:
    """Takes jobs until none has come for a while."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: Context,
        take: Callable[[list[Message]], None],
        quiet: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._take = take
        self._quiet = quiet
        self._due = loop.time() + QUIET
        loop.call_later(QUIET, self._look, context=context)

    def take(self, jobs: list[Message]) -> None:
        self._due = self._loop.time() + QUIET
        self._take(jobs)

    def _look(self) -> None:
        left = self._due - self._loop.time()
        if left > 0:
            self._loop.call_later(left, self._look)
        else:
            self._quiet()


class Pull:
    """Standing demand on one consumer."""

    def __init__(
        self,
        client: Client,
        loop: asyncio.AbstractEventLoop,
        *,
        stream: str,
        consumer: str,
        on_jobs: Callable[[list[Message]], None],
        on_lost: Callable[[int], None],
        on_break: Callable[[Any], None] | None = None,
    ) -> None:
        """Prepare to pull from ``consumer`` of ``stream``.

        Args:
            client: the connection.
            loop: its loop.
            stream: name of the stream.
            consumer: durable name of the consumer.
            on_jobs: gets each list of messages that arrived together.
            on_lost: gets how many messages of those asked for will not come; ask again.
            on_break: called before messages that the consumer may send in another life of its own:
                it may have forgotten some that it has sent.
        """
        self._client = client
        self._loop = loop
        self._subject = client.addressed(f"{CONSUMER_NEXT}.{stream}.{consumer}")
        self._on_jobs = on_jobs
        self._on_lost = on_lost
        self._on_break = on_break or (lambda _: None)
        self._outstanding = 0
        self._generation = 0
        self._failures = 0
        self._heard = 0.0
        self._watching = False
        self._stopped = False
        self._inbox = f"{client.exchanges.inbox}-p{id(self):x}"
        self._subscription = Subscription(f"{self._inbox}.*", self._on_messages, loop)

    def start(self) -> None:
        """Begin to listen for messages."""
        self._client.subscribe(self._subscription)
        self._client.on_link(self._on_link)

    def request(self, batch: int) -> None:
        """Ask for ``batch`` more messages."""
        self._outstanding += batch
        if self._stopped or not self._client.connected:
            return  # when the link is back, everything counts as lost and is asked for again
        self._heard = time.monotonic()
        body = {
            "batch": batch,
            "expires": nanoseconds(EXPIRES),
            "idle_heartbeat": nanoseconds(HEARTBEAT),
        }
        reply = f"{self._inbox}.{self._generation}"
        self._client.publish(self._subject, msgspec.json.encode(body), reply)
        if not self._watching:
            self._watching = True
            self._loop.call_later(HEARTBEAT, self._watch, context=self._client.context)

    def stop(self, done: Callable[[None], None]) -> None:
        """Ask for nothing more; ``done`` is called when everything under way has arrived.

        In a cluster the consumer's leader hears of the end of a subscription later than our server,
        which drops what comes meanwhile: a job that would be missing until its lease is over. With
        a backlog something always comes. So what was asked for is taken first, as long as it comes.
        """
        self._stopped = True
        self._client.off_link(self._on_link)
        drain = partial(self._client.drain, self._subscription, done)
        if self._outstanding and self._client.connected and self._client.in_cluster:
            self._on_jobs = _Last(self._loop, self._client.context, self._on_jobs, drain).take
        else:
            drain()

    def _on_messages(self, messages: list[Message]) -> None:
        self._heard = time.monotonic()
        jobs = [m for m in messages if m.headers is None or "Status" not in m.headers]
        if jobs:
            self._failures = 0
            self._outstanding = max(0, self._outstanding - len(jobs))
            self._on_jobs(jobs)
        if len(jobs) != len(messages):
            for message in messages:
                if message.headers is not None and "Status" in message.headers:
                    self._on_status(message)

    def _on_status(self, message: Message) -> None:
        status = message.status
        current = message.subject.rpartition(".")[2] == str(self._generation)
        if status == _HEARTBEAT_STATUS or not current:
            return
        owed = (message.headers or {}).get(PENDING_MESSAGES, "")
        lost = min(int(owed) if owed.isdigit() else self._outstanding, self._outstanding)
        self._outstanding -= lost
        if status in _ENDED:
            self._on_lost(lost)
            return
        # 409: leadership change, consumer deleted, server shutting down; 503: nobody there.
        self._on_break(None)
        delay = backoff.exponential(self._failures, initial=0.1, maximum=2.0, jitter=0.3)
        self._failures += 1
        self._loop.call_later(delay, self._on_lost, lost)

    def _on_link(self, up: bool) -> None:
        if up and not self._stopped:
            self._forget()

    def _forget(self) -> None:
        """Count everything asked for as lost, and begin another generation."""
        self._generation += 1
        self._on_break(None)
        lost, self._outstanding = self._outstanding, 0
        self._on_lost(lost)

    def _watch(self) -> None:
        self._watching = False
        if self._stopped or self._outstanding == 0:
            return
        if self._client.connected and time.monotonic() - self._heard > 2 * HEARTBEAT:
            self._forget()
            return
        self._watching = True
        self._loop.call_later(HEARTBEAT, self._watch)


class PullHandle:
    """The caller's side of a :class:`naq.nats.pull.Pull`."""

    __slots__ = ("_pull", "_seam")

    def __init__(self, pull: Pull, seam: Seam) -> None:
        self._pull = pull
        self._seam = seam

    def request(self, batch: int) -> None:
        """Ask for ``batch`` more messages."""
        self._seam.post(self._pull.request, batch)

    async def stop(self) -> None:
        """Ask for nothing more; return when everything under way has been handed over."""
        await self._seam.ask(self._pull.stop)


class Metadata(NamedTuple):
    """What the server says about a delivery, in the reply subject of its message."""

    delivered: int
    """How often this message has been delivered, this time included."""
    seq: int
    """Its sequence in the stream."""
    pending: int
    """How many more messages wait for this consumer."""


def metadata(reply: str) -> Metadata:
    """Read an acknowledgement subject, the old form (9 tokens) or the new one (from 11 on).

    ``$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>``; the
    new form has domain and account before the stream (NATS ADR-15).
    """
    tokens = reply.split(".")
    at = 4 if len(tokens) < 11 else 6
    return Metadata(int(tokens[at]), int(tokens[at + 1]), int(tokens[at + 4]))


def stored_at(reply: str) -> float:
    """Return when a delivered message was stored, by the server's clock."""
    tokens = reply.split(".")
    return int(tokens[7 if len(tokens) < 11 else 9]) / 1e9
