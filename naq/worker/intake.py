"""How jobs come to a worker: standing requests to each of its queues, planned by demand.

:func:`plan` is pure: counts in, requests out. The rule is fairness with full use of the worker:

* Queues known to have a backlog share the free slots evenly, whatever their order; what does not
  divide goes round in turn.
* A queue without one keeps one request standing, so that its next job comes at once. A worker of
  many queues may thus be handed a few jobs more than it has room for (at most one per quiet
  queue); they wait a moment for a slot and are handed back if none comes free.
* A worker of one queue asks for exactly what it has room for.
* Requests are topped up when half of what should stand is used up, not for every single job.

:class:`Intake` plans anew when slots come free and when jobs arrive, after everything that is ready
to run has run, so that one request asks for many slots.

A paused intake has no standing requests: its subscriptions end, so the server gives what it would
have sent here to other workers at once. What was under way by then is taken like any other job.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from naq.nats.pull import metadata
from naq.worker.deaths import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from naq.nats.connection import Connection, Message, PullHandle

    Take = Callable[[str, Message, Delivery], None]

__all__ = ["Demand", "Intake", "plan"]

STOP_TIMEOUT = 5.0
"""Seconds for what is under way to arrive; a connection gives up earlier."""


@dataclass(slots=True)
class Demand:
    """What is known of one queue: requests that stand, and jobs that wait there."""

    queue: str
    outstanding: int = 0
    backlog: int = 0


def plan(free: int, queues: list[Demand], *, turn: int = 0) -> list[tuple[Demand, int]]:
    """Return how many more jobs to ask each queue for.

    Args:
        free: slots without a job.
        queues: the worker's queues.
        turn: moves the remainder of the division from queue to queue.
    """
    if free <= 0:
        return []
    busy = [demand for demand in queues if demand.backlog > 0]
    requests: list[tuple[Demand, int]] = []
    for demand in queues:
        if len(queues) == 1:
            target = free
        elif demand.backlog <= 0:
            target = 1
        else:
            share, rest = divmod(free, len(busy))
            index = (busy.index(demand) + turn) % len(busy)
            target = share + (index < rest)
        missing = target - demand.outstanding
        if missing > 0 and demand.outstanding * 2 <= target:
            requests.append((demand, missing))
    return requests


class Intake:
    """Standing requests of one worker."""

    def __init__(self, connection: Connection, queues: Iterable[str]) -> None:
        """Prepare to take jobs of these queues; nothing is asked for yet."""
        self._connection = connection
        self._demand = {queue: Demand(queue) for queue in queues}
        self._pulls: dict[str, PullHandle] = {}
        self._wanted = anyio.Event()
        self._closing = anyio.Lock()
        self._paused = self._stopped = False
        self._turn = 0

    def want(self) -> None:
        """Plan again soon: something has changed."""
        self._wanted.set()

    def pause(self, *, on: bool) -> None:
        """Ask for nothing until told to go on."""
        self._paused = on
        self._wanted.set()

    async def run(self, *, room: Callable[[], int], take: Take, paused: Callable[[], None]) -> None:
        """Ask for jobs until cancelled or stopped.

        Args:
            room: how many jobs there is room for now.
            take: called with queue, message and delivery of each job.
            paused: called when a pause has come into force: nothing more will arrive.
        """
        while True:
            if self._paused and self._pulls:
                # Not left halfway: what arrives meanwhile is to be settled or handed back.
                with anyio.move_on_after(STOP_TIMEOUT, shield=True):
                    await self._close()
                paused()
            elif not (self._paused or self._pulls or self._stopped):
                self._open(take)
            if self._pulls:
                self._request(room())
            await self._wanted.wait()
            self._wanted = anyio.Event()
            await anyio.lowlevel.checkpoint()

    async def stop(self) -> None:
        """Ask for nothing ever again; returns when all that was under way has arrived."""
        self._stopped = True
        await self._close()

    async def work_left(self) -> bool:
        """Whether something is queued or runs, at this worker or at others; not what is paused.

        Raises:
            NaqConnectionError: the server does not say.
        """
        names = self._connection.names
        for queue in self._demand:
            info = await self._connection.streams.consumer_info(
                names.jobs_stream, names.consumer(queue)
            )
            waiting = 0 if info.paused else info.num_pending
            if waiting or info.num_ack_pending:
                return True
        return False

    def _open(self, take: Take) -> None:
        names = self._connection.names
        for queue, demand in self._demand.items():
            self._pulls[queue] = self._connection.pull(
                names.jobs_stream,
                names.consumer(queue),
                on_jobs=partial(self._on_jobs, demand, take),
                on_lost=partial(self._on_lost, demand),
            )

    async def _close(self) -> None:
        async with self._closing:
            pulls, self._pulls = list(self._pulls.values()), {}
            async with anyio.create_task_group() as tasks:
                for pull in pulls:
                    tasks.start_soon(pull.stop)
        for demand in self._demand.values():
            demand.outstanding = 0

    def _request(self, room: int) -> None:
        self._turn += 1
        for demand, missing in plan(room, list(self._demand.values()), turn=self._turn):
            demand.outstanding += missing
            self._pulls[demand.queue].request(missing)

    def _on_lost(self, demand: Demand, lost: int) -> None:
        demand.outstanding = max(0, demand.outstanding - lost)
        self._wanted.set()

    def _on_jobs(self, demand: Demand, take: Take, messages: list[Message]) -> None:
        demand.outstanding = max(0, demand.outstanding - len(messages))
        for message in messages:
            delivered, seq, demand.backlog = metadata(message.reply)
            take(demand.queue, message, Delivery(seq, delivered))
        self._wanted.set()
