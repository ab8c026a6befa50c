"""Reading streams, and taking messages out of them: the half of a connection that asks JetStream.

Streams are read by direct gets, which any replica answers, and which change nothing.

Messages of a stream that are looked at again and again, read only as far as they have changed.

Only what was stored since the last look is read, and the server's count tells whether some are
gone, for which all are read again: thousands at rest cost three small requests.

The server's clock, which is the one that fires: what is due is asked of it, not of ours.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import msgspec

from naq.base import backoff as _backoff
from naq.exceptions import NaqConnectionError, ServerRefusedError
from naq.nats.protocol import Message, Stored, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from naq.nats.connection import Connection

__all__ = ["REQUEST_TIMEOUT", "Followed", "Reads", "matches", "server_now"]

REQUEST_TIMEOUT = 10.0
PAGE = 256
"""Messages per page when a stream is read through."""

_NO_MESSAGE = frozenset({10057, 10043})  # deleted already; taken by another one meanwhile


def matches(filter_subject: str, subject: str) -> bool:
    """Whether a filter takes a subject, as the server sees it."""
    wanted, given = filter_subject.split("."), subject.split(".")
    for place, part in enumerate(wanted):
        if part == ">":
            return len(given) > place
        if place >= len(given) or part not in {"*", given[place]}:
            return False
    return len(wanted) == len(given)


class Reads(ABC):
    """What can be read over a connection."""

    @abstractmethod
    async def request(
        self, subject: str, data: bytes = b"", *, timeout: float = REQUEST_TIMEOUT
    ) -> Message:
        """Ask something that may be asked twice, and wait for the answer."""

    @abstractmethod
    async def gather(
        self,
        subject: str,
        data: bytes = b"",
        *,
        timeout: float,
        enough: Callable[[list[Message]], bool] = lambda _: False,
    ) -> list[Message]:
        """Ask everybody; return the answers once they are ``enough``, or when time is up."""

    @abstractmethod
    async def api(self, subject: str, body: object = None) -> dict[str, Any]:
        """Call JetStream's API and return its answer."""

    async def get(self, stream: str, subject: str) -> Stored | None:
        """Return the last message of a literal ``subject``, None if there is none."""
        reply = await self.request(f"$JS.API.DIRECT.GET.{stream}.{subject}")
        if reply.status:
            return None
        return stored(reply)

    async def first(self, stream: str, filter_subject: str) -> tuple[Stored | None, int]:
        """Return the oldest message that matches, and how many match."""
        reply = await self._page(stream, filter_subject, start=1, batch=1)
        if not reply or reply[0].status:
            return None, 0
        more = int((reply[0].headers or {}).get("Nats-Num-Pending", "0"))
        return stored(reply[0]), more + 1

    async def next(self, stream: str, filter_subject: str, *, after: int) -> Stored | None:
        """Return the first message that matches with a sequence above ``after``.

        Cheap if it is near (nothing is counted); far away, in another block of the stream's file,
        the server looks at all subjects that match: a quarter of a second with a million of them
        (nats-server 2.15.1). ``after`` should therefore be as close as is known.
        """
        body = msgspec.json.encode({"seq": after + 1, "next_by_subj": filter_subject})
        reply = await self.request(f"$JS.API.DIRECT.GET.{stream}", body)
        return None if reply.status else stored(reply)

    async def page(
        self, stream: str, filter_subject: str, *, after: int = 0, limit: int = PAGE
    ) -> list[Stored]:
        """Return up to ``limit`` messages that match, with a sequence above ``after``, in order.

        A page with fewer is the last one.
        """
        replies = await self._page(stream, filter_subject, start=after + 1, batch=limit)
        return [stored(reply) for reply in replies if not reply.status]

    async def last_of(self, stream: str, filters: list[str]) -> list[Stored]:
        """Return the last message of each subject that any of ``filters`` matches, in order.

        In one request, so of a bounded number of subjects: the server gives up above 1,024.

        Raises:
            ServerRefusedError: there are more.
            NaqConnectionError: no answer in time.
        """
        replies = await self._direct(stream, {"multi_last": filters, "batch": 1024})
        end = replies[-1]
        if end.status not in ("204", "404"):
            description = (end.headers or {}).get("Description", "")
            raise ServerRefusedError(
                f"stream {stream}: {end.status} {description}", description=description
            )
        return [stored(reply) for reply in replies if not reply.status]

    async def _page(self, stream: str, subject: str, *, start: int, batch: int) -> list[Message]:
        return await self._direct(stream, {"seq": start, "next_by_subj": subject, "batch": batch})

    async def _direct(self, stream: str, body: dict[str, Any]) -> list[Message]:
        """Ask for several messages; the last answer is a status.

        Asked again when the link is lost meanwhile, or while nobody leads the stream.
        """
        question = msgspec.json.encode(body)
        deadline, attempt = time.monotonic() + REQUEST_TIMEOUT, 0
        while (left := deadline - time.monotonic()) > 0:
            replies = await self.gather(
                f"$JS.API.DIRECT.GET.{stream}",
                question,
                timeout=left,
                enough=lambda replies: bool(replies[-1].status),
            )
            if replies and replies[-1].status:
                return replies
            pause = _backoff.exponential(attempt, initial=0.05, maximum=1.0, jitter=0.3)
            attempt += 1
            await anyio.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        raise NaqConnectionError(f"stream {stream}: it did not answer in time")

    async def purge(self, stream: str, filter_subject: str) -> int:
        """Remove every message that matches; return how many there were."""
        answer = await self.api(f"STREAM.PURGE.{stream}", {"filter": filter_subject})
        return int(answer.get("purged", 0))

    async def remove(self, stream: str, seq: int) -> None:
        """Remove one message, if it is still there: not one that took its place since."""
        try:
            await self.api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})
        except ServerRefusedError as exc:
            if exc.code not in _NO_MESSAGE:
                raise


