"""The NATS protocol as bytes: what is sent is encoded here, what arrives is taken apart here.

No I/O: a :class:`Splitter` is fed with what the socket gives, cut anywhere, and hands each message
to the :class:`Subscription` it belongs to. The protocol
(https://docs.nats.io/reference/reference-protocols/nats-protocol) has two kinds of messages,
``MSG subject sid [reply] size`` and ``HMSG subject sid [reply] header-size size``, each followed by
``size`` bytes and a line break. Everything else is one line, and left to nats-py, which keeps the
connection.

Messages are not left to it, because there one costs as much as running a small job: it tries one
regular expression after the other, awaits a coroutine, and has a queue and a task per subscription
(measured in docs/design/performance.md). Here a message is found by its line break and its sizes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

__all__ = [
    "NO_RESPONDERS",
    "MalformedError",
    "Message",
    "Splitter",
    "Subscription",
    "Unsubscribe",
    "encode",
    "parse_headers",
]

MAX_LINE = 1_048_576
"""Bytes of a line without a payload. The longest is INFO, with the addresses of a cluster."""
MAX_MESSAGE = 268_435_456
"""Bytes of a message that is waited for; a server allows 64 MiB at most."""
NO_RESPONDERS = "503"
"""The status a request is answered with when nobody listens on its subject."""

_M, _H = b"MH"


class MalformedError(Exception):
    """This is not the protocol, or a part of it was lost: the link is of no use any more."""


class Message:
    """A received message. ``headers`` has ``Status`` when the server itself is answering."""

    __slots__ = ("data", "headers", "reply", "subject")

    def __init__(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.headers = headers

    def __repr__(self) -> str:
        return f"<Message {self.subject} {len(self.data)} bytes {self.headers or ''}>"

    @property
    def status(self) -> str:
        """The number of a status line, "" for an ordinary message."""
        return self.headers.get("Status", "") if self.headers else ""


# ------------------------------------------------------------------- sending


def encode(subject: str, reply: str, headers: dict[str, str] | None, data: bytes) -> bytes:
    """Return a publish as the protocol writes it.

    Subjects and headers are made by naq from checked names: ASCII without white space or line
    breaks where the protocol does not allow them.
    """
    if not headers:
        return f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n"
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    size = len(lines) + 12  # "NATS/1.0" and an empty line around them
    head = f"HPUB {subject} {reply} {size} {size + len(data)}\r\nNATS/1.0\r\n{lines}\r\n"
    return head.encode("ascii") + data + b"\r\n"


class Subscription:
    """Interest in a subject; survives reconnects and rebuilt clients until it is ended.

    Both sides of the connection call it by its ``sid``, which its client assigns. One that has
    ``ended`` is not begun again after a reconnect.
    """

    __slots__ = ("_batch", "_loop", "ended", "on_messages", "sid", "subject")

    def __init__(
        self,
        subject: str,
        on_messages: Callable[[list[Message]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.subject = subject
        self.on_messages = on_messages
        self.sid = b""
        self.ended = False
        self._loop = loop
        self._batch: list[Message] = []

    def encode(self) -> bytes:
        """Return the line that begins it."""
        return b"SUB %b %b\r\n" % (self.subject.encode(), self.sid)

    def receive(self, message: Message) -> None:
        """Collect messages that arrive together; they are handed over as one list."""
        self._batch.append(message)
        if len(self._batch) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self.on_messages(batch)


class Unsubscribe:
    """The end of a subscription."""

    __slots__ = ("sid",)

    def __init__(self, subscription: Subscription) -> None:
        self.sid = subscription.sid

    def encode(self) -> bytes:
        """Return the line that ends it."""
        return b"UNSUB %b\r\n" % self.sid


# ----------------------------------------------------------------- receiving


class Splitter:
    """Finds the messages in what the server sends."""

    __slots__ = ("_missing", "_pieces", "routes")

    def __init__(self, routes: Mapping[bytes, Subscription]) -> None:
        """Prepare to deliver to ``routes``, by ``sid``; messages for any other are dropped."""
        self.routes = routes
        self._pieces: list[bytes] = []
        self._missing = 0

    def reset(self) -> None:
        """Forget the beginning of a message that will not be continued."""
        self._pieces.clear()
        self._missing = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Deliver the messages that are complete now; return the other lines, with their ends.

        Raises:
            MalformedError: it cannot be read.
        """
        if self._pieces:
            # Joined once all of a message is there, or a large one would be copied at each piece.
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return []
            data = b"".join(self._pieces)
            self._pieces.clear()
        lines: list[bytes] = []
        taken = self._take(data, lines)
        if taken < len(data):
            self._pieces.append(data[taken:])
        return lines

    def _take(self, data: bytes, lines: list[bytes]) -> int:
        """Deliver what is complete; return how many bytes that was."""
        find, routes = data.find, self.routes
        size, at = len(data), 0
        while at < size:
            end = find(b"\r\n", at)
            if end < 0:
                if size - at > MAX_LINE:
                    raise MalformedError(f"a line of more than {MAX_LINE} bytes")
                self._missing = 1
                return at
            kind = data[at]
            if kind != _M and kind != _H:  # noqa: PLR1714 - no set is made for each
                lines.append(data[at : end + 2])
                at = end + 2
                continue
            words = data[at:end].split()
            try:
                begin, head, body = _sizes(words, end + 2, headed=kind == _H)
            except (ValueError, IndexError):
                raise MalformedError(repr(data[at : min(end, at + 200)])) from None
            if body + 2 > size:
                self._missing = body + 2 - size
                return at
            if data[body : body + 2] != b"\r\n":
                raise MalformedError(f"no line break after the message {data[at:end]!r}")
            route = routes.get(words[2])
            if route is not None:
                route.receive(
                    Message(
                        words[1].decode(),
                        words[3].decode() if len(words) > (5 if kind == _H else 4) else "",
                        data[head:body],
                        parse_headers(data[begin:head]) if head > begin else None,
                    )
                )
            at = body + 2
        return at


def _sizes(words: list[bytes], begin: int, *, headed: bool) -> tuple[int, int, int]:
    """Return where headers begin, where they end, and where the message ends.

    Raises:
        ValueError: these are not the words of a message.
        IndexError: some are missing.
    """
    fewest = 5 if headed else 4
    total = int(words[-1])
    head = int(words[-2]) if headed else 0
    if (
        words[0] != (b"HMSG" if headed else b"MSG")
        or not fewest <= len(words) <= fewest + 1
        or not 0 <= head <= total <= MAX_MESSAGE
    ):
        raise ValueError
    return begin, begin + head, begin + total


def parse_headers(raw: bytes) -> dict[str, str]:
    """Read a header block: ``NATS/1.0[ status[ description]]``, then ``name: value`` lines."""
    lines = raw.decode("utf-8", "replace").split("\r\n")
    headers = {}
    first = lines[0]
    if len(first) > 9:
        headers["Status"] = first[9:12]
        headers["Description"] = first[13:]
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = value.strip()
    return headers
