"""What JetStream keeps: read it, page through it, replace it if nobody else did.

:class:`Streams` asks through a connection and knows nothing of it but how to ask. Many messages are
read by direct gets, which any replica of a stream answers as far as it has come. A single one, on
which something may depend, comes from the leader of a stream that has replicas. Two helpers
remember what they have read: :class:`Followed` the messages of a filter, :class:`ServerClock` how
far the server's clock is from ours.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

import anyio
import msgspec

from naq.base import backoff
from naq.exceptions import NaqConnectionError, ServerRefusedError
from naq.nats import jetstream
from naq.nats.jetstream import (
    ApiError,
    ConsumerInfo,
    ConsumerPage,
    Got,
    PubAck,
    Purged,
    Stored,
    StreamInfo,
    refused,
    stored,
)
from naq.nats.protocol import parse_headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping
    from datetime import datetime

    from naq.nats.protocol import Message

__all__ = ["REQUEST_TIMEOUT", "Followed", "Scan", "ServerClock", "Streams"]

REQUEST_TIMEOUT = 10.0
PAGE = 256
"""Messages per page when a stream is read through."""
MOST_SUBJECTS = 1024
"""Subjects whose last messages the server gives in one answer."""
CLOCK_FRESH = 60.0
"""Seconds a comparison of the clocks is good for."""

T = TypeVar("T")


class Link(Protocol):
    """What streams are asked through: a connection."""

    @property
    def in_cluster(self) -> bool:
        """Whether replicas answer, which may be behind."""

    async def request(
        self, subject: str, data: bytes = b"", *, timeout: float = REQUEST_TIMEOUT
    ) -> Message:
        """Ask something that may be asked twice, and wait for the answer."""

    async def gather(
        self,
        subject: str,
        data: bytes = b"",
        *,
        timeout: float,
        enough: Callable[[list[Message]], bool],
    ) -> list[Message]:
        """Ask, and wait for several answers."""

    async def store(
        self,
        subject: str,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        later: Mapping[str, str] | None = None,
    ) -> PubAck:
        """Publish into a stream and wait until it is stored."""


class Streams:
    """The streams and consumers of one server; ``connection.streams``.

    Every method raises :class:`NaqConnectionError` when no answer comes in time, and
    :class:`ServerRefusedError` for an error that the server answers with.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    # -------------------------------------------------------------- messages

    async def get(self, stream: str, subject: str, *, near: bool = False) -> Stored | None:
        """Return the last message of a literal ``subject``, None if there is none.

        Args:
            stream: which holds it.
            subject: the subject.
            near: take what the nearest replica has, which may be behind and is there without a
                leader; otherwise what was acknowledged before is seen.
        """
        if self._link.in_cluster and not near:
            return await self._from_leader(stream, {"last_by_subj": subject})
        reply = await self._link.request(f"{jetstream.DIRECT_GET}.{stream}.{subject}")
        return None if reply.status else stored(reply)

    async def first(self, stream: str, filter_subject: str, *, near: bool = False) -> Stored | None:
        """Return the oldest message that matches, None if there is none; ``near`` as of `get`."""
        if self._link.in_cluster and not near:
            return await self._from_leader(stream, {"seq": 1, "next_by_subj": filter_subject})
        reply = await self._from(stream, filter_subject, start=1, batch=1)
        return None if reply[0].status else stored(reply[0])

    async def count(self, stream: str, filter_subject: str) -> int:
        """Return how many messages match."""
        reply = await self._from(stream, filter_subject, start=1, batch=1)
        return 0 if reply[0].status else _pending(reply[0]) + 1

    async def next(self, stream: str, filter_subject: str, *, after: int) -> Stored | None:
        """Return the first message that matches with a sequence above ``after``.

        Cheap if it is near (nothing is counted); far away, in another block of the stream's file,
        the server looks at all subjects that match: a quarter of a second with a million of them
        (nats-server 2.15.1). ``after`` should therefore be as close as is known.
        """
        body = msgspec.json.encode({"seq": after + 1, "next_by_subj": filter_subject})
        reply = await self._link.request(f"{jetstream.DIRECT_GET}.{stream}", body)
        return None if reply.status else stored(reply)

    async def page(
        self, stream: str, filter_subject: str, *, after: int = 0, limit: int = PAGE
    ) -> tuple[list[Stored], bool]:
        """Return messages that match, with a sequence above ``after``, and whether there are more.

        At most ``limit`` of them, and fewer when they are large: the server ends an answer at
        64 MiB.
        """
        *replies, end = await self._from(stream, filter_subject, start=after + 1, batch=limit)
        return [stored(reply) for reply in replies], bool(replies) and _pending(end) > 0

    def all(
        self,
        stream: str,
        filter_subject: str,
        *,
        after: int = 0,
        before: int | None = None,
        page: int = PAGE,
    ) -> Scan:
        """Iterate over the messages that match, in order: ``async for``.

        Args:
            stream: which holds them.
            filter_subject: which are wanted.
            after: only those with a sequence above this.
            before: only those with a sequence below this.
            page: how many are asked for at once.
        """

        async def ask(last: int) -> list[Message]:
            return await self._from(stream, filter_subject, start=last + 1, batch=page)

        return Scan(ask, after, before)

    async def last_of(self, stream: str, filters: list[str]) -> list[Stored]:
        """Return the last message of each subject that any of ``filters`` matches, in order.

        In one request, so of a bounded number of subjects: the server gives up above 1,024.

        Raises:
            ServerRefusedError: there are more.
            NaqConnectionError: no answer in time.
        """
        replies = await self._direct(stream, {"multi_last": filters, "batch": MOST_SUBJECTS})
        end = replies[-1]
        if end.status not in ("204", "404"):
            description = (end.headers or {}).get("Description", "")
            raise ServerRefusedError(
                f"stream {stream}: {end.status} {description}", description=description
            )
        return [stored(reply) for reply in replies if not reply.status]

    async def put_if(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        expected: int,
        later: Mapping[str, str] | None = None,
    ) -> PubAck | None:
        """Store a message in place of the one with that sequence; a compare-and-set.

        Args:
            subject: a literal subject of a stream that keeps one message per subject.
            data: the body.
            headers: NATS headers, to which the condition is added.
            expected: the sequence of the message that is there now, 0 if there is none.
            later: headers that every copy after the first carries as well.

        Returns None when somebody else was first: another message is there, or none any more.

        Raises:
            PayloadTooLargeError: body and headers are more than the server takes.
            ServerRefusedError: for another reason than that (a full disk).
            NaqConnectionError: no answer in time.
        """
        conditional = {**(headers or {}), jetstream.EXPECTED_SEQUENCE: str(expected)}
        try:
            return await self._link.store(subject, data, conditional, later=later)
        except ServerRefusedError as exc:
            if exc.code != jetstream.CONFLICT:
                raise
            return None

    async def purge(self, stream: str, filter_subject: str, *, before: int = 0) -> int:
        """Remove every message that matches; return how many there were.

        Args:
            stream: which holds them.
            filter_subject: which are removed.
            before: only those with a sequence below this; 0: all.
        """
        question: dict[str, object] = {"filter": filter_subject}
        if before:
            question["seq"] = before
        return (await self.api(f"{jetstream.STREAM_PURGE}.{stream}", question, Purged)).purged

    async def remove(self, stream: str, seq: int) -> None:
        """Remove one message, if it is still there: not one that took its place since."""
        question = {"seq": seq, "no_erase": True}
        try:
            await self.api(f"{jetstream.MESSAGE_DELETE}.{stream}", question)
        except ServerRefusedError as exc:
            if exc.code not in jetstream.NO_MESSAGE:
                raise

    # ------------------------------------------------- streams and consumers

    async def stream_info(self, stream: str, *, count: str | None = None) -> StreamInfo:
        """Return what a stream is and holds.

        Args:
            stream: its name.
            count: a filter; the messages of each subject it matches are counted in ``state``.
        """
        question = None if count is None else {"subjects_filter": count}
        return await self.api(f"{jetstream.STREAM_INFO}.{stream}", question, StreamInfo)

    async def create_stream(self, config: dict[str, Any]) -> StreamInfo:
        """Create a stream; refused if there is another one of its name.

        A cluster that is not whole yet has no place for it: that is waited for.
        """
        subject = f"{jetstream.STREAM_CREATE}.{config['name']}"
        deadline, attempt = time.monotonic() + REQUEST_TIMEOUT, 0
        while True:
            try:
                return await self.api(subject, config, StreamInfo)
            except ServerRefusedError as exc:
                pause = backoff.exponential(attempt, initial=0.1, maximum=1.0, jitter=0.3)
                if exc.code != jetstream.NO_PEERS or time.monotonic() + pause > deadline:
                    raise
            attempt += 1
            await anyio.sleep(pause)

    async def update_stream(self, config: dict[str, Any]) -> StreamInfo:
        """Give a stream another configuration; refused where the server cannot change it so."""
        return await self.api(f"{jetstream.STREAM_UPDATE}.{config['name']}", config, StreamInfo)

    async def consumer_info(self, stream: str, consumer: str) -> ConsumerInfo:
        """Return how far a consumer is."""
        return await self.api(f"{jetstream.CONSUMER_INFO}.{stream}.{consumer}", answer=ConsumerInfo)

    async def consumers(self, stream: str) -> list[ConsumerInfo]:
        """Return how far all consumers of a stream are."""
        found: list[ConsumerInfo] = []
        while True:
            subject, question = f"{jetstream.CONSUMER_LIST}.{stream}", {"offset": len(found)}
            page = await self.api(subject, question, ConsumerPage)
            found += page.consumers or []
            if not page.consumers or len(found) >= page.total:
                return found

    async def create_consumer(self, stream: str, config: dict[str, Any]) -> ConsumerInfo:
        """Create a consumer; refused if there is another one of its name."""
        request = {"stream_name": stream, "config": config, "action": "create"}
        name, filter_subject = config["name"], config["filter_subject"]
        subject = f"{jetstream.CONSUMER_CREATE}.{stream}.{name}.{filter_subject}"
        return await self.api(subject, request, ConsumerInfo)

    async def pause_consumer(self, stream: str, consumer: str, *, until: datetime) -> None:
        """Let a consumer hand out nothing until then, by the server's clock."""
        body = {"pause_until": until}
        await self.api(f"{jetstream.CONSUMER_PAUSE}.{stream}.{consumer}", body)

    async def delete_consumer(self, stream: str, consumer: str) -> None:
        """Delete a consumer; what it has not handed out stays in the stream."""
        await self.api(f"{jetstream.CONSUMER_DELETE}.{stream}.{consumer}")

    # ---------------------------------------------------------------- asking

    @overload
    async def api(self, subject: str, body: object = None) -> dict[str, Any]: ...

    @overload
    async def api(self, subject: str, body: object = None, answer: type[T] = ...) -> T: ...

    async def api(self, subject: str, body: object = None, answer: Any = dict) -> Any:
        """Call JetStream's API and return its answer.

        Args:
            subject: of the question, below ``$JS.API``.
            body: is sent as JSON.
            answer: what the answer is read as.

        Raises:
            ServerRefusedError: its error.
            NaqConnectionError: no answer in time, or one that cannot be read.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        reply = await self._link.request(subject, data)
        try:
            error = _decode_error(reply.data).error
            if error is None:
                return msgspec.json.decode(reply.data, type=answer)
        except msgspec.MsgspecError as exc:
            raise NaqConnectionError(f"{subject}: answer not understood: {exc}") from exc
        raise refused(subject.removeprefix("$JS.API."), error)

    async def _from_leader(self, stream: str, question: dict[str, Any]) -> Stored | None:
        try:
            got = await self.api(f"{jetstream.MESSAGE_GET}.{stream}", question, Got)
        except ServerRefusedError as exc:
            if exc.code != jetstream.NO_SUCH_MESSAGE:
                raise
            return None
        kept = got.message
        headers = parse_headers(kept.hdrs) if kept.hdrs else {}
        return Stored(kept.subject, kept.seq, kept.time, kept.data, headers)

    async def _from(self, stream: str, subject: str, *, start: int, batch: int) -> list[Message]:
        question = {"seq": start, "next_by_subj": subject, "batch": batch}
        return await self._direct(stream, question)

    async def _direct(self, stream: str, body: dict[str, Any]) -> list[Message]:
        """Ask for several messages; the last answer is a status.

        Asked again when the link is lost meanwhile, or while nobody leads the stream.
        """
        question = msgspec.json.encode(body)
        deadline, attempt = time.monotonic() + REQUEST_TIMEOUT, 0
        while (left := deadline - time.monotonic()) > 0:
            replies = await self._link.gather(
                f"{jetstream.DIRECT_GET}.{stream}",
                question,
                timeout=left,
                enough=lambda replies: bool(replies[-1].status),
            )
            if replies and replies[-1].status:
                return replies
            pause = backoff.exponential(attempt, initial=0.05, maximum=1.0, jitter=0.3)
            attempt += 1
            await anyio.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        raise NaqConnectionError(f"stream {stream}: it did not answer in time")


class Scan:
    """The messages of a stream that match a filter; a page is read when its turn comes.

    What is stored while the scan goes on is part of it.
    """

    def __init__(
        self, ask: Callable[[int], Awaitable[list[Message]]], after: int, before: int | None
    ) -> None:
        """Begin a scan of what lies between two sequences.

        Args:
            ask: returns a page of answers: messages above a sequence, and a status at the end.
            after: the sequence before the first message.
            before: the sequence after the last one, None if there is no bound.
        """
        self._ask = ask
        self._after = after
        self._before = float("inf") if before is None else before
        self._page: deque[Message] = deque()
        self._more = True

    def __aiter__(self) -> Scan:
        return self

    async def __anext__(self) -> Stored:
        if not self._page and self._more and self._after + 1 < self._before:
            *replies, end = await self._ask(self._after)
            self._page.extend(replies)
            self._more = bool(replies) and _pending(end) > 0
        if not self._page:
            raise StopAsyncIteration
        message = stored(self._page.popleft())
        if message.seq >= self._before:
            raise StopAsyncIteration
        self._after = message.seq
        return message


class _Failed(msgspec.Struct):
    error: ApiError | None = None


_decode_error = msgspec.json.Decoder(_Failed).decode


def _pending(reply: Message) -> int:
    """Return how many more messages match after an answer to a direct get."""
    return int((reply.headers or {}).get(jetstream.NUM_PENDING, "0"))


class Followed(Generic[T]):
    """What the messages of a filter say, for whoever looks at them again and again.

    Only what was stored since the last look is read, and the server's count tells whether some are
    gone, for which all are read again: thousands that do not change cost three small requests.
    """

    def __init__(
        self, streams: Streams, stream: str, filter_subject: str, read: Callable[[Stored], T]
    ) -> None:
        """Follow messages.

        Args:
            streams: of the server.
            stream: which holds them, with one message per subject.
            filter_subject: which of them are looked at.
            read: returns what is to be known of one.
        """
        self._streams = streams
        self._stream = stream
        self._filter = filter_subject
        self._read_one = read
        self._created = ""
        self._forget()

    def _forget(self) -> None:
        self._known: dict[str, T] = {}
        self._after = 0

    async def look(self) -> Collection[T]:
        """Return what is known of all that are there now, in no order.

        Raises:
            NaqConnectionError: the server cannot be reached.
            ServerRefusedError: there is no such stream.
        """
        created = (await self._streams.stream_info(self._stream)).created
        if created != self._created:  # another stream, whose sequences begin anew
            self._forget()
            self._created = created
        await self._read()
        if len(self._known) > await self._streams.count(self._stream, self._filter):
            self._forget()
            await self._read()
        return self._known.values()

    async def _read(self) -> None:
        async for kept in self._streams.all(self._stream, self._filter, after=self._after):
            self._known[kept.subject] = self._read_one(kept)
            self._after = kept.seq


class ServerClock:
    """The server's clock, which is the one that fires: what is due is asked of it, not of ours.

    It is read once a minute, to half of a round trip. Our monotonic clock does the rest, so that a
    step of the local clock does not matter.
    """

    def __init__(self, streams: Streams, stream: str) -> None:
        """Prepare to read the clock with the answers to questions about ``stream``."""
        self._streams = streams
        self._stream = stream
        self.forget()

    def forget(self) -> None:
        """Read it again: the next answer may come from another server."""
        self._read_at = float("-inf")
        self._offset = 0.0

    async def now(self) -> float:
        """Return the server's time, seconds since the epoch.

        Raises:
            NaqConnectionError: the server cannot be reached.
        """
        asked = time.monotonic()
        if asked - self._read_at > CLOCK_FRESH:
            answer = await self._streams.stream_info(self._stream)
            heard = time.monotonic()
            self._offset = answer.ts.timestamp() - (asked + heard) / 2
            self._read_at = heard
        return time.monotonic() + self._offset