T = TypeVar("T")


class Followed(Generic[T]):
    """What the messages of a filter say, of a stream that keeps one per subject."""

    def __init__(
        self, connection: Connection, stream: str, filter_subject: str, of: Callable[[Stored], T]
    ) -> None:
        """Follow messages.

        Args:
            connection: to the server.
            stream: which holds them, with one message per subject.
            filter_subject: of those that are looked at.
            of: returns what is to be known of one.
        """
        self._connection = connection
        self._stream = stream
        self._filter = filter_subject
        self._of = of
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
        created = (await self._connection.api(f"STREAM.INFO.{self._stream}"))["created"]
        if created != self._created:  # another stream, whose sequences begin anew
            self._forget()
            self._created = created
        await self._read()
        _, total = await self._connection.first(self._stream, self._filter)
        if len(self._known) > total:
            self._forget()
            await self._read()
        return self._known.values()

    async def _read(self) -> None:
        while page := await self._connection.page(self._stream, self._filter, after=self._after):
            for kept in page:
                self._known[kept.subject] = self._of(kept)
            self._after = page[-1].seq


FRESH = 60.0
"""Seconds a comparison of the clocks is good for."""


async def server_now(connection: Connection) -> float:
    """Return the server's time, seconds since the epoch.

    Its clock is read once a minute, to half of a round trip; our monotonic clock does the rest, so
    that a step of the local clock does not matter. After a
    reconnect it may be another server's, and is read again (``Connection.forget``).

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    now = time.monotonic()
    if connection.clock is None or now - connection.clock.read_at > FRESH:
        answer = await connection.api(f"STREAM.INFO.{connection.names.jobs_stream}")
        back = time.monotonic()
        theirs = datetime.fromisoformat(answer["ts"]).timestamp()
        connection.set_clock(theirs - (now + back) / 2, back)
    assert connection.clock is not None
    return time.monotonic() + connection.clock.offset
