"""A scheduler: does for schedules with a policy what the server cannot.

Any number of schedulers share the work, without a leader: the server hands each tick to one of them
and to another if that was killed, and what a tick leads to happens once
(:mod:`naq.schedules.advance`). What outlives what, from the outside in::

    connection
      services     announce the scheduler
        ticks      what is in hand
          intake   a standing request; ends first when the scheduler stops
          sweep    looks for what was missed
"""

from __future__ import annotations

import logging
import math
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from naq.base.public import public
from naq.exceptions import ConfigurationError
from naq.jobs import presence
from naq.jobs.coding.codec import Codec
from naq.jobs.layout import ensure_streams, ensure_ticks
from naq.jobs.presence import Presence, WorkerInfo
from naq.jobs.shared import open_connection
from naq.nats.jetstream import TTL
from naq.nats.watch import watching
from naq.schedules.advance import Advance, settled
from naq.schedules.sweep import Sweep
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anyio.abc import TaskGroup, TaskStatus

    from naq.nats.connection import Connection, Message

__all__ = ["POLL_INTERVAL", "Scheduler"]

log = logging.getLogger("naq.scheduler")

POLL_INTERVAL = 10.0
"""Seconds between two looks for what was missed."""
SLOTS = 64
"""Ticks in hand at the same time."""
LEAVE_TIMEOUT = 5.0
"""Seconds what is in hand gets when the scheduler is stopped."""


