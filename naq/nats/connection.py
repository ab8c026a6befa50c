"""The one client of NATS the rest of naq uses: the same calls on asyncio and on Trio.

A connection is an ``async with``. Behind it a client runs on asyncio, in this loop or, when this is
Trio, on a thread of its own; it reconnects by itself, for ever. Calls that wait for an answer are
``async``; calls that only send return at once. What JetStream keeps is asked of
:attr:`Connection.streams`.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
import msgspec

from naq.base.imports import here
from naq.base.public import public
from naq.exceptions import NaqConnectionError
from naq.nats import jetstream
from naq.nats.jetstream import PubAck, Stored
from naq.nats.link.bulk import Ingest, Pipelined
from naq.nats.link.client import Client
from naq.nats.link.exchange import Gather, Request, Store
from naq.nats.link.seam import DirectSeam, beside, open_seam
from naq.nats.locate import locate
from naq.nats.protocol import Message, Subscription
from naq.nats.pull import Pull, PullHandle
from naq.nats.streams import REQUEST_TIMEOUT, ServerClock, Streams
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from naq.base.names import Names
    from naq.nats.link.seam import Seam
    from naq.nats.locate import Target

__all__ = [
    "Connection",
    "Envelope",
    "Message",
    "Opener",
    "PubAck",
    "PullHandle",
    "Stored",
    "connect",
    "current_connection",
    "open_here",
    "use_connection",
]

STORE_TIMEOUT = 30.0
"""Seconds a publish is tried for. Longer than an election in a cluster (6 s), shorter than the
stream's duplicate window (2 min), so that a publish tried twice is stored once."""
LAST_USERS = 2.0
"""Seconds a connection that ends waits for those who have borrowed it."""
BATCH = 64
"""Messages from which on a batch is worth its two round trips."""

Envelope = tuple[str, bytes, "dict[str, str] | None"]
"""A message to be stored: subject, body and headers."""

T = TypeVar("T")

_current: ContextVar[Connection | None] = ContextVar("naq_connection", default=None)
_open: list[Connection] = []
"""Those of all event loops; each is owned by the block of its :func:`connect`."""
os.register_at_fork(after_in_child=_open.clear)


def current_connection() -> Connection | None:
    """Return the connection of the ``async with naq.connect()`` or job this code runs in."""
    connection = _current.get()
    return connection if connection is not None and connection.usable() else None


def open_here() -> list[Connection]:
    """Return the open connections of the event loop this code runs in, the newest one last."""
    return [connection for connection in _open if connection.usable()]


def use_connection(connection: Connection) -> None:
    """Make :func:`current_connection` return ``connection`` in this task and its children."""
    _current.set(connection)


@contextmanager
def using(connection: Connection) -> Iterator[None]:
    """Make :func:`current_connection` return ``connection`` for the length of the block."""
    token = _current.set(connection)
    try:
        yield
    finally:
        try:
            _current.reset(token)
        except ValueError:  # left in another context than entered (a fixture, a generator)
            _current.set(None)


class Opener(Protocol):
    """Opens a connection, for the length of a block."""

    def __call__(self) -> AbstractAsyncContextManager[Connection]:
        """Return the context manager."""


