"""A scheduler: does for schedules with a policy what the server cannot.

Any number of schedulers share the work, without a leader: the server hands each tick to one of them
and to another if that was killed, and what a tick leads to happens once
(:mod:`naq.schedules.advance`). What outlives what, from the outside in::

    connection
      services     announces the scheduler
        ticks      what is in hand
          intake   standing request; ends first when the scheduler stops
          sweep    looks for what was missed
"""

from __future__ import annotations

import logging
import math
import os
import random
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from naq.base.names import check_queue, new_id
from naq.base.public import public
from naq.exceptions import (
    ConfigurationError,
    SerializationError,
)
from naq.jobs import presence
from naq.jobs.codec import Codec
from naq.jobs.layout import ensure_streams, ensure_ticks
from naq.jobs.presence import Control, WorkerInfo
from naq.nats.connection import connect
from naq.nats.jetstream import TTL, nak
from naq.nats.seam import on_trio
from naq.schedules.advance import Advance
from naq.schedules.sweep import Sweep
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup, TaskStatus

    from naq.nats.connection import Connection, Message

__all__ = ["POLL_INTERVAL", "Scheduler"]

log = logging.getLogger("naq.scheduler")

POLL_INTERVAL = 10.0
"""Seconds between two looks for what was missed."""
SLOTS = 64
"""Ticks in hand at the same time."""
AGAIN = nak(1.0)
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
        self.id = instance_id or f"{socket.gethostname()}-{os.getpid()}-{new_id()[:4]}"
        check_queue(self.id.replace(".", "-"))
        self.ticks = 0
        """How many ticks were handled here."""
        self._nats_url = nats_url
        self._given = connection
        self._connection: Connection
        self._advance: Advance
        self._stopping: anyio.Event | None = None
        self._taking = False
        self._in_hand = 0
        self._owed = SLOTS
        self._wanted: anyio.Event
        self._sweep_now: anyio.Event
        self._backend = ""
        self._started_at = 0.0

    @property
    def running(self) -> int:
        """How many ticks are in hand."""
        return self._in_hand

    @property
    def connected(self) -> bool:
        """Whether it is connected to the server."""
        return self._taking and self._connection.connected

    def unready(self) -> str | None:
        """Return why it takes no ticks; None if it does."""
        if self._stopping is not None and self._stopping.is_set():
            return "stopping"
        if not self._taking:
            return "starting"
        return None if self.connected else "no link to the server"

    def stop(self) -> None:
        """Take no more ticks, finish those in hand, and end."""
        if self._stopping is not None:
            self._stopping.set()

    async def run(  # noqa: ASYNC128 - _serve reports readiness
        self, *, task_status: TaskStatus[Scheduler] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Take ticks until stopped; ready (``task_status``) once the first are requested.

        Raises:
            NaqConnectionError: there is no usable server at the start.
        """
        self._stopping, self._wanted, self._sweep_now = anyio.Event(), anyio.Event(), anyio.Event()
        self._started_at = time.time()
        self._backend = "trio" if on_trio() else "asyncio"
        if self._given is not None:
            await self._serve(self._given, task_status)
            return
        name = f"naq scheduler {self.id}"
        async with connect(self._nats_url, settings=self.settings, name=name) as connection:
            await self._serve(connection, task_status)

    async def _serve(  # noqa: ASYNC128
        self, connection: Connection, task_status: TaskStatus[Scheduler]
    ) -> None:
        assert self._stopping is not None
        self._connection = connection
        self._advance = Advance(connection, Codec.from_settings(self.settings))
        await ensure_streams(connection)
        await ensure_ticks(connection)
        async with anyio.create_task_group() as services:
            announce = partial(presence.keep_announced, connection, self.info, self.settings)
            await services.start(announce, name="naq scheduler presence")
            control = Control(self, connection)
            with (
                connection.subscription(connection.names.control("ping"), control.on_messages),
                connection.link_listener(self._on_link),
            ):
                async with anyio.create_task_group() as ticks:
                    await self._work(ticks, task_status)
            with anyio.move_on_after(LEAVE_TIMEOUT, shield=True):
                await presence.withdraw(connection, self.id)
            services.cancel_scope.cancel()

    async def _work(self, ticks: TaskGroup, task_status: TaskStatus[Scheduler]) -> None:
        assert self._stopping is not None
        names = self._connection.names
        pull = self._connection.pull(
            names.jobs_stream,
            names.ticks_consumer,
            on_jobs=partial(self._on_ticks, ticks),
            on_lost=self._on_lost,
        )
        try:
            async with anyio.create_task_group() as intake:
                intake.start_soon(self._ask, pull.request, name="naq scheduler intake")
                intake.start_soon(self._sweep_forever, name="naq scheduler sweep")
                self._taking = True
                task_status.started(self)
                log.info("scheduler %s takes ticks", self.id)
                await self._stopping.wait()
                intake.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(LEAVE_TIMEOUT, shield=True):
                await pull.stop()
                await self._until_idle()
            ticks.cancel_scope.cancel()

    # ----------------------------------------------------------------- ticks

    def _on_ticks(self, ticks: TaskGroup, messages: list[Message]) -> None:
        self._in_hand += len(messages)
        for message in messages:
            ticks.start_soon(self._tick, message, name=f"naq tick {message.subject}")

    def _on_lost(self, lost: int) -> None:
        self._owed += lost
        self._wanted.set()

    async def _ask(self, request: Callable[[int], None]) -> None:
        """Keep as many ticks asked for as there are slots."""
        while True:
            if self._owed:
                owed, self._owed = self._owed, 0
                request(owed)
            await self._wanted.wait()
            self._wanted = anyio.Event()
            await anyio.lowlevel.checkpoint()

    async def _tick(self, message: Message) -> None:
        """Do what is due of one schedule; an error in here concerns this schedule alone."""
        schedule_id = message.subject.rpartition(".")[2]
        try:
            await self._advance.tick(schedule_id)
        except SerializationError as exc:
            log.error("schedule %s: its definition cannot be read: %s", schedule_id, exc)  # noqa: TRY400
            self._connection.ack(message.reply)
        except Exception as exc:
            log.warning("schedule %s: will be tried again", schedule_id, exc_info=exc)
            self._connection.ack(message.reply, AGAIN)
        else:
            self._connection.ack(message.reply)
        finally:
            self.ticks += 1
            self._in_hand -= 1
            self._owed += 1
            self._wanted.set()

    async def _until_idle(self) -> None:
        while self._in_hand:
            await self._wanted.wait()
            self._wanted = anyio.Event()

    # ----------------------------------------------------------------- sweep

    def _on_link(self, up: bool) -> None:
        if up:
            self._sweep_now.set()

    async def _sweep_forever(self) -> None:
        """Look for what was missed: at the start, every ``poll_interval``, and after a reconnect.

        A server that is back may have missed what was due, and everybody notices at once: so each
        waits for a moment of its own.
        """
        sweep = Sweep(self._connection, self._advance)
        asked = True
        while True:
            try:
                if asked or await self._is_our_turn():
                    await sweep.run()
            except Exception as exc:  # noqa: BLE001 - the next look may be luckier
                log.warning("cannot look for missed runs: %s", exc)
            asked = False
            with anyio.move_on_after(self.poll_interval):
                await self._sweep_now.wait()
                asked = True
            if asked:
                self._sweep_now = anyio.Event()
                await anyio.sleep(random.uniform(0.0, 1.0))  # noqa: S311

    async def _is_our_turn(self) -> bool:
        """Whether no other scheduler has looked in this interval."""
        if not self.enable_ha:
            return True
        names = self._connection.names
        headers = {TTL: str(max(1, int(self.poll_interval)))}
        lock, owner = names.lock("sweep"), self.id.encode()
        return await self._connection.streams.put_if(lock, owner, headers, expected=0) is not None

    # -------------------------------------------------------------- services

    def info(self) -> WorkerInfo:
        """Return what this scheduler is and what it is doing right now."""
        return WorkerInfo(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            status="busy" if self._in_hand else "idle",
            queues=[],
            concurrency=SLOTS,
            backend=self._backend,
            started_at=self._started_at,
            seen_at=time.time(),
            running=self._in_hand,
            kind="scheduler",
        )

    def held(self, job_id: str) -> None:
        """Return a job it holds: none, ever."""

    @staticmethod
    async def list_schedulers(nats_url: str | None = None) -> list[WorkerInfo]:
        """Return all schedulers on the server, oldest first.

        Raises:
            NaqConnectionError: the server cannot be reached.
        """
        async with connect(nats_url) as connection:
            return await presence.list_workers(connection, "scheduler")
