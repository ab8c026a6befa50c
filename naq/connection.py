"""The one client of NATS the rest of naq uses: the same calls on asyncio and on Trio.

A connection is an ``async with``. Behind it the client runs on asyncio (``_client``), in this loop
or on a thread of its own when this is Trio (``_seam``); it reconnects by itself, for ever. Calls
that wait for an answer are ``async``; calls that only send are not and return at once.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from naq._client import Client, Subscription
from naq._exchange import ApiError, Gather, PubAck, Reply, Store, refused, status_of
from naq._exchange import Exchange as Request
from naq._locate import locate, redact
from naq._pull import Pull
from naq._seam import open_seam
from naq.exceptions import NaqConnectionError
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from naq._locate import Target
    from naq._names import Names
    from naq._seam import Seam

__all__ = ["Connection", "PubAck", "PullHandle", "Reply", "Stored", "connect", "current_connection"]

STORE_TIMEOUT = 30.0
"""Seconds a publish is tried for. Longer than an election in a cluster (6 s), shorter than the
stream's duplicate window (2 min), so that a publish tried twice is stored once."""
REQUEST_TIMEOUT = 10.0
WINDOW = 2000
"""Publishes of one bulk in flight."""
PAGE = 256
"""Messages per page when a stream is read through."""

Message = tuple[str, bytes, "dict[str, str] | None"]

_current: ContextVar[Connection | None] = ContextVar("naq_connection", default=None)


def current_connection() -> Connection | None:
    """Return the connection of the ``async with naq.connect()`` or job this code runs in."""
    connection = _current.get()
    return connection if connection is not None and connection.open else None


class Stored(msgspec.Struct, frozen=True):
    """A message as it stands in a stream."""

    subject: str
    seq: int
    time: datetime
    data: bytes
    headers: dict[str, str]


