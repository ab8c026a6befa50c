"""Messages that wait for an answer: stores, requests, questions to everybody.

All answers of a connection come to one inbox; the last token of the subject says which exchange
an answer belongs to. A *store* is JetStream's acknowledged publish: until its deadline it is sent
again after a reconnect, when no answer comes, and while the stream has no leader (503). Sending it
twice is safe because every store carries a compare-and-set or a message id.

One table with one timer holds them all. (nats-py's own ``publish_async`` never resolves on an
error reply or a lost one, and a ``Future`` and timer per message cost more than the message.)
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from naq.base import backoff
from naq.exceptions import NaqConnectionError, PayloadTooLargeError
from naq.nats.jetstream import TRANSIENT, PubAck, refused
from naq.nats.protocol import NO_RESPONDERS, encode

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping
    from contextvars import Context

    from naq.nats.protocol import Message

__all__ = ["Exchange", "Exchanges", "Gather", "Request", "Store"]

RESEND_AFTER = 2.5
"""Seconds without an answer after which a message is sent again."""
HEADER_ROOM = 4096
"""Bytes no headers of naq's ever reach; messages that are that much below the limit fit."""
TICK = 0.1
"""Seconds between looks at unanswered messages, while there are any."""

_decode_puback = msgspec.json.Decoder(PubAck).decode


class Exchange:
    """One message out, and what to do with its answer; kinds differ in how they take one.

    ``later`` are headers that every copy after the first carries beside ``headers``.
    """

    __slots__ = (
        "attempts",
        "data",
        "deadline",
        "done",
        "due",
        "headers",
        "later",
        "queued",
        "repeat",
        "subject",
        "table",
        "token",
    )

    def __init__(
        self,
        done: Callable[[Any], None],
        subject: str,
        data: bytes,
        headers: dict[str, str] | None,
        *,
        timeout: float,
        repeat: bool = True,
        later: Mapping[str, str] | None = None,
    ) -> None:
        self.done = done
        self.subject = subject
        self.data = data
        self.headers = headers
        self.deadline = time.monotonic() + timeout
        self.repeat = repeat
        self.later = later
        self.attempts = 0
        self.due = 0.0
        self.queued = True
        self.token = ""
        self.table: Exchanges

    def encode(self) -> bytes:
        """Return the bytes to send, now that its turn to be written has come."""
        if self.later is not None and self.due:  # it was written before
            self.headers = {**(self.headers or {}), **self.later}
            self.later = None
        self.queued = False
        self.due = time.monotonic() + RESEND_AFTER
        reply = f"{self.table.inbox}.{self.token}"
        return encode(self.subject, reply, self.headers, self.data)

    def finish(self, value: Any) -> None:
        """Give the caller ``value``; only the first one counts."""
        if self.table.pending.pop(self.token, None) is not None:
            self.done(value)

    def again(self) -> None:
        """Send it again, a little later each time."""
        self.due = time.monotonic() + backoff.exponential(
            self.attempts, initial=0.05, maximum=2.0, jitter=0.3
        )
        self.attempts += 1

    def answered(self, message: Message) -> None:
        """Take an answer."""
        raise NotImplementedError

    def expired(self, connected: bool) -> None:
        """Give up: the time for an answer is over."""
        why = "no answer in time" if connected else "not connected to NATS"
        self.finish(NaqConnectionError(f"{self.subject}: {why}"))


class Request(Exchange):
    """A question; ``done`` gets the answer, or None if it is asked once and nobody listens."""

    __slots__ = ()

    def answered(self, message: Message) -> None:
        """Take the answer."""
        if message.status != NO_RESPONDERS:
            self.finish(message)
        elif self.repeat:
            self.again()
        else:
            self.finish(None)


class Store(Exchange):
    """An acknowledged publish; ``done`` gets a :class:`PubAck` or an exception."""

    __slots__ = ()

    def answered(self, message: Message) -> None:
        """Take the answer."""
        if message.headers and message.status == NO_RESPONDERS:
            self.again()
            return
        try:
            ack = _decode_puback(message.data)
        except msgspec.MsgspecError as exc:
            self.finish(NaqConnectionError(f"{self.subject}: cannot parse the answer: {exc}"))
            return
        if ack.error is None:
            self.finish(ack)
        elif ack.error.err_code in TRANSIENT:
            self.again()
        else:
            self.finish(refused(f"publish to {self.subject}", ack.error))


