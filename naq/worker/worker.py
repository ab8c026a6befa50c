"""A worker: takes jobs of its queues, runs them, settles them.

Who outlives whom, from the outside in::

    connection
      services     announces the worker, renews what it holds; threads until they return
        jobs       runners, conclusions
          intake   standing requests; ends first when the worker stops

Stopping goes from the inside out: the intake ends, jobs get until the drain timeout, what is left
is cancelled and handed back so that another worker takes it at once. Asking twice skips the wait.

A slot is free again when its function has returned; storing outcomes overlaps with the next jobs,
up to as many as there are slots. ``+WPI`` is sent for everything held every third of ``ack_wait``,
until its outcome is stored and not only while the function runs.

A paused worker has no intake and is otherwise as it was: jobs run, leases are renewed, it answers.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

import anyio

from naq.base.names import check_queue, new_id
from naq.base.public import public
from naq.exceptions import ConfigurationError
from naq.jobs import presence
from naq.jobs.codec import Codec
from naq.jobs.layout import ensure_consumer, ensure_counters, ensure_streams
from naq.jobs.presence import Control, WorkerInfo
from naq.jobs.results import Results
from naq.nats.connection import connect, current_connection, use_connection
from naq.nats.jetstream import IN_PROGRESS
from naq.nats.seam import on_trio
from naq.queue.counters import keep_counted
from naq.queue.tally import Tally
from naq.schedules.declared import apply_tasks
from naq.settings import Settings
from naq.worker.execute import Threads
from naq.worker.handler import Handler
from naq.worker.intake import Intake
from naq.worker.settle import Settler
from naq.worker.slots import Runners

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyio.abc import TaskGroup, TaskStatus

    from naq.nats.connection import Connection
    from naq.worker.held import Held

__all__ = ["Worker"]

log = logging.getLogger("naq.worker")

HAND_BACK_TIMEOUT = 5.0
"""Seconds for handing back what is left at the drain deadline."""
LEAVE_TIMEOUT = 2.0
BURST_LOOK = 1.0
"""Seconds between looks at a queue that is empty but for jobs other workers run (burst only)."""
CRASH_LIMIT = 3
"""How many workers a job may take down before it is called poison."""


@public
class Worker:
    """Runs the jobs of some queues, ``concurrency`` at a time.

    ``await Worker(["default"]).run()`` runs until :meth:`stop` is called or the task is cancelled.
    """

    def __init__(
        self,
        queues: str | Iterable[str] = (),
        *,
        nats_url: str | None = None,
        concurrency: int = 10,
        name: str | None = None,
        drain_timeout: float = 30.0,
        burst: bool = False,
        crash_limit: int = CRASH_LIMIT,
        allow: Iterable[str] = (),
        settings: Settings | None = None,
        connection: Connection | None = None,
    ) -> None:
        """Describe a worker.

        Args:
            queues: names of queues, all served alike whatever their order; none: the default one.
            nats_url: URL of the server; None: found as docs/guide.md describes.
            concurrency: how many jobs run at the same time.
            name: unique name; None makes one of host, pid and chance.
            drain_timeout: seconds running jobs get when the worker is stopped.
            burst: stop when the queues are empty.
            crash_limit: how many workers a job may take down before it is dead-lettered.
            allow: modules whose functions may run in ``json`` mode.
            settings: instead of the environment's.
            connection: an open one, instead of one of its own.

        Raises:
            ConfigurationError: a value cannot be used.
        """
        self.settings = settings or Settings.from_env()
        names = [queues] if isinstance(queues, str) else list(queues)
        self.queues = [
            check_queue(n) for n in dict.fromkeys(names or [self.settings.default_queue])
        ]
        if concurrency < 1:
            raise ConfigurationError(f"concurrency={concurrency!r}: must be 1 or more")
        if crash_limit < 1:
            raise ConfigurationError(f"crash_limit={crash_limit!r}: must be 1 or more")
        if drain_timeout < 0:
            raise ConfigurationError(f"drain_timeout={drain_timeout!r}: must be 0 or more seconds")
        self.concurrency = concurrency
        self.drain_timeout = drain_timeout
        self.burst = burst
        self.crash_limit = crash_limit
        self.id = name or f"{socket.gethostname()}-{os.getpid()}-{new_id()[:4]}"
        check_queue(self.id.replace(".", "-"))
        self._codec = Codec.from_settings(self.settings, allow=tuple(allow))
        self._nats_url = nats_url
        self._given = connection
        self._connection: Connection
        self._handler: Handler
        self.tally = Tally()
        """What has become of jobs here."""
        self._started_at = 0.0
        self._backend = ""
        self._stopping: anyio.Event | None = None
        self._forced: anyio.Event | None = None
        self._intake: Intake | None = None
        self._paused = False

    @property
    def processed(self) -> int:
        """How many jobs have run here, whatever their outcome."""
        return self._handler.processed

    @property
    def running(self) -> int:
        """How many jobs it holds."""
        return 0 if self._intake is None else len(self._handler.held)

    @property
    def connected(self) -> bool:
        """Whether it is connected to the server."""
        return self._intake is not None and self._connection.connected

    def unready(self) -> str | None:
        """Return why it takes no jobs; None if it does."""
        if self._intake is None:
            return "starting"
        if self._handler.draining:
            return "draining"
        if not self.connected:
            return "no link to the server"
        return "paused" if self._paused else None

    # ------------------------------------------------------------------ life

    def stop(self) -> None:
        """Take no more jobs and let the running ones finish; called again, do not wait for them."""
        if self._stopping is None or self._forced is None:
            return
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()

    @property
    def paused(self) -> bool:
        """Whether it has been told to take no more jobs for now."""
        return self._paused

    def pause(self) -> None:
        """Take no more jobs until :meth:`resume`; running ones continue.

        Jobs that were requested but not yet delivered go to other workers, and so do jobs that are
        waiting for a slot. This affects only this worker; ``Queue.pause`` affects all workers of a
        queue. It may be called before :meth:`run`.
        """
        self._turn(paused=True)

    def resume(self) -> None:
        """Take jobs again."""
        self._turn(paused=False)

    def _turn(self, *, paused: bool) -> None:
        if self._paused is not paused:
            log.info("paused: taking no more jobs" if paused else "resumed: taking jobs again")
        self._paused = paused
        if self._intake is not None:
            self._intake.pause(on=paused)

    async def run(  # noqa: ASYNC128 - _work reports readiness
        self, *, task_status: TaskStatus[Worker] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Take and run jobs until stopped.

        Ready (``task_status``) once the queues exist and the first jobs have been requested. When
        cancelled, the worker stops as on a second :meth:`stop`.

        Raises:
            NaqConnectionError: there is no usable server at the start.
        """
        self._stopping, self._forced = anyio.Event(), anyio.Event()
        self._started_at = time.time()
        self._backend = "trio" if on_trio() else "asyncio"
        if self._given is not None:
            await self._serve(self._given, task_status)
            return
        name = f"naq worker {self.id}"
        async with connect(self._nats_url, settings=self.settings, name=name) as connection:
            await self._serve(connection, task_status)

    async def _serve(  # noqa: ASYNC128
        self, connection: Connection, task_status: TaskStatus[Worker]
    ) -> None:
        self._connection = connection
        await ensure_streams(connection)
        await ensure_counters(connection)
        ack_wait = min([await ensure_consumer(connection, queue) for queue in self.queues])
        async with anyio.create_task_group() as services, anyio.create_task_group() as jobs:
            intake = self._assemble(connection, services, jobs)
            announce = partial(presence.keep_announced, connection, self.info, self.settings)
            await services.start(announce, name="naq worker presence")
            services.start_soon(self._renew_forever, ack_wait / 3, name="naq worker lease")
            services.start_soon(apply_tasks, connection, name="naq worker schedules")
            services.start_soon(keep_counted, connection, self.tally, name="naq worker counters")
            control = Control(self, connection)
            with connection.subscription(connection.names.control(">"), control.on_messages):
                await self._work(intake, jobs, task_status)
            with anyio.move_on_after(LEAVE_TIMEOUT, shield=True):
                await presence.withdraw(connection, self.id)
            services.cancel_scope.cancel()

    def _assemble(self, connection: Connection, services: TaskGroup, jobs: TaskGroup) -> Intake:
        results = Results(connection, codec=self._codec)
        settler = Settler(connection, results=results, codec=self._codec, worker=self.id)
        threads = Threads(services, self.concurrency)
        self._handler = handler = Handler(
            connection,
            jobs,
            codec=self._codec,
            results=results,
            settler=settler,
            threads=threads,
            tally=self.tally,
            crash_limit=self.crash_limit,
            changed=self._changed,
        )
        intake = Intake(connection, self.queues, free=self._free, take=handler.take)
        intake.pause(on=self._paused)
        handler.runners = Runners(
            jobs,
            self.concurrency,
            run=handler.run,
            interrupted=handler.interrupted,
            freed=intake.want,
            prepare=partial(use_connection, connection),
        )
        threads.left, threads.returned = handler.runners.block, handler.runners.unblock
        self._intake = intake
        return intake

    async def _work(self, intake: Intake, jobs: TaskGroup, task_status: TaskStatus[Worker]) -> None:
        assert self._stopping is not None
        try:
            take = partial(intake.run, paused=self._handler.hand_back_waiting)
            jobs.start_soon(take, name="naq worker intake")
            jobs.start_soon(self._handler.hand_back_late, name="naq worker overflow")
            if self.burst:
                jobs.start_soon(self._watch_burst, intake, name="naq worker burst")
            task_status.started(self)
            log.info("worker %s takes jobs from %s", self.id, ", ".join(self.queues))
            await self._stopping.wait()
            self._handler.draining = True
            await intake.stop()
            await self._drain()
        finally:
            # Reached by cancellation too: nobody shall wait for a redelivery.
            self._handler.draining = True
            with anyio.move_on_after(HAND_BACK_TIMEOUT, shield=True):
                await intake.stop()
                await self._handler.interrupt()
            self._handler.abandon()
            jobs.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Let running jobs finish: until the drain timeout, or the second request to stop."""
        assert self._forced is not None
        if self._handler.held and not self._forced.is_set():
            count = len(self._handler.held)
            log.info("draining: %d jobs have %g s to finish", count, self.drain_timeout)
        async with anyio.create_task_group() as tasks:

            async def hurry(forced: anyio.Event) -> None:
                await forced.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(hurry, self._forced)
            with anyio.move_on_after(self.drain_timeout):
                await self._handler.until_quiet()
            tasks.cancel_scope.cancel()

    def _free(self) -> int:
        """How many jobs there is room for; fewer while outcomes pile up that cannot be stored."""
        handler = self._handler
        piled_up = max(0, handler.concluding - 2 * self.concurrency)
        return handler.runners.free + handler.ahead - piled_up

    def _changed(self) -> None:
        """A job was settled."""
        if self._intake and self._handler.concluding >= 2 * self.concurrency:  # it held that up
            self._intake.want()

    # -------------------------------------------------------------- services

    def info(self) -> WorkerInfo:
        """Return what this worker is and what it is doing right now."""
        handler = self._handler
        running = list(handler.held)
        return WorkerInfo(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            status=self._status(),
            queues=self.queues,
            concurrency=self.concurrency,
            backend=self._backend,
            started_at=self._started_at,
            seen_at=time.time(),
            running=len(running),
            jobs=running[: presence.MAX_LISTED_JOBS],
        )

    def _status(self) -> str:
        if self._handler.draining:
            return "draining"
        if self._paused:
            return "paused"
        return "busy" if self._handler.held else "idle"

    def held(self, job_id: str) -> Held | None:
        """Return a job this worker holds."""
        return self._handler.held.get(job_id)

    async def _renew_forever(self, interval: float) -> None:
        while True:
            await anyio.sleep(interval)
            if self._connection.connected:
                for held in self._handler.held.values():
                    self._connection.publish(held.reply, IN_PROGRESS)

    async def _watch_burst(self, intake: Intake) -> None:
        """Stop when nothing is queued and nothing runs, here or at other workers."""
        assert self._stopping is not None
        while True:
            await self._handler.until_quiet()
            if not await intake.work_left():
                self._stopping.set()
                return
            await anyio.sleep(BURST_LOOK)

    @staticmethod
    async def list_workers(nats_url: str | None = None) -> list[WorkerInfo]:
        """Return all workers on the server, oldest first, with what they run right now.

        Raises:
            NaqConnectionError: the server cannot be reached.
        """
        connection = None if nats_url else current_connection()
        if connection is not None:
            return await presence.list_workers(connection)
        async with connect(nats_url) as opened:
            return await presence.list_workers(opened)
