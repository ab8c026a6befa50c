"""Waiting for something on the server, so that it cannot be missed.

What was there before the subscription is read, what comes later is heard. On one server that is
enough. In a cluster it is not: the replica that answers the read may be behind the leader whose
event went past just before the subscription got there, and while a route between two servers is
gone an event goes nowhere although the client's own link is whole. Nobody tells the client of
either. So whoever waits **looks again, with growing pauses, for as long as it waits**: after 20 ms,
60, 180, and so on up to 30 s, and at each reconnect. Of those who waited on a follower of three
servers, 3 to 7 in a hundred were woken by a look and not by the event. Where there is but one
server, the first pause is a second: only what lies between us and it can lose an event.

A look that gets no answer is a failed look and not an error: the server is away, and whoever waits
goes on until its own time is up. What the server refuses is an error at once.
"""

from __future__ import annotations

import logging
import math
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from naq.base import backoff
from naq.exceptions import NaqConnectionError, ServerRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from naq.nats.connection import Connection
    from naq.nats.protocol import Message

__all__ = ["Watch", "look_until", "pause", "tried", "watching"]

log = logging.getLogger("naq.connection")

FIRST, FIRST_ALONE = 0.02, 1.0
"""Seconds until the second look in a cluster, and where there is one server. On an idle machine a
replica is behind for less."""
FACTOR = 3.0
"""How much longer each pause is than the one before."""
LONGEST = 30.0
"""Seconds between two looks at most."""
JITTER = 0.1
"""By what share pauses differ, so that many who began together do not look together."""

T = TypeVar("T")


def pause(looks: int, *, first: float = FIRST) -> float:
    """Return the seconds until the next look, after so many since there was a reason to hope."""
    return backoff.exponential(
        max(0, looks - 1), initial=first, factor=FACTOR, maximum=LONGEST, jitter=JITTER
    )


class Watch:
    """Signs that something may have changed: messages, and reconnects; see :func:`watching`."""

    def __init__(self) -> None:
        self._sign = anyio.Event()

    def show(self) -> None:
        """Give a sign to whoever waits for one."""
        self._sign.set()

    async def sign(self, within: float) -> bool:
        """Wait for a sign, for at most so many seconds; whether there was one since the last."""
        if not self._sign.is_set():
            with anyio.move_on_after(within):
                await self._sign.wait()
        shown = self._sign.is_set()
        if shown:
            self._sign = anyio.Event()
        return shown


@contextmanager
def watching(
    connection: Connection, *subjects: str, hear: Callable[[list[Message]], object] | None = None
) -> Iterator[Watch]:
    """Watch for signs, for the length of the block.

    Args:
        connection: to the server. A reconnect is a sign.
        subjects: a message on one of them is a sign.
        hear: gets the messages, before there is a sign.
    """
    watch = Watch()

    def on_messages(messages: list[Message]) -> None:
        if hear is not None:
            hear(messages)
        watch.show()

    def on_link(up: bool) -> None:
        if up:
            watch.show()

    with ExitStack() as stack:
        for subject in subjects:
            stack.enter_context(connection.subscription(subject, on_messages))
        stack.enter_context(connection.link_listener(on_link))
        yield watch


async def look_until(
    connection: Connection,
    subject: str,
    *,
    look: Callable[[], Awaitable[T | None]],
    hear: Callable[[Message], T | None],
    what: str,
    timeout: float | None = None,
) -> T:
    """Wait until a look, or a message on ``subject``, finds something; return that.

    Args:
        connection: to the server.
        subject: where a message comes when it may be there.
        look: asks whether it is there; None if it is not.
        hear: reads a message; None if it is not there yet.
        what: is waited for, in the log.
        timeout: seconds to wait; None: for ever.

    Raises:
        TimeoutError: nothing was found in time.
        ServerRefusedError: the server does not let us look.
        NaqConnectionError: the connection was closed.
        Exception: what ``look`` and ``hear`` raise.
    """
    end = math.inf if timeout is None else anyio.current_time() + timeout
    waiter, failed = _Waiter(connection, hear, end), False
    with (
        connection.subscription(subject, waiter.on_messages),
        connection.link_listener(waiter.on_link),
    ):
        while True:
            _require_open(connection)
            with waiter.looking:
                try:
                    found = await look()
                except NaqConnectionError as exc:
                    _require_hope(connection, exc)
                    (log.debug if failed else log.info)("still waiting for %s: %s", what, exc)
                    failed = True
                else:
                    if found is not None:
                        return found
                await waiter.sign()
            if waiter.error is not None:
                raise waiter.error
            if waiter.found is not None:
                return waiter.found
            if anyio.current_time() >= end:
                raise TimeoutError
            waiter.look_again()


class _Waiter(Generic[T]):
    """What one waiter has heard, and how often it has looked since there was a reason to hope."""

    def __init__(
        self, connection: Connection, hear: Callable[[Message], T | None], end: float
    ) -> None:
        self.found: T | None = None
        self.error: Exception | None = None
        self.looking = anyio.CancelScope(deadline=end)
        """In which it looks, and then waits for its next look. Ended early by what is heard."""
        self._connection = connection
        self._end = end
        self._hear = hear
        self._looks = 1
        self._asks = True
        self._sign = anyio.Event()

    def on_messages(self, messages: list[Message]) -> None:
        for message in messages:
            try:
                found = self._hear(message)
            except Exception as exc:  # noqa: BLE001 - raised in the waiter instead of the loop
                self.error = exc
            else:
                self.found = self.found if found is None else found
        if self.found is not None or self.error is not None:
            self._sign.set()
            if self._asks:
                self.looking.cancel()

    def on_link(self, up: bool) -> None:
        if up or not self._connection.open:
            self._looks = 0
            self._sign.set()

    async def sign(self) -> None:
        """Wait until something is heard, the link is back, or it is time to look again."""
        self._asks = False
        first = FIRST if self._connection.in_cluster else FIRST_ALONE
        longest = pause(self._looks, first=first)
        self.looking.deadline = min(self._end, anyio.current_time() + longest)
        await self._sign.wait()

    def look_again(self) -> None:
        """Count a look, and prepare for it."""
        self._looks += 1
        self._asks = True
        self._sign = anyio.Event()
        self.looking = anyio.CancelScope(deadline=self._end)


async def tried(connection: Connection, ask: Awaitable[T], *, what: str) -> T | None:
    """Ask once, for somebody who will ask again; None if the server does not answer.

    Raises:
        ServerRefusedError: the server refuses.
        NaqConnectionError: the connection was closed.
    """
    try:
        return await ask
    except NaqConnectionError as exc:
        _require_hope(connection, exc)
        log.debug("waiting for %s: %s", what, exc)
        return None


def _require_hope(connection: Connection, problem: NaqConnectionError) -> None:
    """Raise a problem that no further look will cure."""
    if isinstance(problem, ServerRefusedError):
        raise problem
    _require_open(connection)


def _require_open(connection: Connection) -> None:
    if not connection.open:
        raise NaqConnectionError(f"the connection to {connection.url} was closed")