class Connection:
    """An open connection; made by :func:`connect`."""

    def __init__(self, seam: Seam, client: Client, *, settings: Settings, target: Target) -> None:
        self.settings = settings
        self.target = target
        self.names: Names = settings.names
        self.open = True
        self.declared: set[str] = set()
        """Streams and consumers known to exist, so that each is asked for once."""
        self._seam = seam
        self._client = client

    @property
    def url(self) -> str:
        """Where the server is, without credentials."""
        return redact(self.target.url)

    @property
    def server_version(self) -> str:
        """The server's version, ``2.15.1``."""
        return self._client.server_version

    @property
    def connected(self) -> bool:
        """Whether there is a link at this moment."""
        return self._client.connected

    @property
    def max_payload(self) -> int:
        """Bytes of headers and body the server takes in one message."""
        return self._client.max_payload

    # ---------------------------------------------------------------- sending

    def publish(
        self,
        subject: str,
        data: bytes = b"",
        *,
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send a core message: nobody stores it, nobody answers."""
        self._seam.post(self._client.publish, subject, data, reply, headers)

    def ack(self, reply: str, data: bytes = b"+ACK") -> None:
        """Settle a delivery: ``+ACK``, ``-NAK {"delay": ns}`` or ``+TERM reason``."""
        self._seam.post(self._client.ack, reply, data)

    async def store(
        self,
        subject: str,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        timeout: float = STORE_TIMEOUT,
    ) -> PubAck:
        """Publish into a stream and wait until it is stored.

        It is sent again when the link breaks or no answer comes, so it must carry a message id or
        a compare-and-set.

        Args:
            subject: a literal subject of a stream.
            data: the body.
            headers: NATS headers.
            timeout: seconds to try for.

        Raises:
            PayloadTooLargeError: body and headers are more than the server takes; nothing was sent.
            ServerRefusedError: the server's own error, for example a failed compare-and-set.
            NaqConnectionError: no answer in time.
        """
        ack: PubAck = await self._seam.ask(self._start_store, subject, data, headers, timeout)
        return ack

    def _start_store(
        self,
        done: Callable[[Any], None],
        subject: str,
        data: bytes,
        headers: dict[str, str] | None,
        timeout: float,
    ) -> None:
        self._client.exchanges.start(Store(done, subject, data, headers, timeout=timeout))

    async def store_many(
        self, messages: Sequence[Message], *, timeout: float = STORE_TIMEOUT
    ) -> list[PubAck | Exception]:
        """:meth:`store` for many ``(subject, data, headers)`` at once, in order.

        Returns one answer or exception for each; raises nothing itself.
        """
        bulk = _Bulk(self._start_store, messages, timeout)
        answers: list[PubAck | Exception] = await self._seam.ask(bulk.start)
        return answers

    # ----------------------------------------------------------------- asking

    async def request(
        self, subject: str, data: bytes = b"", *, timeout: float = REQUEST_TIMEOUT
    ) -> Reply:
        """Ask something that may be asked twice, and wait for the answer.

        Raises:
            NaqConnectionError: no answer in time.
        """
        reply: Reply = await self._seam.ask(self._start_request, subject, data, timeout, True)
        return reply

    async def ask(self, subject: str, data: bytes = b"", *, timeout: float) -> Reply | None:
        """Ask whoever feels addressed, once; None when nobody listens or answers in time."""
        try:
            reply: Reply | None = await self._seam.ask(
                self._start_request, subject, data, timeout, False
            )
        except NaqConnectionError:
            return None
        return reply

    def _start_request(
        self, done: Callable[[Any], None], subject: str, data: bytes, timeout: float, repeat: bool
    ) -> None:
        self._client.exchanges.start(
            Request(done, subject, data, None, timeout=timeout, repeat=repeat)
        )

    async def gather(
        self,
        subject: str,
        data: bytes = b"",
        *,
        timeout: float,
        enough: Callable[[list[Reply]], bool] = lambda _: False,
    ) -> list[Reply]:
        """Ask everybody; return the answers once they are ``enough``, or when time is up."""
        replies: list[Reply] = await self._seam.ask(
            self._start_gather, subject, data, timeout, enough
        )
        return replies

    def _start_gather(
        self,
        done: Callable[[Any], None],
        subject: str,
        data: bytes,
        timeout: float,
        enough: Callable[[list[Reply]], bool],
    ) -> None:
        self._client.exchanges.start(Gather(done, subject, data, timeout=timeout, enough=enough))

    async def api(self, subject: str, body: object = None) -> dict[str, Any]:
        """Call JetStream's API (``$JS.API.`` is put before ``subject``) and return its answer.

        Raises:
            ServerRefusedError: its error.
            NaqConnectionError: no answer in time.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        reply = await self.request(f"$JS.API.{subject}", data)
        answer: dict[str, Any] = msgspec.json.decode(reply.data)
        if "error" in answer:
            raise refused(subject, msgspec.convert(answer["error"], ApiError))
        return answer

    # ---------------------------------------------------------------- reading

    async def get(self, stream: str, subject: str) -> Stored | None:
        """Return the last message of a literal ``subject``, None if there is none."""
        reply = await self.request(f"$JS.API.DIRECT.GET.{stream}.{subject}")
        if status_of(reply):
            return None
        return _stored(reply)

    async def first(self, stream: str, filter_subject: str) -> tuple[Stored | None, int]:
        """Return the oldest message that matches, and how many match."""
        reply = await self._page(stream, filter_subject, start=1, batch=1)
        if not reply or status_of(reply[0]):
            return None, 0
        more = int((reply[0].headers or {}).get("Nats-Num-Pending", "0"))
        return _stored(reply[0]), more + 1

    async def page(
        self, stream: str, filter_subject: str, *, after: int = 0, limit: int = PAGE
    ) -> list[Stored]:
        """Return up to ``limit`` messages that match, with a sequence above ``after``, in order.

        A page with fewer is the last one.
        """
        replies = await self._page(stream, filter_subject, start=after + 1, batch=limit)
        return [_stored(reply) for reply in replies if not status_of(reply)]

    async def _page(self, stream: str, subject: str, *, start: int, batch: int) -> list[Reply]:
        body = {"seq": start, "next_by_subj": subject, "batch": batch}
        replies = await self.gather(
            f"$JS.API.DIRECT.GET.{stream}",
            msgspec.json.encode(body),
            timeout=REQUEST_TIMEOUT,
            enough=lambda replies: bool(status_of(replies[-1])),
        )
        if not replies or not status_of(replies[-1]):
            raise NaqConnectionError(f"stream {stream}: it did not answer in time")
        return replies

    async def purge(self, stream: str, filter_subject: str) -> int:
        """Remove every message that matches; return how many there were."""
        answer = await self.api(f"STREAM.PURGE.{stream}", {"filter": filter_subject})
        return int(answer.get("purged", 0))

    # -------------------------------------------------------------- listening

    @contextmanager
    def subscription(
        self, subject: str, on_messages: Callable[[list[Reply]], None]
    ) -> Iterator[None]:
        """Call ``on_messages`` with each list of messages that arrive on ``subject``.

        Messages sent by anyone after the next answer from the server are heard.
        """
        listener = Subscription(subject, partial(self._seam.deliver, on_messages), self._seam.loop)
        self._seam.post(self._client.subscribe, listener)
        try:
            yield
        finally:
            self._seam.post(self._client.unsubscribe, listener)

    def on_link(self, listener: Callable[[bool], None]) -> None:
        """Call ``listener(True)`` after every reconnect, ``listener(False)`` at every loss."""
        self._client.on_link(partial(self._seam.deliver, listener))

    def pull(
        self,
        stream: str,
        consumer: str,
        *,
        on_jobs: Callable[[list[Reply]], None],
        on_lost: Callable[[int], None],
    ) -> PullHandle:
        """Prepare to pull from a consumer; see :class:`naq._pull.Pull`."""
        pull = Pull(
            self._client,
            self._seam.loop,
            stream=stream,
            consumer=consumer,
            on_jobs=partial(self._seam.deliver, on_jobs),
            on_lost=partial(self._seam.deliver, on_lost),
        )
        self._seam.post(pull.start)
        return PullHandle(pull, self._seam)


class PullHandle:
    """The caller's side of a :class:`naq._pull.Pull`."""

    __slots__ = ("_pull", "_seam")

    def __init__(self, pull: Pull, seam: Seam) -> None:
        self._pull = pull
        self._seam = seam

    def request(self, batch: int) -> None:
        """Ask for ``batch`` more messages."""
        self._seam.post(self._pull.request, batch)

    def stop(self) -> None:
        """Ask for nothing more and take nothing more."""
        self._seam.post(self._pull.stop)


class _Bulk:
    """Many stores with a bounded number in flight; lives on the client's side."""

    def __init__(
        self,
        start_store: Callable[..., None],
        messages: Sequence[Message],
        timeout: float,
    ) -> None:
        self._start_store = start_store
        self._messages = messages
        self._timeout = timeout
        self._answers: list[Any] = [None] * len(messages)
        self._next = 0
        self._open = 0
        self._feeding = False
        self._done: Callable[[Any], None]

    def start(self, done: Callable[[Any], None]) -> None:
        self._done = done
        self._feed()

    def _feed(self) -> None:
        if self._feeding:  # an answer that came at once, from within the loop below
            return
        self._feeding = True
        while self._open < WINDOW and self._next < len(self._messages):
            index = self._next
            self._next += 1
            self._open += 1
            self._start_store(partial(self._settled, index), *self._messages[index], self._timeout)
        self._feeding = False
        if not self._open:
            self._done(self._answers)

    def _settled(self, index: int, answer: Any) -> None:
        self._answers[index] = answer
        self._open -= 1
        if self._open <= WINDOW // 2:
            self._feed()


def _stored(reply: Reply) -> Stored:
    headers = dict(reply.headers or {})
    return Stored(
        subject=headers.pop("Nats-Subject", ""),
        seq=int(headers.pop("Nats-Sequence", "0")),
        time=datetime.fromisoformat(headers.pop("Nats-Time-Stamp")),
        data=reply.data,
        headers=headers,
    )


@asynccontextmanager
async def connect(
    nats_url: str | None = None,
    *,
    settings: Settings | None = None,
    name: str = "naq",
) -> AsyncIterator[Connection]:
    """Connect to NATS; ``async with naq.connect() as connection``.

    Inside the block :class:`naq.Queue` and the module functions use this connection unless they
    are told otherwise.

    Args:
        nats_url: where the server is; None looks where docs/guide.md says.
        settings: instead of the environment's.
        name: shown in the server's monitoring.

    Raises:
        NaqConnectionError: no server there, credentials refused, too old, or no JetStream.
        ConfigurationError: the url or a setting cannot be used.
    """
    settings = settings or Settings.from_env()
    client = Client(locate(nats_url, settings), name=name)
    async with open_seam(client) as seam:
        connection = Connection(seam, client, settings=settings, target=client.target)
        await _require_jetstream(connection)
        token = _current.set(connection)
        try:
            yield connection
        finally:
            connection.open = False
            try:
                _current.reset(token)
            except ValueError:  # left in another context than entered (a fixture, a generator)
                _current.set(None)


async def _require_jetstream(connection: Connection) -> None:
    reply = await connection.ask("$JS.API.INFO", timeout=REQUEST_TIMEOUT)
    if reply is not None:
        answer = msgspec.json.decode(reply.data)
        if "error" not in answer:
            return
        raise NaqConnectionError(
            f"JetStream at {connection.url} refuses: {answer['error'].get('description', answer)}"
        )
    raise NaqConnectionError(
        f"the NATS server at {connection.url} runs without JetStream; start it with -js"
    )