@public
class Scheduler:
    """Handles the ticks of schedules, and looks for missed runs.

    ``await Scheduler().run()`` runs until :meth:`stop` is called or the task is cancelled.
    """

    def __init__(
        self,
        *,
        nats_url: str | None = None,
        poll_interval: float = POLL_INTERVAL,
        instance_id: str | None = None,
        enable_ha: bool = True,
        settings: Settings | None = None,
        connection: Connection | None = None,
    ) -> None:
        """Describe a scheduler.

        Args:
            nats_url: URL of the server; None: found as docs/guide.md describes.
            poll_interval: seconds between two looks for missed runs, at least 1.
            instance_id: unique name; None makes one of host, pid and chance.
            enable_ha: share the looking with other schedulers, so that one of them does it each
                time. Ticks are shared in any case.
            settings: instead of the environment's.
            connection: an open one, instead of one of its own.

        Raises:
            ConfigurationError: a value cannot be used.
        """
        self.settings = settings or Settings.from_env()
        if not poll_interval >= 1 or math.isinf(poll_interval):
            raise ConfigurationError(f"poll_interval={poll_interval!r}: must be 1 second or more")
        self.poll_interval = poll_interval
        self.enable_ha = enable_ha
        self.ticks = 0
        """How many ticks were handled here."""
        self.running = 0
        """How many ticks are in hand."""
        self._presence = Presence("scheduler", instance_id, self.settings)
        self._nats_url = nats_url
        self._given = connection
        self._connection: Connection | None = None
        """While it takes ticks."""
        self._stopping: anyio.Event | None = None
        self._stop_asked = False
        self._owed = SLOTS
        """Ticks that are to be asked for."""
        self._changed = anyio.Event()
        """Set when more are owed, or fewer are in hand."""

    @property
    def id(self) -> str:
        """Its name; another than it was given if one of that name was running when it started."""
        return self._presence.id

    @property
    def connected(self) -> bool:
        """Whether it is connected to the server."""
        return self._connection is not None and self._connection.connected

    def unready(self) -> str | None:
        """Return why it takes no ticks; None if it does."""
        if self._stopping is not None and self._stopping.is_set():
            return "stopping"
        if self._connection is None:
            return "starting"
        return None if self.connected else "no link to the server"

    def info(self) -> WorkerInfo:
        """Return what this scheduler is and what it is doing right now.

        Raises:
            ConfigurationError: it has not been started yet.
        """
        status = "busy" if self.running else "idle"
        return self._presence.info(status, concurrency=SLOTS, running=self.running)

    def stop(self) -> None:
        """Take no more ticks, finish those in hand, and end; asked before it runs, end then."""
        self._stop_asked = True
        if self._stopping is not None:
            self._stopping.set()

    async def run(  # noqa: ASYNC128 - _work reports readiness
        self, *, task_status: TaskStatus[Scheduler] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Take ticks until stopped; ready (``task_status``) once the first are requested.

        Raises:
            NaqConnectionError: there is no usable server at the start.
        """
        self._stopping = stopping = anyio.Event()
        if self._stop_asked:  # before it ran
            stopping.set()
        self._owed, self._changed = SLOTS, anyio.Event()
        async with self._presence.started(self._nats_url, self._given) as connection:
            await ensure_streams(connection)
            await ensure_ticks(connection)
            async with (
                self._presence.serving(connection, self.info),
                anyio.create_task_group() as ticks,
            ):
                await self._work(connection, ticks, stopping, task_status)

    async def _work(
        self,
        connection: Connection,
        ticks: TaskGroup,
        stopping: anyio.Event,
        task_status: TaskStatus[Scheduler],
    ) -> None:
        names = connection.names
        advance = Advance(connection, Codec.from_settings(self.settings))
        tick = partial(self._tick, connection, advance)
        pull = connection.pull(
            names.jobs_stream,
            names.ticks_consumer,
            on_jobs=partial(self._on_ticks, ticks, tick),
            on_lost=self._on_lost,
        )
        sweep = partial(self._sweep_forever, connection, Sweep(connection, advance))
        try:
            async with anyio.create_task_group() as intake:
                intake.start_soon(self._ask, pull.request, name="naq scheduler intake")
                intake.start_soon(sweep, name="naq scheduler sweep")
                self._connection = connection
                task_status.started(self)
                log.info("scheduler %s takes ticks", self.id)
                await stopping.wait()
                intake.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(LEAVE_TIMEOUT, shield=True):
                await pull.stop()
                await self._until_idle()
            ticks.cancel_scope.cancel()

    # ----------------------------------------------------------------- ticks

    def _on_ticks(
        self,
        ticks: TaskGroup,
        tick: Callable[[Message], Coroutine[Any, Any, None]],
        messages: list[Message],
    ) -> None:
        self.running += len(messages)
        for message in messages:
            ticks.start_soon(tick, message, name=f"naq tick {message.subject}")

    def _on_lost(self, lost: int) -> None:
        self._owed += lost
        self._changed.set()

    async def _ask(self, request: Callable[[int], None]) -> None:
        """Keep as many ticks asked for as there are slots."""
        while True:
            if self._owed:
                owed, self._owed = self._owed, 0
                request(owed)
            await self._changed.wait()
            self._changed = anyio.Event()
            await anyio.lowlevel.checkpoint()

    async def _tick(self, connection: Connection, advance: Advance, message: Message) -> None:
        """Do what is due of one schedule."""
        schedule_id = message.subject.rpartition(".")[2]
        try:
            step = partial(advance.tick, schedule_id)
            await settled(connection, message.reply, schedule_id, step)
        finally:
            self.ticks += 1
            self.running -= 1
            self._owed += 1
            self._changed.set()

    async def _until_idle(self) -> None:
        while self.running:
            await self._changed.wait()
            self._changed = anyio.Event()

    # ----------------------------------------------------------------- sweep

    async def _sweep_forever(self, connection: Connection, sweep: Sweep) -> None:
        """Look for what was missed: at the start, every ``poll_interval``, and after a reconnect.

        A server that is back may have missed what was due, and everybody notices at once: so each
        waits for a moment of its own.
        """
        asked = True
        with watching(connection) as watch:
            while True:
                try:
                    if asked or await self._is_our_turn(connection):
                        await sweep.run()
                except Exception as exc:  # noqa: BLE001 - the next look may be luckier
                    log.warning("cannot look for missed runs: %s", exc)
                asked = await watch.sign(within=self.poll_interval)
                if asked:
                    await anyio.sleep(random.uniform(0.0, 1.0))  # noqa: S311

    async def _is_our_turn(self, connection: Connection) -> bool:
        """Whether no other scheduler has looked in this interval."""
        if not self.enable_ha:
            return True
        headers = {TTL: str(max(1, int(self.poll_interval)))}
        lock, owner = connection.names.lock("sweep"), self.id.encode()
        return await connection.streams.put_if(lock, owner, headers, expected=0) is not None

    @staticmethod
    async def list_schedulers(nats_url: str | None = None) -> list[WorkerInfo]:
        """Return all schedulers on the server, oldest first.

        Raises:
            NaqConnectionError: the server cannot be reached.
        """
        async with open_connection(nats_url) as connection:
            return await presence.list_workers(connection, "scheduler")