class Gather(Exchange):
    """A question to everybody; ``done`` gets the answers once enough, or when time is up."""

    __slots__ = ("enough", "replies")

    def __init__(
        self,
        done: Callable[[Any], None],
        subject: str,
        data: bytes,
        *,
        timeout: float,
        enough: Callable[[list[Message]], bool],
    ) -> None:
        super().__init__(done, subject, data, None, timeout=timeout, repeat=False)
        self.enough = enough
        self.replies: list[Message] = []

    def answered(self, message: Message) -> None:
        """Take one of several answers."""
        if message.status == NO_RESPONDERS:
            self.finish(self.replies)
            return
        self.replies.append(message)
        if self.enough(self.replies):
            self.finish(self.replies)

    def expired(self, connected: bool) -> None:  # noqa: ARG002
        """Be content with the answers there are."""
        self.finish(self.replies)


class Exchanges:
    """All exchanges of one connection that have no answer yet."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        context: Context,
        queue: Callable[[Exchange], None],
        connected: Callable[[], bool],
    ) -> None:
        """Make an empty table.

        Args:
            loop: where everything here runs.
            context: in which it runs.
            queue: puts a message in line to be written.
            connected: tells whether there is a link now.
        """
        self.inbox = ""
        self.max_payload = 1_048_576
        self.pending: dict[str, Exchange] = {}
        self._loop = loop
        self._context = context
        self._queue = queue
        self._connected = connected
        self._closed: Exception | None = None
        self._counter = 0
        self._ticking = False

    def start(self, exchange: Exchange) -> None:
        """Send ``exchange`` and wait for its answer."""
        if len(exchange.data) > self.max_payload - HEADER_ROOM:
            problem = self._refusal(exchange)
            if problem is not None:
                exchange.done(problem)
                return
        self._counter += 1
        exchange.token = token = str(self._counter)
        exchange.table = self
        self.pending[token] = exchange
        self._queue(exchange)
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK, self._tick, context=self._context)

    def on_replies(self, messages: list[Message]) -> None:
        """Give each answer to its exchange; late ones have none and are dropped."""
        cut = len(self.inbox) + 1
        pending = self.pending
        for message in messages:
            exchange = pending.get(message.subject[cut:])
            if exchange is not None:
                exchange.answered(message)

    def to_send_again(self) -> Iterator[Exchange]:
        """Yield what has to be sent after a reconnect, in its old order."""
        for exchange in self.pending.values():
            if exchange.queued or exchange.repeat:
                exchange.queued = True
                yield exchange

    def link_lost(self) -> None:
        """Give up what was sent and must not be repeated: its answer is lost."""
        for exchange in list(self.pending.values()):
            if not (exchange.queued or exchange.repeat):
                exchange.expired(connected=False)

    def close(self, error: Exception) -> None:
        """Answer everything with ``error``, also what is asked from now on."""
        self._closed = error
        self.max_payload = 0  # so that everything is too large, and asks why it is not sent
        for exchange in list(self.pending.values()):
            exchange.finish(error)

    def _tick(self) -> None:
        now = time.monotonic()
        connected = self._connected()
        for exchange in list(self.pending.values()):
            if now >= exchange.deadline:
                exchange.expired(connected)
            elif exchange.repeat and not exchange.queued and connected and now >= exchange.due:
                exchange.queued = True
                self._queue(exchange)
        self._ticking = bool(self.pending)
        if self._ticking:
            self._loop.call_later(TICK, self._tick)

    def _refusal(self, exchange: Exchange) -> Exception | None:
        """Return why a message that may be too large is not sent; None if it is."""
        if self._closed is not None:
            return self._closed
        size = len(exchange.data)
        for name, value in (exchange.headers or {}).items():
            size += len(name) + len(value) + 4
        size += 12  # "NATS/1.0" CRLF, CRLF
        if size <= self.max_payload:
            return None
        return PayloadTooLargeError(
            f"{exchange.subject}: {size} bytes are more than the {self.max_payload} the server "
            "takes in one message; pass a reference to the data, or raise its max_payload",
            size=size,
            limit=self.max_payload,
        )