class Connection:
    """An open connection; made by :func:`connect`."""

    def __init__(self, seam: Seam, client: Client, *, settings: Settings, target: Target) -> None:
        self.settings = settings
        self.target = target
        self.names: Names = settings.names
        self.open = True
        self.given_url: str | None = None
        """The url :func:`connect` was called with; None if it was found."""
        self.streams = Streams(self)
        """What JetStream keeps on this server."""
        self.clock = ServerClock(self.streams, self.names.jobs_stream)
        self.declared: set[str] = set()
        """Streams and consumers known to exist, so that each is declared once."""
        self._seam = seam
        self._client = client
        self._directory = here()
        self._users = 0
        self._unused = anyio.Event()
        self._listeners: list[Callable[[bool], None]] = []

    def close(self) -> None:
        """Say that it has ended; its block does."""
        self.open = False
        for listener in list(self._listeners):
            listener(False)

    def leads_to(self, nats_url: str | None, settings: Settings) -> bool:
        """Whether :func:`connect` with these would lead to the same place."""
        mine = self.settings
        wanted = nats_url or settings.nats_url
        if wanted != (self.given_url or mine.nats_url):
            return False
        if wanted is None and self._directory != here():
            return False
        return settings == mine or replace(settings, nats_url=mine.nats_url) == mine

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Count as a user for the length of a block."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def unused(self) -> None:
        """Wait until nobody has borrowed it."""
        while self._users:
            self._unused = anyio.Event()
            await self._unused.wait()

    def forget(self, up: bool) -> None:
        """Forget, after a reconnect, what was known of the server.

        It may be another one, with another clock, and streams in memory ended with it.
        """
        if up:
            self.declared.clear()
            self.clock.forget()

    @property
    def url(self) -> str:
        """Where the server is, without credentials."""
        return self.target.url

    @property
    def server_version(self) -> str:
        """The server's version, ``2.15.1``."""
        return self._client.server_version

    @property
    def server_id(self) -> str:
        """The id of the server, another one after each of its starts."""
        return self._client.server_id

    @property
    def clustered(self) -> bool:
        """Whether the server belongs to a cluster: what it keeps may be led by another one."""
        return self._client.clustered

    @property
    def connected(self) -> bool:
        """Whether there is a link at this moment."""
        return self._client.connected

    @property
    def in_cluster(self) -> bool:
        """Whether the server has others beside it, which answer for it and may be behind."""
        return self._client.in_cluster

    @property
    def max_payload(self) -> int:
        """Bytes of headers and body the server takes in one message."""
        return self._client.max_payload

    def usable(self) -> bool:
        """Whether it is open and belongs to the event loop this code runs in."""
        return self.open and self._seam.is_here()

    @asynccontextmanager
    async def beside(
        self, main: Callable[[Opener], Awaitable[None]], *, name: str
    ) -> AsyncIterator[None]:
        """Run ``main`` for the length of the block, on an asyncio loop that is not this one.

        It goes on when this loop is blocked. It must end soon once it is cancelled, and raise
        nothing.

        Args:
            main: gets what opens a connection for that loop: a new one to the same server, or this
                one where its client has a thread in any case.
            name: of that connection, shown in the server's monitoring.
        """

        @asynccontextmanager
        async def opened() -> AsyncIterator[Connection]:
            if self._seam.is_threaded:
                seam = DirectSeam(self._seam.loop, anyio.CancelScope())
                yield Connection(seam, self._client, settings=self.settings, target=self.target)
                return
            async with connect(self.given_url, settings=self.settings, name=name) as connection:
                yield connection

        async with beside(self._seam, self._client, partial(main, opened)):
            yield

    # ---------------------------------------------------------------- sending

    def publish(
        self,
        subject: str,
        data: bytes = b"",
        *,
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send a plain message, which nobody stores or answers."""
        self._seam.post(self._client.publish, subject, data, reply, headers)

    def ack(self, reply: str, data: bytes = jetstream.ACK) -> None:
        """Settle a delivery, with what :mod:`naq.nats.jetstream` writes for it."""
        self._seam.post(self._client.ack, reply, data)

    async def store(
        self,
        subject: str,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        later: Mapping[str, str] | None = None,
        timeout: float = STORE_TIMEOUT,
    ) -> PubAck:
        """Publish into a stream and wait until it is stored.

        It is sent again when the link breaks or no answer comes, so it must carry a message id or
        a compare-and-set.

        Args:
            subject: a literal subject of a stream.
            data: the body.
            headers: NATS headers.
            later: headers that every copy after the first carries as well.
            timeout: seconds to try for.

        Raises:
            PayloadTooLargeError: body and headers are more than the server takes; nothing was sent.
            ServerRefusedError: the server's own error, for example a failed compare-and-set.
            NaqConnectionError: no answer in time.
        """
        ack: PubAck = await self._seam.ask(
            self._start_store, subject, data, headers, timeout, later
        )
        return ack

    def _start_store(  # noqa: PLR0917 - positional as the seam passes it
        self,
        done: Callable[[Any], None],
        subject: str,
        data: bytes,
        headers: dict[str, str] | None,
        timeout: float,
        later: Mapping[str, str] | None = None,
    ) -> None:
        self._client.exchanges.start(
            Store(done, subject, data, headers, timeout=timeout, later=later)
        )

    def store_soon(
        self,
        done: Callable[[PubAck | Exception], None],
        subject: str,
        data: bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        """:meth:`store` without waiting: ``done`` gets the answer, or what went wrong."""
        deliver = self._seam.delivering(done)
        self._seam.post(self._start_store, deliver, subject, data, headers, STORE_TIMEOUT)

    async def store_many(
        self,
        items: Sequence[T],
        make: Callable[[T], Envelope],
        *,
        fresh: bool = False,
        later: Mapping[str, str] | None = None,
        timeout: float = STORE_TIMEOUT,
    ) -> list[PubAck | Exception]:
        """:meth:`store` for many at once, in order.

        Args:
            items: one for each message.
            make: returns subject, body and headers for an item. It is called when the message's
                turn comes, while earlier ones are under way, perhaps in another thread and more
                than once. It must not raise.
            fresh: whether all message ids are new, so that none can be a duplicate; the fastest
                way is taken then.
            later: headers that every copy after the first carries as well.
            timeout: seconds to try for with each.

        Returns one answer or exception for each; raises nothing itself.
        """
        bulk: Ingest[T] | Pipelined[T]
        if fresh and len(items) >= BATCH:
            bulk = Ingest(self._client, self._seam.loop, items, make, timeout=timeout, later=later)
        else:
            bulk = Pipelined(self._client, items, make, timeout=timeout, later=later)
        answers: list[PubAck | Exception] = await self._seam.ask(bulk.start)
        return answers

    def addressed(self, subject: str) -> str:
        """Return a subject of a bucket as that of the JetStream domain that is meant."""
        return self._client.addressed(subject)

    # ----------------------------------------------------------------- asking

    async def request(
        self, subject: str, data: bytes = b"", *, timeout: float = REQUEST_TIMEOUT
    ) -> Message:
        """Ask something that may be asked twice, and wait for the answer.

        Raises:
            NaqConnectionError: no answer in time.
        """
        reply: Message = await self._seam.ask(self._start_request, subject, data, timeout, True)
        return reply

    async def ask(self, subject: str, data: bytes = b"", *, timeout: float) -> Message | None:
        """Ask whoever listens, once; None when nobody does or no answer comes in time."""
        try:
            reply: Message | None = await self._seam.ask(
                self._start_request, subject, data, timeout, False
            )
        except NaqConnectionError:
            return None
        return reply

    def _start_request(
        self, done: Callable[[Any], None], subject: str, data: bytes, timeout: float, repeat: bool
    ) -> None:
        self._client.exchanges.start(
            Request(
                done, self._client.addressed(subject), data, None, timeout=timeout, repeat=repeat
            )
        )

    async def gather(
        self,
        subject: str,
        data: bytes = b"",
        *,
        timeout: float,
        enough: Callable[[list[Message]], bool] = lambda _: False,
    ) -> list[Message]:
        """Ask everybody; return the answers once they are ``enough``, or when time is up."""
        replies: list[Message] = await self._seam.ask(
            self._start_gather, subject, data, timeout, enough
        )
        return replies

    def _start_gather(
        self,
        done: Callable[[Any], None],
        subject: str,
        data: bytes,
        timeout: float,
        enough: Callable[[list[Message]], bool],
    ) -> None:
        question = self._client.addressed(subject)
        self._client.exchanges.start(Gather(done, question, data, timeout=timeout, enough=enough))

    # -------------------------------------------------------------- listening

    @contextmanager
    def subscription(
        self, subject: str, on_messages: Callable[[list[Message]], None]
    ) -> Iterator[None]:
        """Call ``on_messages`` with each list of messages that arrive on ``subject``.

        Messages that anybody sends after the server's next answer to us are heard.
        """
        listener = Subscription(subject, self._seam.delivering(on_messages), self._seam.loop)
        self._seam.post(self._client.subscribe, listener)
        try:
            yield
        finally:
            self._seam.post(self._client.unsubscribe, listener)

    @contextmanager
    def link_listener(self, listener: Callable[[bool], None]) -> Iterator[None]:
        """Call ``listener(True)`` after every reconnect, ``listener(False)`` at every loss.

        The end of the connection is one.
        """
        deliver = self._seam.delivering(listener)
        self._seam.post(self._client.on_link, deliver)
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
            self._seam.post(self._client.off_link, deliver)

    def pull(
        self,
        stream: str,
        consumer: str,
        *,
        on_jobs: Callable[[list[Message]], None],
        on_lost: Callable[[int], None],
        on_break: Callable[[], None] | None = None,
    ) -> PullHandle:
        """Prepare to pull from a consumer; see :class:`naq.nats.pull.Pull`."""
        pull = Pull(
            self._client,
            self._seam.loop,
            stream=stream,
            consumer=consumer,
            on_jobs=self._seam.delivering(on_jobs),
            on_lost=self._seam.delivering(on_lost),
            on_break=None if on_break is None else self._seam.delivering(lambda _: on_break()),
        )
        self._seam.post(pull.start)
        return PullHandle(pull, self._seam)


@public
@asynccontextmanager
async def connect(
    nats_url: str | None = None,
    *,
    settings: Settings | None = None,
    name: str = "naq",
) -> AsyncIterator[Connection]:
    """Connect to NATS; ``async with naq.connect() as connection``.

    Inside the block, :class:`naq.Queue` and the module functions use this connection unless they
    are given another.

    Args:
        nats_url: URL of the server; None: found as docs/guide.md describes.
        settings: instead of the environment's.
        name: name shown in the server's monitoring.

    Raises:
        NaqConnectionError: the server is absent, too old, without JetStream, or refuses the
            credentials.
        ConfigurationError: the URL or a setting cannot be used.
    """
    settings = settings or Settings.from_env()
    client = Client(locate(nats_url, settings), name=name)
    async with open_seam(client) as seam:
        connection = Connection(seam, client, settings=settings, target=client.target)
        connection.given_url = nats_url
        await _require_jetstream(connection)
        _open.append(connection)
        try:
            with using(connection), connection.link_listener(connection.forget):
                yield connection
        finally:
            if connection in _open:  # not in the child of a fork
                _open.remove(connection)
            with anyio.move_on_after(LAST_USERS, shield=True):
                await connection.unused()
            connection.close()


async def _require_jetstream(connection: Connection) -> None:
    reply = await connection.ask(jetstream.INFO, timeout=REQUEST_TIMEOUT)
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
