"""Leases of what a worker holds, renewed from outside of the loop that runs its jobs.

The server gives a job to somebody else when it has heard nothing of it for ``ack_wait``. Code of a
job may block the loop for longer than that, so the loop does not vouch for itself: an asyncio loop
on another thread does, over a connection of its own (on Trio the client has such a thread already).
That connection is opened when a job has been held for a third of its lease; a worker of short jobs
never pays for it.

It vouches for a loop that stands still for as long as that may go on (:mod:`naq.worker.life.stall`)
and no longer. Code in C that does not let go of the interpreter stops this thread as well: such a
job may be begun again elsewhere.
"""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import anyio

from naq.base import backoff
from naq.exceptions import NaqConnectionError
from naq.nats.jetstream import IN_PROGRESS, INFO
from naq.worker.life.ledger import clock
from naq.worker.life.stall import Stall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from naq.nats.connection import Connection, Opener
    from naq.worker.life.leases import Leases
    from naq.worker.life.ledger import Ledger

__all__ = ["Leased", "vouching"]

log = logging.getLogger("naq.worker")


class Leased(Protocol):
    """What is known here of a job that is held."""

    reply: str
    place: int
    arrived_at: float


@asynccontextmanager
async def vouching(
    connection: Connection,
    held: Mapping[str, Leased],
    leases: Leases,
    ledger: Ledger,
    *,
    ack_wait: float,
    stall_timeout: float | None,
) -> AsyncIterator[None]:
    """Renew leases and watch this loop, from another one, for the length of the block.

    Args:
        connection: of the worker.
        held: what it holds; changed by this loop meanwhile.
        leases: what is known of them.
        ledger: what whoever comes after this process will know.
        ack_wait: seconds that a lease lasts.
        stall_timeout: seconds that this loop may stand still before the process is ended; None:
            for ever.
    """

    def place_of(job_id: str) -> int:
        job = held.get(job_id)
        return 0 if job is None else job.place

    stall = Stall(ledger, limit=stall_timeout, place_of=place_of)
    renewal = _Renewal(held, leases, ledger, stall, ack_wait=ack_wait)

    def on_link(_up: bool) -> None:
        leases.doubt(time.monotonic())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stall.beat, name="naq worker beat")
        with connection.link_listener(on_link):
            async with connection.beside(renewal.keep, name="naq leases"):
                yield
        tasks.cancel_scope.cancel()


class _Renewal:
    """Renews leases; runs beside the worker's loop."""

    def __init__(
        self,
        held: Mapping[str, Leased],
        leases: Leases,
        ledger: Ledger,
        stall: Stall,
        *,
        ack_wait: float,
    ) -> None:
        """Prepare to renew.

        Args:
            held: what the worker holds; changed by its loop meanwhile.
            leases: learns when leases were renewed.
            ledger: learns when leases were renewed.
            stall: knows how long the loop has stood still.
            ack_wait: seconds that a lease lasts.
        """
        self._held = held
        self._leases = leases
        self._ledger = ledger
        self._stall = stall
        self._third = ack_wait / 3
        self._last = 0.0

    async def keep(self, open_: Opener) -> None:
        """Renew leases and look after the loop, until cancelled.

        Args:
            open_: opens a connection on the loop that this runs on.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._stall.watch)
            tasks.start_soon(self._renew, open_)

    async def _renew(self, open_: Opener) -> None:
        attempt = 0
        while True:
            await self._until_due()
            try:
                async with open_() as connection:
                    attempt = 0
                    while True:
                        await self._renew_all(connection)
                        await self._until_due()
            except NaqConnectionError as exc:
                log.warning("cannot renew leases, trying again: %s", exc)
            await anyio.sleep(backoff.exponential(attempt, initial=0.2, maximum=2.0, jitter=0.3))
            attempt += 1

    async def _until_due(self) -> None:
        """Wait until something is held for which nobody has vouched for a third of its lease."""
        while True:
            since = self._oldest()
            # What arrives from now on is not due before a third has passed.
            wait = self._third
            if since is not None:
                wait += max(since, self._last) - time.monotonic()
                if wait <= 0:
                    return
            await anyio.sleep(wait)

    def _oldest(self) -> float | None:
        return min((held.arrived_at for held in list(self._held.values())), default=None)

    async def _renew_all(self, connection: Connection) -> None:
        self._last = now = time.monotonic()
        at = clock()
        oldest = self._oldest()
        if not connection.connected or self._stall.is_over():
            return
        for held in list(self._held.values()):
            connection.publish(held.reply, IN_PROGRESS)
        # A server reads what a connection sends in order: once it answers, they are renewed.
        if await connection.ask(INFO, timeout=self._third) is not None:
            self._ledger.renewed(at)
            self._leases.renewed(now, now if oldest is None else oldest)
