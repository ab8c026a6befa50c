"""What has happened to jobs, counted on the server: per minute for charts, in total for collectors.

The counters are the server's own (ADR-49): a publish adds a number to what its subject has. So
workers need not know of each other, and reading is reading last messages. A worker adds what it has
tallied once a second, and only if there is something. Each addition has a message id and is sent
until it is acknowledged, so it counts once, unless the server is away for longer than it remembers
ids (2 min). The numbers are for people: a worker that is killed takes its last second with it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import anyio
import msgspec

from naq.base.names import new_id
from naq.jobs.layout import ensure_counters, ensure_streams
from naq.nats.jetstream import INCREMENT, MESSAGE_ID
from naq.queue.numbers.tally import METRICS, Minute, Tally, Totals, counts_of

if TYPE_CHECKING:
    from naq.nats.connection import Connection, Envelope, Stored

__all__ = ["Minute", "Totals", "keep_counted", "last_hour", "totals"]

log = logging.getLogger("naq.worker")

INTERVAL = 1.0
"""Seconds between two additions of one worker."""
LEAVE_TIMEOUT = 2.0
"""Seconds the last addition may take when a worker ends."""
MINUTES = 60
PER_REQUEST = 20
"""Minutes asked for at once: the server gives at most 1,024 messages to one request."""
PAGE = 2048


class _Addition(NamedTuple):
    subject: str
    number: int
    id: str


def _envelope(addition: _Addition) -> Envelope:
    headers = {INCREMENT: f"+{addition.number}", MESSAGE_ID: addition.id}
    return addition.subject, b"", headers


async def keep_counted(connection: Connection, tally: Tally) -> None:
    """Add what is tallied to the server's counters, until cancelled; and then once more."""
    counters = _Counters(connection, tally)
    try:
        while True:
            await counters.changed()
            await anyio.sleep(INTERVAL)
            await counters.add()
    finally:
        if connection.connected:
            with anyio.move_on_after(LEAVE_TIMEOUT, shield=True):
                await counters.add()


class _Counters:
    def __init__(self, connection: Connection, tally: Tally) -> None:
        self._connection = connection
        self._tally = tally
        self._unconfirmed: list[_Addition] = []
        self._id = new_id()
        self._made = 0
        self._changed = anyio.Event()
        tally.on_change = self._on_change

    def _on_change(self) -> None:
        self._changed.set()

    async def changed(self) -> None:
        """Wait until there is something to add."""
        self._changed = anyio.Event()
        if not self._unconfirmed and not self._tally.changed:
            await self._changed.wait()

    async def add(self) -> None:
        """Add what is not confirmed, or else what is new; what fails is added the next time.

        What is new stays in the tally meanwhile, so it is bounded whatever the server does.
        """
        try:
            if not self._unconfirmed:
                now = await self._connection.clock.now()
                self._unconfirmed = self._new(int(now // 60))
            sent = self._unconfirmed
            answers = await self._connection.store_many(sent, _envelope)
        except Exception as exc:  # noqa: BLE001 - jobs matter more than their numbers
            log.debug("cannot count: %s", exc)
            return
        failed = [
            (addition, answer)
            for addition, answer in zip(sent, answers, strict=True)
            if isinstance(answer, Exception)
        ]
        self._unconfirmed = [addition for addition, _ in failed]
        if failed:
            log.debug("%d counts were not stored: %s", len(failed), failed[0][1])

    def _new(self, minute: int) -> list[_Addition]:
        names = self._connection.names
        everywhere: dict[str, int] = defaultdict(int)
        numbers: list[tuple[str, int]] = []
        for queue, metric, number in self._tally.take():
            everywhere[metric] += number
            numbers.append((names.count(minute, metric, queue), number))
            numbers.append((names.total(queue, metric), number))
        numbers += [(names.count(minute, metric), number) for metric, number in everywhere.items()]
        additions = []
        for subject, number in numbers:
            self._made += 1
            additions.append(_Addition(subject, number, f"{self._id}:{self._made}"))
        return additions


async def last_hour(connection: Connection, queue: str | None = None) -> list[Minute]:
    """Return what happened in each of the last 60 minutes, oldest first.

    The last one is the one that is running, by the server's clock.

    Args:
        connection: where to ask.
        queue: of this queue alone; None: of all.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    await ensure_streams(connection)  # the clock is asked of one of them
    await ensure_counters(connection)
    names = connection.names
    newest = int(await connection.clock.now() // 60)
    minutes = range(newest - MINUTES + 1, newest + 1)
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for begin in range(0, MINUTES, PER_REQUEST):
        filters = [names.count(m, "*", queue) for m in minutes[begin : begin + PER_REQUEST]]
        for stored in await connection.streams.last_of(names.counts_stream, filters):
            counter = names.counter(stored.subject)
            if counter.minute is not None:
                found[counter.minute][counter.metric] = _value(stored)
    return [Minute(minute=m, **counts_of(found.get(m, {}))) for m in minutes]


async def totals(connection: Connection) -> dict[str, Totals]:
    """Return what has happened in each queue since it was created, by its name.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    await ensure_counters(connection)
    names = connection.names
    found: dict[str, dict[str, int]] = defaultdict(dict)
    everything = connection.streams.all(names.totals_stream, names.total("*", "*"), page=PAGE)
    async for stored in everything:
        counter = names.counter(stored.subject)
        if counter.queue is not None and counter.metric in METRICS:
            found[counter.queue][counter.metric] = _value(stored)
    return {queue: Totals(queue=queue, **counts_of(found[queue])) for queue in sorted(found)}


class _Counter(msgspec.Struct):
    val: str


_decode = msgspec.json.Decoder(_Counter).decode


def _value(stored: Stored) -> int:
    return int(_decode(stored.data).val)
