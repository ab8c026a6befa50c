"""How jobs come to a worker: standing requests to each of its queues.

How many to ask each for is decided in :mod:`naq.worker.intake.demand`. :class:`Intake` plans anew
when slots come free, when jobs arrive, and when a request has not been answered, after everything
that is ready to run has run, so that one request asks for many slots.

A paused intake has no standing requests: its subscriptions end, so the server gives what it would
have sent here to other workers at once. What was under way by then is taken like any other job.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from naq.nats.pull import metadata
from naq.worker.intake.demand import Demand, plan, unanswered_at
from naq.worker.life.deaths import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from naq.nats.connection import Connection, Message, PullHandle
    from naq.worker.intake.fence import Fence

    Take = Callable[[str, Message, Delivery, bool], None]

__all__ = ["Intake"]

STOP_TIMEOUT = 5.0
"""Seconds for what is under way to arrive; a connection gives up earlier."""


class Intake:
    """Standing requests of one worker."""

    def __init__(self, connection: Connection, queues: Iterable[str], fence: Fence) -> None:
        """Prepare to take jobs of these queues; nothing is asked for yet."""
        self._connection = connection
        self._fence = fence
        self._demand = {queue: Demand(queue) for queue in queues}
        self._demands = list(self._demand.values())
        self._several = len(self._demands) > 1
        self._pulls: dict[str, PullHandle] = {}
        self._wanted = anyio.Event()
        self._due = False
        self._closing = anyio.Lock()
        self._paused = self._stopped = False
        self._turn = 0
        self.resting = True
        """Whether nothing was asked for that could still arrive."""

    def want(self) -> None:
        """Plan again soon: something has changed."""
        if not self._due:
            self._due = True
            self._wanted.set()

    def pause(self, *, on: bool) -> None:
        """Ask for nothing until told to go on."""
        self._paused = on
        self.want()

    def handed_back(self, queue: str) -> None:
        """Note that a job of ``queue`` waits there again."""
        self._demand[queue].backlog += 1

    async def run(
        self,
        *,
        room: Callable[[], int],
        holding: Callable[[], Mapping[str, int]],
        take: Take,
        paused: Callable[[], None],
    ) -> None:
        """Ask for jobs until cancelled or stopped.

        Args:
            room: how many jobs there is room for now.
            holding: how many jobs of each queue run or wait here; asked if there are several.
            take: called with queue, message and delivery of each job, and whether that may be a
                repetition.
            paused: called when a pause has come into force: nothing more will arrive.
        """
        while True:
            if self._paused and self._pulls:
                # Not left halfway: what arrives meanwhile is to be settled or handed back.
                with anyio.move_on_after(STOP_TIMEOUT, shield=True):
                    await self._close()
                self.resting = True
                paused()
            elif not (self._paused or self._pulls or self._stopped):
                self._open(take)
                self.resting = False
            until = None
            if self._pulls:
                self._request(room(), holding() if self._several else {})
                until = unanswered_at(self._demands)
            if until is None:
                await self._wanted.wait()
            else:
                with anyio.move_on_after(max(0.0, until - time.monotonic())):
                    await self._wanted.wait()
            self._wanted, self._due = anyio.Event(), False
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
                on_break=partial(self._on_break, demand),
            )

    async def _close(self) -> None:
        async with self._closing:
            pulls, self._pulls = list(self._pulls.values()), {}
            async with anyio.create_task_group() as tasks:
                for pull in pulls:
                    tasks.start_soon(pull.stop)
        for demand in self._demand.values():
            demand.outstanding = 0

    def _request(self, room: int, holding: Mapping[str, int]) -> None:
        now = time.monotonic()
        for demand, missing in plan(room, self._demands, holding, now):
            self._turn += 1
            demand.asked(missing, turn=self._turn, now=now)
            self._pulls[demand.queue].request(missing)

    def _on_lost(self, demand: Demand, lost: int) -> None:
        demand.lost(lost)
        self.want()

    def _on_break(self, demand: Demand) -> None:
        demand.newest = 0
        self._fence.doubt()

    def _on_jobs(self, demand: Demand, take: Take, messages: list[Message]) -> None:
        pending, seq = demand.backlog, 0
        doubted = max(demand.newest, self._fence.seq)
        for message in messages:
            delivered, seq, pending = metadata(message.reply)
            take(demand.queue, message, Delivery(seq, delivered), seq <= doubted)
        demand.newest = max(demand.newest, seq)
        demand.answered(len(messages), backlog=pending, now=time.monotonic())
        self.want()
