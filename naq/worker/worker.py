"""A worker: takes jobs of its queues, runs them, settles them.

What outlives what, from the outside in::

    slots          functions of jobs; nobody can end one that ignores that it is stopped
      connection
        services   announce the worker, renew what it holds; threads until they return
          jobs     conclusions
            intake standing requests; ends first when the worker stops

Stopping goes from the inside out: the intake ends, jobs get until the drain timeout, what is left
is cancelled and handed back so that another worker takes it at once. Asking twice skips the wait.
All of that takes a bounded time. A function that goes on all the same loses its job to another
worker, and the slots are outside of everything, so that it holds up nothing but its own process.

A slot is free again when its function has returned; storing outcomes overlaps with the next jobs,
up to as many as there are slots. The lease of everything held is renewed until its outcome is
stored, from another thread (:mod:`naq.worker.life`), which also watches this loop.

A paused worker has no intake and is otherwise as it was: jobs run, leases are renewed, it answers.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from naq.base.names import check_queue
from naq.base.public import public
from naq.exceptions import ConfigurationError
from naq.jobs import presence
from naq.jobs.coding.codec import Codec
from naq.jobs.layout import ensure_consumer, ensure_counters, ensure_streams
from naq.jobs.presence import Presence, Whereabouts, WorkerInfo
from naq.jobs.results import Results
from naq.jobs.shared import open_connection
from naq.queue.numbers.counters import keep_counted
from naq.queue.numbers.tally import Tally
from naq.schedules.declared import apply_tasks
from naq.settings import Settings
from naq.worker.conclude import Conclusions
from naq.worker.decide import SHORT_DELAY
from naq.worker.handler import HOLD, Handler
from naq.worker.intake.fence import Fence
from naq.worker.intake.intake import Intake
from naq.worker.life.leases import Leases
from naq.worker.life.ledger import Ledger, opened
from naq.worker.life.renewal import vouching
from naq.worker.life.stall import arming
from naq.worker.settle import PUT_OFF, Settler
from naq.worker.suspects import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anyio.abc import TaskGroup, TaskStatus

    from naq.nats.connection import Connection
    from naq.worker.held import Held

__all__ = ["Worker"]

log = logging.getLogger("naq.worker")

HAND_BACK_TIMEOUT = 5.0
"""Seconds for handing back what is left at the drain deadline."""
BURST_LOOK = 1.0
"""Seconds between looks at a queue that is empty but for jobs other workers run (burst only)."""
ENTRIES_EACH, ENTRIES_MORE = 6, 32
"""Jobs that the ledger has room for: for each slot and queue, and beyond."""
CRASH_LIMIT = 3
"""How many workers a job may take down before it is called poison."""


@dataclass(frozen=True)
class _Parts:
    """What a worker is made of while it runs, in the order in which they need each other."""

    connection: Connection
    fence: Fence
    intake: Intake
    conclusions: Conclusions
    handler: Handler


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
        stall_timeout: float | None = None,
        allow: Iterable[str] = (),
        hold: float = HOLD,
        short_delay: float = SHORT_DELAY,
        patience: float = PATIENCE,
        put_off: float = PUT_OFF,
        settings: Settings | None = None,
        connection: Connection | None = None,
    ) -> None:
        """Describe a worker.

        Args:
            queues: names of queues, all served alike whatever their order; none: the default one.
            nats_url: URL of the server; None: found as docs/guide.md describes.
            concurrency: how many jobs run at the same time.
            name: unique name; None makes one of host, pid and chance. The second one of a name
                gets another one when it starts, and says so.
            drain_timeout: seconds running jobs get when the worker is stopped.
            burst: stop when the queues are empty.
            crash_limit: how many workers a job may take down before it is dead-lettered, the last
                one with nothing beside it.
            stall_timeout: seconds that a job may block the event loop before the whole process is
                ended; None: it never is. ``naq worker`` has 5 minutes.
            allow: modules whose functions may run in ``json`` mode, or globs of whole names.
            hold: seconds a job that came while all slots were taken waits for one before it is
                handed back.
            short_delay: seconds up to which a retry waits where it is; a longer one is scheduled,
                like any delayed job.
            patience: seconds a suspect, a job whose worker died, waits for its turn here.
            put_off: seconds after which one that had no turn is tried again, here or elsewhere.
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
        if stall_timeout is not None and stall_timeout <= 0:
            raise ConfigurationError(
                f"stall_timeout={stall_timeout!r}: must be more than 0 seconds, or None"
            )
        self.ledger: int | None = None
        """Descriptor of a file for what it holds, which somebody reads when this process has died.

        Set it before :meth:`run`.
        """
        self.concurrency = concurrency
        self.stall_timeout = stall_timeout
        self.drain_timeout = drain_timeout
        self.burst = burst
        self.crash_limit = crash_limit
        self.tally = Tally()
        """What has become of jobs here."""
        self._presence = Presence("worker", name, self.settings)
        self._codec = Codec.from_settings(self.settings, allow=tuple(allow))
        self._hold = hold
        self._short_delay = short_delay
        self._patience = patience
        self._put_off = put_off
        self._nats_url = nats_url
        self._given = connection
        self._parts: _Parts | None = None
        self.on_stranded: Callable[[Exception | None], None] | None = None
        """Called when all is in order but functions that ignore that they are stopped, with what
        the worker has failed by, if it has. A program that has nothing else to do ends here."""
        self._stops = 0
        self._stopping: anyio.Event | None = None
        self._forced: anyio.Event | None = None
        self._starting: anyio.CancelScope | None = None
        self._paused = False

    # ----------------------------------------------------------- what it does

    @property
    def id(self) -> str:
        """Its name; another than it was given if one of that name was running when it started."""
        return self._presence.id

    @property
    def processed(self) -> int:
        """How many jobs have run here, whatever their outcome."""
        return 0 if self._parts is None else self._parts.handler.processed

    @property
    def running(self) -> int:
        """How many jobs it holds."""
        return 0 if self._parts is None else len(self._parts.conclusions.held)

    @property
    def connected(self) -> bool:
        """Whether it is connected to the server."""
        return self._parts is not None and self._parts.connection.connected

    def unready(self) -> str | None:
        """Return why it takes no jobs; None if it does."""
        if self._parts is None:
            return "starting"
        if self._parts.handler.draining:
            return "draining"
        if not self.connected:
            return "no link to the server"
        if self._parts.handler.stuck:
            return "all slots are held by threads that do not return"
        return "paused" if self._paused else None

    def info(self) -> WorkerInfo:
        """Return what this worker is and what it is doing right now.

        Raises:
            ConfigurationError: it has not been started yet.
        """
        held = [] if self._parts is None else list(self._parts.conclusions.held.values())
        running = [one for one in held if one.running is not None]
        return self._presence.info(
            self._status(),
            queues=self.queues,
            concurrency=self.concurrency,
            running=len(running),
            jobs=[one.id for one in running],
            running_of=Counter(one.queue for one in running),
            waiting_of=Counter(one.queue for one in held if one.running is None),
        )

    def _status(self) -> str:
        if self._parts is not None and self._parts.handler.draining:
            return "draining"
        if self._paused and (self._parts is None or self._parts.intake.resting):
            return "paused"
        if self._parts is not None and self._parts.handler.stuck:
            return "stuck"
        return "busy" if self.running else "idle"

    def held(self, job_id: str) -> Held | None:
        """Return a job this worker holds."""
        return None if self._parts is None else self._parts.conclusions.held.get(job_id)

    def about(self, job_id: str, *, stop: bool = False) -> Whereabouts | None:
        """Return where a job runs, if that is here; None if not.

        Args:
            job_id: the job.
            stop: stop it; None then if it has come to its end.
        """
        held = self.held(job_id)
        if held is None or (stop and not held.cancel()):
            return None
        running = held.running
        if running is None:
            return Whereabouts(self.id, None, 0)
        return Whereabouts(self.id, running.started_at, running.run.attempt)

    @staticmethod
    async def list_workers(nats_url: str | None = None) -> list[WorkerInfo]:
        """Return all workers on the server, oldest first, with what they run right now.

        Raises:
            NaqConnectionError: the server cannot be reached.
        """
        async with open_connection(nats_url) as connection:
            return await presence.list_workers(connection)

    # ------------------------------------------------------------------ life

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
        if self._parts is not None:
            self._parts.intake.pause(on=paused)

    def stop(self) -> None:
        """Take no more jobs and let the running ones finish; called again, do not wait for them.

        A worker that is still starting gives that up, and one that is not running yet will end as
        soon as it does.
        """
        self._stops += 1
        if self._starting is not None:
            self._starting.cancel()
        if self._stopping is None or self._forced is None:
            return
        if self._stops > 1:
            self._forced.set()
        self._stopping.set()

    async def run(  # noqa: ASYNC128 - _work reports readiness
        self, *, task_status: TaskStatus[Worker] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Take and run jobs until stopped.

        Ready (``task_status``) once the queues exist and the first jobs have been requested. When
        cancelled, the worker stops as on a second :meth:`stop`.

        Raises:
            NaqConnectionError: there is no usable server at the start.
        """
        self._parts = None
        self._stopping, self._forced = stopping, forced = anyio.Event(), anyio.Event()
        problem: Exception | None = None
        try:
            async with anyio.create_task_group() as slots:
                try:
                    with anyio.CancelScope() as self._starting:
                        if self._stops:
                            self.stop()
                        await self._serve(slots, stopping, forced, task_status)
                    if self._starting is not None:
                        log.info("worker %s: stopped before it had started", self.id)
                        task_status.started(self)
                except Exception as exc:  # noqa: BLE001 - raised below, outside of the group
                    problem = exc
                finally:
                    slots.cancel_scope.cancel()
                    self._strand(problem)
        finally:
            self._stops, self._stopping, self._forced, self._starting = 0, None, None, None
        if problem is not None:
            raise problem
        if not stopping.is_set():
            raise RuntimeError(f"worker {self.id} has ended though nobody stopped it")

    def _strand(self, problem: Exception | None) -> None:
        """Say so if functions go on although all else has ended."""
        left = 0 if self._parts is None else self._parts.handler.running
        if left:
            log.warning("%d functions ignore that they are stopped; this process waits", left)
            if self.on_stranded is not None:
                self.on_stranded(problem)

    async def _serve(  # noqa: ASYNC128 - _work reports readiness
        self,
        slots: TaskGroup,
        stopping: anyio.Event,
        forced: anyio.Event,
        task_status: TaskStatus[Worker],
    ) -> None:
        async with self._presence.started(self._nats_url, self._given) as connection:
            await ensure_streams(connection)
            await ensure_counters(connection)
            ack_wait = min([await ensure_consumer(connection, queue) for queue in self.queues])
            leases = Leases(ack_wait, time.monotonic())
            with opened(self._new_ledger(ack_wait), connection) as ledger:
                async with (
                    self._presence.serving(connection, self.info, self.about) as services,
                    anyio.create_task_group() as jobs,
                ):
                    parts = self._assemble(
                        connection, leases, ledger, slots=slots, services=services, jobs=jobs
                    )
                    self._parts = parts
                    services.start_soon(apply_tasks, connection, name="naq worker schedules")
                    services.start_soon(
                        keep_counted, connection, self.tally, name="naq worker counters"
                    )
                    async with vouching(
                        connection,
                        parts.conclusions.held,
                        leases,
                        ledger,
                        ack_wait=ack_wait,
                        stall_timeout=self.stall_timeout,
                    ):
                        await self._work(parts, jobs, stopping, forced, task_status)

    def _new_ledger(self, ack_wait: float) -> Ledger:
        return Ledger(
            self.ledger,
            room=ENTRIES_EACH * (self.concurrency + len(self.queues)) + ENTRIES_MORE,
            worker=self.id,
            ack_wait=ack_wait,
            stall=None if self.stall_timeout is None else arming(self.stall_timeout)[1],
        )

    def _assemble(
        self,
        connection: Connection,
        leases: Leases,
        ledger: Ledger,
        *,
        slots: TaskGroup,
        services: TaskGroup,
        jobs: TaskGroup,
    ) -> _Parts:
        fence = Fence(connection, self._codec, self.queues)
        intake = Intake(connection, self.queues, fence)
        intake.pause(on=self._paused)
        results = Results(connection, codec=self._codec)
        settler = Settler(
            connection,
            results=results,
            codec=self._codec,
            worker=self.id,
            leases=leases,
            short_delay=self._short_delay,
            put_off=self._put_off,
        )
        conclusions = Conclusions(
            jobs,
            settler=settler,
            ledger=ledger,
            tally=self.tally,
            limit=2 * self.concurrency,
            relieved=intake.want,
        )
        handler = Handler(
            connection,
            slots,
            jobs,
            services,
            codec=self._codec,
            results=results,
            settler=settler,
            conclusions=conclusions,
            concurrency=self.concurrency,
            ledger=ledger,
            crash_limit=self.crash_limit,
            hold=self._hold,
            patience=self._patience,
            freed=intake.want,
            handed_back=intake.handed_back,
            several=len(self.queues) > 1,
        )
        return _Parts(connection, fence, intake, conclusions, handler)

    async def _work(
        self,
        parts: _Parts,
        jobs: TaskGroup,
        stopping: anyio.Event,
        forced: anyio.Event,
        task_status: TaskStatus[Worker],
    ) -> None:
        intake, handler, conclusions = parts.intake, parts.handler, parts.conclusions
        take = partial(
            intake.run,
            room=handler.room,
            holding=handler.holding,
            take=handler.take,
            paused=handler.hand_back_waiting,
        )
        try:
            await parts.fence.find()
            jobs.start_soon(parts.fence.keep, name="naq worker fence")
            jobs.start_soon(handler.look_up, name="naq worker lookups")
            jobs.start_soon(take, name="naq worker intake")
            jobs.start_soon(handler.hand_back_late, name="naq worker overflow")
            if self.burst:
                burst = partial(_watch_burst, intake, conclusions, stopping)
                jobs.start_soon(burst, name="naq worker burst")
            self._starting = None
            task_status.started(self)
            log.info("worker %s takes jobs of %s", self.id, ", ".join(self.queues))
            await stopping.wait()
            handler.drain()
            await intake.stop()
            handler.hand_back_waiting()
            await conclusions.drain(self.drain_timeout, forced)
        finally:
            # Reached by cancellation too: nobody shall wait for a redelivery.
            handler.drain()
            with anyio.move_on_after(HAND_BACK_TIMEOUT, shield=True):
                await intake.stop()
                handler.hand_back_waiting()
                await conclusions.interrupt()
            conclusions.abandon()
            jobs.cancel_scope.cancel()


async def _watch_burst(intake: Intake, conclusions: Conclusions, stopping: anyio.Event) -> None:
    """Stop when nothing is queued and nothing runs, here or at other workers."""
    while True:
        await conclusions.until_quiet()
        if not await intake.work_left():
            stopping.set()
            return
        await anyio.sleep(BURST_LOOK)
