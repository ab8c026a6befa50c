"""A little HTTP/1.1: one request and one answer per connection, bytes in and bytes out.

What naq serves is health and metrics, and what it asks is whether something is healthy. That needs
no framework, but it does need a real parser, and h11 is one. Nothing here reads a socket or a
clock: whoever has the stream passes on what arrives and limits how long that may take.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import h11

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ClientExchange", "Page", "ServerExchange", "Status"]

MAX_REQUEST = 8192
"""Bytes of a request line and its headers."""
MAX_HEAD = 65_536
"""Bytes of a status line and its headers."""
PLAIN = "text/plain; charset=utf-8"

_URL_SAFE = "%/?:@!$&'()*+,;=-._~[]"


class Page(NamedTuple):
    """What is answered to a request."""

    status: HTTPStatus
    body: str
    content_type: str = PLAIN


class Status(NamedTuple):
    """What somebody else answered: 200 and "OK"; the reason may be empty."""

    code: int
    reason: str

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".rstrip()


class ServerExchange:
    """The server's side: feed it until it says that an answer is due, then send the answer.

    Only the head of a request is read: what is served here takes no bodies.
    """

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
        self._request: h11.Request | None = None

    def receive(self, data: bytes) -> bool:
        """Take what has arrived, ``b""`` for the end; return whether an answer is due.

        Raises:
            EOFError: the client has gone without asking for anything.
        """
        try:
            self._connection.receive_data(data)
            event = self._connection.next_event()
        except h11.RemoteProtocolError:
            return True
        if isinstance(event, h11.Request):
            self._request = event
            return True
        if isinstance(event, h11.ConnectionClosed):
            raise EOFError  # noqa: TRY004 - no type is wrong
        return False

    def answer(self, page_at: Callable[[str], Page]) -> bytes:
        """Return the whole answer.

        Args:
            page_at: returns the page at a path, which comes without its query. It is not called
                for what is not HTTP (400), nor for any method but GET and HEAD (405).
        """
        request = self._request
        if request is None:
            return self._write(Page(HTTPStatus.BAD_REQUEST, "this is not an HTTP request\n"))
        if request.method not in {b"GET", b"HEAD"}:
            refusal = Page(HTTPStatus.METHOD_NOT_ALLOWED, "use GET\n")
            return self._write(refusal, ("Allow", "GET, HEAD"))
        path = request.target.partition(b"?")[0].decode("ascii")
        return self._write(page_at(path), with_body=request.method == b"GET")

    def _write(self, page: Page, *more: tuple[str, str], with_body: bool = True) -> bytes:
        body = page.body.encode()
        headers = [
            ("Content-Type", page.content_type),
            ("Content-Length", str(len(body))),
            *more,
            ("Connection", "close"),
        ]
        events: list[h11.Event] = [
            h11.Response(
                status_code=page.status, headers=headers, reason=page.status.phrase.encode()
            )
        ]
        if with_body:
            events.append(h11.Data(body))
        events.append(h11.EndOfMessage())
        return b"".join(self._connection.send(event) or b"" for event in events)


class ClientExchange:
    """The client's side: send ``request``, then feed it until it returns the answer's status.

    Only the head of an answer is read. Redirects are not followed.
    """

    def __init__(self, host: str, target: str) -> None:
        """Prepare to GET something.

        Args:
            host: as it stands in the url, with the port if there is one.
            target: path and query; what may not stand in a request is percent-encoded.

        Raises:
            ValueError: ``host`` cannot stand in a request.
        """
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        headers = [
            ("Host", host),
            ("User-Agent", "naq"),
            ("Accept", "*/*"),
            ("Connection", "close"),
        ]
        try:
            request = h11.Request(method="GET", target=quote(target, _URL_SAFE), headers=headers)
        except (h11.LocalProtocolError, UnicodeEncodeError) as exc:
            raise ValueError(f"{host!r} is not a host: {exc}") from exc
        self.request = b"".join(
            self._connection.send(event) or b"" for event in (request, h11.EndOfMessage())
        )
        """The bytes to send."""

    def receive(self, data: bytes) -> Status | None:
        """Take what has arrived, ``b""`` for the end; return the status once it is known.

        Raises:
            ValueError: the answer is not HTTP, or ends too early.
        """
        try:
            self._connection.receive_data(data)
            while isinstance(event := self._connection.next_event(), h11.InformationalResponse):
                pass
        except h11.RemoteProtocolError as exc:
            raise ValueError(f"the answer is not HTTP: {exc}") from exc
        if isinstance(event, h11.Response):
            return Status(event.status_code, event.reason.decode("latin-1"))
        return None
