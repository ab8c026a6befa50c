"""Splits what the server sends: messages to their subscriptions, the rest to who keeps the link.

nats-py's own parser tries one regular expression after the other at every message and awaits a
coroutine for each; with it, taking a message apart cost as much as running a small job
(docs/design/performance.md). Here a message is found by its line break and its sizes.

The protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol
``MSG subject sid [reply] size`` and ``HMSG subject sid [reply] header-size size``, then ``size``
bytes and a line break. Everything else is one line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from naq._wire import Message, parse_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq._subscription import Subscription

__all__ = ["MalformedError", "Splitter"]

MAX_LINE = 1_048_576
"""Bytes of a line without a payload. The longest is INFO, with the addresses of a cluster."""

MAX_MESSAGE = 268_435_456
"""Bytes of a message that is waited for; a server allows 64 MiB at most."""

_M, _H = b"MH"


class MalformedError(Exception):
    """This is not the protocol, or a part of it was lost: the link is of no use any more."""


class Splitter:
    """Takes pieces as the socket gives them, cut anywhere."""

    __slots__ = ("_missing", "_pieces", "routes")

    def __init__(self, routes: Mapping[bytes, Subscription]) -> None:
        """Prepare to deliver to ``routes``; messages for nobody in there are dropped."""
        self.routes = routes
        self._pieces: list[bytes] = []
        self._missing = 0

    def reset(self) -> None:
        """Forget the beginning of what will not be continued."""
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
