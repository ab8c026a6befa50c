"""One job in a worker's hands, from its delivery until its function has returned.

``take`` gives it to a slot, and the slot calls ``run``: admit (decode it, read its record if it may
have one, decide), execute, and leave the rest to :mod:`naq.worker.conclude`. Before that, ``take``
has the record of what may be a repetition read, for many jobs at once.

What the server has fired of a plain schedule is delivered the same way. It needs no slot: a job is
made of it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import anyio

from naq.base.names import ATTEMPT, CHECK, FIRE_MARK
from naq.exceptions import NaqConnectionError, SerializationError
from naq.jobs import presence
from naq.jobs.job import Failure, JobMessage, JobStatus
from naq.nats.connection import use_connection
from naq.nats.pull import stored_at
from naq.queue.tracing import tracing
from naq.schedules.advance import Advance, settled
from naq.schedules.records import revision
from naq.worker.decide import FIRST, Bury, Run, Skip, on_delivery
from naq.worker.execute import Threads, execute
from naq.worker.held import Held, Running
from naq.worker.intake.demand import Turns
from naq.worker.intake.lookups import Lookups
from naq.worker.life.ledger import State
from naq.worker.slots import Slots
from naq.worker.suspects import Suspects

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from naq.jobs.coding.codec import Codec
    from naq.jobs.results import Results
    from naq.nats.connection import Connection, Message
    from naq.queue.tracing import AttemptSpan
    from naq.worker.conclude import Conclusions
    from naq.worker.execute import Outcome
    from naq.worker.life.deaths import Delivery
    from naq.worker.life.ledger import Ledger
    from naq.worker.settle import Settler

__all__ = ["HOLD", "Handler"]

log = logging.getLogger("naq.worker")

STARTED, RETURNED = int(State.STARTED), int(State.RETURNED)  # the members are slow to get at
HOLD = 0.25
"""Seconds a job that came while all slots were taken waits for one before it is handed back."""
SHORT = 0.005
"""Seconds up to which jobs are called short, on average (a tenth of the weight to each new one)."""


class Handler:
    """What a worker does with the jobs it is given."""

    def __init__(
        self,
        connection: Connection,
        slots: TaskGroup,
        jobs: TaskGroup,
        services: TaskGroup,
        *,
        codec: Codec,
        results: Results,
        settler: Settler,
        conclusions: Conclusions,
        concurrency: int,
        ledger: Ledger,
        crash_limit: int,
        hold: float,
        patience: float,
        freed: Callable[[], None],
        handed_back: Callable[[str], None],
        several: bool,
    ) -> None:
        """Make a handler.

        Args:
            connection: where jobs come from.
            slots: where slots live.
            jobs: where all else lives that is done with jobs.
            services: where threads are waited for; outlives the jobs.
            codec: what may be decoded here.
            results: where records are looked up.
            settler: reads records.
            conclusions: bring jobs to their end.
            concurrency: how many jobs run at the same time.
            ledger: outlives this process, with what is held.
            crash_limit: how many workers a job may take down.
            hold: seconds a job waits for a slot before it is handed back.
            patience: seconds a suspect waits for its turn before it is put off.
            freed: called when there may be room for more jobs.
            handed_back: called with the queue of a job that found no slot in time.
            several: whether there are several queues, which take turns.
        """
        self.processed = 0
        """Jobs whose function has returned or raised."""
        self.draining = False
        self._connection = connection
        self._tasks = jobs
        self._codec = codec
        self._settler = settler
        self._conclusions = conclusions
        self._concurrency = concurrency
        self._ledger = ledger
        self._crash_limit = crash_limit
        self._hold = hold
        self._handed_back = handed_back
        self._turns = Turns() if several else None
        self._slots = Slots[Held](
            slots,
            concurrency,
            run=self.run,
            interrupted=conclusions.interrupted,
            freed=freed,
            prepare=partial(use_connection, connection),
            turns=self._turns,
        )
        self._suspects = Suspects(
            jobs,
            self._slots,
            limit=concurrency,
            put_off=conclusions.put_off,
            cleared=self._clear,
            patience=patience,
        )
        self._threads = Threads(
            services, concurrency, left=self._thread_left, returned=self._slots.unblock
        )
        self._lookups = Lookups(results, known=self._submit)
        self._advance = Advance(connection, codec)
        self._tracing = tracing()
        self._crowded = anyio.Event()
        self._usual_duration = SHORT

    @property
    def running(self) -> int:
        """How many slots run a job."""
        return self._slots.busy

    @property
    def stuck(self) -> bool:
        """Whether every slot is held by a thread whose job has ended without it."""
        return self._slots.blocked >= self._concurrency

    def _thread_left(self) -> None:
        self._slots.block()
        if self.stuck:
            log.error(
                "all %d slots are held by threads of jobs that timed out or were cancelled: "
                "no job runs here until one returns; give what they wait for a timeout, "
                "and restart this worker",
                self._concurrency,
            )

    # ----------------------------------------------------------------- taking

    def take(self, queue: str, message: Message, delivery: Delivery, doubted: bool) -> None:
        """Accept a job from the server; ``doubted`` if it may have come before."""
        job_id = message.subject.rpartition(".")[2]
        if job_id.endswith(FIRE_MARK):
            schedule_id = job_id.removesuffix(FIRE_MARK)
            name = f"naq fire {schedule_id}"
            again = doubted or delivery.delivered > 1
            self._tasks.start_soon(self._fire, schedule_id, message, again, name=name)
            return
        held = self._conclusions.held.get(job_id)
        if held is not None:
            # The lease ran out while the link was down, or the server forgot the delivery when
            # it was killed. We still have it: settle it by its newest name.
            held.again(message.reply, delivery, time.monotonic())
            held.place = self._ledger.moved(held.place, message.reply, message.subject)
            return
        held = Held(
            job_id,
            queue,
            message.data,
            message.headers or {},
            message.reply,
            delivery,
            time.monotonic(),
        )
        held.place = self._ledger.enter(message.reply, message.subject)
        self._conclusions.held[job_id] = held
        if doubted:
            self._lookups.add(held)
            return
        if self._slots.free <= 0:
            self._crowded.set()
        self._slots.submit(held)

    def _submit(self, held: Held) -> None:
        """Give a slot to a job that was looked up."""
        if self.draining:
            self._conclusions.hand_back(held)
            return
        if self._slots.free <= 0:
            self._crowded.set()
        self._slots.submit(held)

    async def look_up(self) -> None:
        """Read the records of jobs that may have come before, until cancelled."""
        await self._lookups.run()

    def room(self) -> int:
        """Return how many jobs there is room for.

        When jobs are short, twice as many more as there are slots: a request takes as long as many
        short jobs, and the slots would be empty meanwhile. Fewer while outcomes cannot be stored,
        and none while a job runs alone.
        """
        if self._slots.closed:
            return 0
        ahead = 2 * self._concurrency if self._usual_duration < SHORT else 0
        return self._slots.free + ahead - self._conclusions.excess - len(self._lookups)

    async def hand_back_late(self) -> None:
        """Hand back jobs that have waited for a slot for too long, until cancelled."""
        waiting = self._slots.waiting
        while True:
            await self._crowded.wait()
            self._crowded = anyio.Event()
            while waiting:
                left = waiting[0].arrived_at + self._hold - time.monotonic()
                if left > 0:
                    await anyio.sleep(left)
                    continue
                late = waiting.popleft()
                self._handed_back(late.queue)
                self._conclusions.hand_back(late)

    def holding(self) -> Counter[str]:
        """Return how many jobs of each queue run or wait here, if there are several queues."""
        counts = Counter(held.queue for held in self._slots.waiting)
        if self._turns is not None:
            counts.update(self._turns.running)
        return counts

    def hand_back_waiting(self) -> None:
        """Hand back jobs that have not been started, so that other workers run them now."""
        self._clear()
        for held in (*self._suspects.drain(), *self._lookups.drain()):
            self._conclusions.hand_back(held)

    def _clear(self) -> None:
        waiting = self._slots.waiting
        while waiting:
            self._conclusions.hand_back(waiting.popleft())

    def drain(self) -> None:
        """Start no more jobs."""
        self.draining = True
        self.hand_back_waiting()

    async def _fire(self, schedule_id: str, message: Message, again: bool) -> None:
        """Make a job of what the server has fired of a schedule, perhaps not for the first time."""

        def fire() -> Awaitable[None]:
            return self._advance.fire(
                schedule_id,
                stored_at(message.reply),
                revision(message.headers),
                again=again,
            )

        with self._conclusions.shielded():
            await settled(self._connection, message.reply, schedule_id, fire)

    # ---------------------------------------------------------------- running

    async def run(self, held: Held) -> bool:
        """Run one job in a slot; False if it was stopped through its scope."""
        states = self._ledger.states
        try:
            running = self._admit_plain(held) or await self._admit(held)
            if running is None:
                return True
            held.running = running
            if held.place:
                states[held.place] = STARTED
            job, attempt = running.job, running.run.attempt
            if self._tracing is not None:
                running.span = self._tracing.attempt(job, attempt, held.headers)
            if running.span is None:
                outcome = await execute(
                    job, attempt, codec=self._codec, threads=self._threads, scope=held.scope
                )
            else:
                outcome = await self._execute_traced(held, running.span, job, attempt)
        except Exception as exc:  # noqa: BLE001 - one job is isolated
            self._conclusions.give_up(held, exc)
            return True
        finally:
            if self._suspects.current is held:
                self._suspects.left(held)
        if outcome is None:
            return False
        if held.place:
            states[held.place] = RETURNED
        self.processed += 1
        took = outcome.finished_at - outcome.started_at
        self._usual_duration += (took - self._usual_duration) * 0.1
        self._conclusions.complete(held, running, outcome)
        return True

    async def _execute_traced(
        self, held: Held, span: AttemptSpan, job: JobMessage, attempt: int
    ) -> Outcome | None:
        with span:
            outcome = await execute(
                job, attempt, codec=self._codec, threads=self._threads, scope=held.scope
            )
            span.failure = None if outcome is None else outcome.failure
        return outcome

    def _admit_plain(self, held: Held) -> Running | None:
        """Admit a job that nothing is known of, which is common and needs no wait; None if not."""
        headers = held.headers
        if (
            held.delivery.delivered > 1
            or not held.plain
            or ATTEMPT in headers
            or CHECK in headers
            or held.cancelled
            or self.draining
        ):
            return None
        try:
            held.job = job = held.job or self._decoded(held)
        except SerializationError:
            return None
        return Running(job, FIRST, time.time()) if job.expires_at is None else None

    async def _admit(self, held: Held) -> Running | None:
        """Decide whether to run a job now; if not, see to what becomes of it."""
        decision = await self._decide(held)
        if decision is None:
            self._conclusions.hand_back(held)
        elif not isinstance(decision, Run):
            await self._turn_away(held, decision)
        elif not decision.care or self._suspects.may_start(held, decision):
            assert held.job is not None
            return Running(held.job, decision, time.time())
        return None

    async def _decide(self, held: Held) -> Run | Skip | Bury | None:
        """Decide whether a job is to run; None to hand it back."""
        if held.known and held.record is not None and held.record.status.final:
            return Skip(held.record.status)
        try:
            held.job = job = self._decoded(held)
        except SerializationError as exc:
            failure = Failure("naq.exceptions.SerializationError", str(exc))
            reason = f"cannot be decoded: {exc}"
            return Bury(reason, failure)
        headers = held.headers
        if not held.known and (
            held.delivery.delivered > 1 or ATTEMPT in headers or CHECK in headers
        ):
            await self._settler.read(held)
        if held.cancelled or self.draining:
            return None
        delivery = held.first or held.delivery
        decision = on_delivery(held.record, delivery, crash_limit=self._crash_limit)
        first = isinstance(decision, Run) and decision.attempt == 1
        if first and job.expires_at is not None and await self._expired(held, job):
            return Skip(JobStatus.EXPIRED)
        return decision

    async def _expired(self, held: Held, job: JobMessage) -> bool:
        """Whether a job is too late, by the clock of the server that stored it."""
        expiry = job.expiry(stored_at(held.reply))
        try:
            now = await self._connection.clock.now()
        except NaqConnectionError:  # it went just now; this clock is the best there is
            now = time.time()
        return expiry is not None and now > expiry

    def _decoded(self, held: Held) -> JobMessage:
        job = self._codec.open(JobMessage, held.body, held.headers)
        if job.id != held.id or job.queue != held.queue:
            # A signed message published again under another name is not that other job.
            raise SerializationError(f"it is job {job.id} of queue {job.queue}")
        return job

    async def _turn_away(self, held: Held, decision: Skip | Bury) -> None:
        """Conclude a job that is not to run; before it is buried, ask whether somebody has it."""
        if isinstance(decision, Bury) and held.job is not None:
            holder = await presence.held_elsewhere(self._connection, held.id, self._settler.worker)
            if holder is not None:
                self._conclusions.leave(held, holder)
                return
        self._conclusions.turn_away(held, decision)
