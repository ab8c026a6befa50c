"""One job in a worker's hands, from delivery to settlement.

``take`` -> a runner -> ``run``: admit (decode, read its record if it may have one, decide),
execute, conclude. A job that completes at once takes the short way: no task of its own, no wait;
its outcome is stored while the runner is on the next job. Everything rarer is concluded in a task.

What the server has fired of a schedule, in a worker's hands: it makes a job of it.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

import anyio

from naq.base.names import ATTEMPT, CHECK, FIRE_MARK
from naq.exceptions import SerializationError
from naq.jobs.job import Failure, JobMessage, JobStatus
from naq.nats.connection import PubAck
from naq.nats.jetstream import nak
from naq.nats.pull import stored_at
from naq.queue.tally import DONE, FAILED, RETRIED
from naq.queue.tracing import tracing
from naq.schedules.advance import Advance
from naq.schedules.records import revision
from naq.worker.decide import FIRST, Bury, Run, Skip, on_delivery
from naq.worker.execute import execute
from naq.worker.held import Held, about, log_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from naq.jobs.codec import Codec
    from naq.jobs.results import Results
    from naq.nats.connection import Connection, Message
    from naq.queue.tally import Tally
    from naq.queue.tracing import AttemptSpan
    from naq.worker.decide import Delivery
    from naq.worker.execute import Outcome, Threads
    from naq.worker.settle import Settler
    from naq.worker.slots import Runners

    Decision = Run | Skip | Bury

__all__ = ["Firing", "Handler"]

log = logging.getLogger("naq.worker")

HOLD = 0.25
"""Seconds a job that came while all slots were taken waits for one before it is handed back."""
SHORT = 0.005
"""Seconds up to which jobs are called short, on average (a tenth of the weight to each new one)."""

_COUNTED = {JobStatus.COMPLETED: DONE, JobStatus.FAILED: FAILED, JobStatus.RETRYING: RETRIED}


class Handler:
    """What a worker does with jobs; ``held`` is all it was given and has not settled."""

    def __init__(
        self,
        connection: Connection,
        tasks: TaskGroup,
        *,
        codec: Codec,
        results: Results,
        settler: Settler,
        threads: Threads,
        tally: Tally,
        crash_limit: int,
        changed: Callable[[], None],
    ) -> None:
        """Make a handler.

        Args:
            connection: where records are read.
            tasks: where conclusions that take longer live.
            codec: what may be decoded here.
            results: where records are.
            settler: where outcomes go.
            threads: where sync functions run.
            tally: counts what becomes of jobs.
            crash_limit: how many workers a job may take down.
            changed: called when a job was settled.
        """
        self.held: dict[str, Held] = {}
        self.concluding = 0
        """Jobs that have run and whose outcome is not stored yet."""
        self.processed = 0
        self.draining = False
        self.runners: Runners[Held]
        self._connection = connection
        self._tasks = tasks
        self._codec = codec
        self._results = results
        self._settler = settler
        self._threads = threads
        self._tally = tally
        self._crash_limit = crash_limit
        self._changed = changed
        self._tracing = tracing()
        self._conclusions: set[anyio.CancelScope] = set()
        self._firing = Firing(connection, codec, self._conclusions)
        self._crowded = anyio.Event()
        self._quiet = anyio.Event()
        self._usual_duration = SHORT

    def take(self, queue: str, message: Message, delivery: Delivery) -> None:
        """Accept a job from the server."""
        job_id = message.subject.rpartition(".")[2]
        if job_id.endswith(FIRE_MARK):
            schedule_id = job_id.removesuffix(FIRE_MARK)
            name = f"naq fire {schedule_id}"
            self._tasks.start_soon(self._firing.take, schedule_id, message, delivery, name=name)
            return
        held = self.held.get(job_id)
        if held is not None:
            # The lease ran out while the link was down, or the server forgot the delivery when
            # it was killed. We still have it: settle it by its newest name.
            held.reply, held.delivery = message.reply, delivery
            return
        self.held[job_id] = held = Held(job_id, queue, message, delivery)
        if self.runners.free <= 0:
            self._crowded.set()
        self.runners.submit(held)

    async def hand_back_late(self) -> None:
        """Hand back jobs that have waited for a slot for too long, until cancelled."""
        waiting = self.runners.waiting
        while True:
            await self._crowded.wait()
            self._crowded = anyio.Event()
            while waiting:
                left = waiting[0].arrived_at + HOLD - time.monotonic()
                if left > 0:
                    await anyio.sleep(left)
                    continue
                self._conclude_later(waiting.popleft(), None)

    def hand_back_waiting(self) -> None:
        """Hand back jobs that wait for a slot, so that other workers run them now."""
        waiting = self.runners.waiting
        while waiting:
            self._conclude_later(waiting.popleft(), None)

    @property
    def ahead(self) -> int:
        """How many jobs to ask for beyond the free slots: twice as many, when jobs are short.

        A request takes as long as many short jobs, and the slots would be empty meanwhile.
        """
        return 2 * self._threads.limit if self._usual_duration < SHORT else 0

    # ---------------------------------------------------------------- running

    async def run(self, held: Held) -> None:
        """Run one job in a slot; cancelled through its scope."""
        try:
            decision = await self._admit(held)
            if not isinstance(decision, Run):
                self._conclude_later(held, decision)
                return
            held.run = decision
            held.started_at = time.time()
            assert held.job is not None
            if self._tracing is not None:
                held.span = self._tracing.attempt(held.job, decision.attempt, held.headers)
            if held.span is None:
                outcome = await execute(
                    held.job, decision.attempt, codec=self._codec, threads=self._threads
                )
            else:
                outcome = await self._execute_traced(held.span, held.job, decision)
        except Exception as exc:  # noqa: BLE001 - one job is isolated
            self._give_up(held, exc)
            return
        held.concluded = True
        self.processed += 1
        took = outcome.finished_at - outcome.started_at
        self._usual_duration += (took - self._usual_duration) * 0.1
        if outcome.failure is not None:
            self._conclude_later(held, outcome)
            return
        self.concluding += 1
        self._settler.complete_soon(held, outcome, partial(self._answered, held, outcome))

    async def _execute_traced(self, span: AttemptSpan, job: JobMessage, run: Run) -> Outcome:
        with span:
            outcome = await execute(job, run.attempt, codec=self._codec, threads=self._threads)
            span.failure = outcome.failure
        return outcome

    async def interrupted(self, held: Held) -> None:
        """Conclude a job that was cancelled: by someone, or by a worker that stops."""
        await self._conclude(held, None)

    async def _admit(self, held: Held) -> Decision | None:
        """Decide whether to run a job; None to hand it back."""
        try:
            held.job = job = self._decoded(held)
        except SerializationError as exc:
            held.problem = Failure("naq.exceptions.SerializationError", str(exc))
            return Bury(f"cannot be decoded: {exc}", held.delivery.delivered)
        headers = held.headers
        if held.delivery.delivered > 1 or ATTEMPT in headers or CHECK in headers:
            await self._read_record(held)
        if held.cancelled or self.draining:
            return None
        decision = on_delivery(held.record, held.delivery, crash_limit=self._crash_limit)
        if job.expires_at is None or not isinstance(decision, Run) or decision.attempt > 1:
            return decision
        return Skip(JobStatus.EXPIRED) if time.time() > job.expires_at else FIRST

    def _decoded(self, held: Held) -> JobMessage:
        job = self._codec.open(JobMessage, held.body, held.headers)
        if job.id != held.id or job.queue != held.queue:
            # A signed message published again under another name is not that other job.
            raise SerializationError(f"it is job {job.id} of queue {job.queue}")
        return job

    async def _read_record(self, held: Held) -> None:
        try:
            held.record, held.expected = await self._results.get(held.id)
        except SerializationError as exc:
            # Not ours, so not believed; it is replaced when this job ends.
            with about(held):
                log.warning("job %s: its record cannot be read: %s", held.id, exc)
            names = self._connection.names
            stored = await self._connection.streams.get(names.results_stream, names.result(held.id))
            held.expected = stored.seq if stored else 0

    # ------------------------------------------------------------- concluding

    def _answered(self, held: Held, outcome: Outcome, answer: PubAck | Exception) -> None:
        """The short way's end: the value is stored, or it takes longer."""
        self.concluding -= 1
        if isinstance(answer, PubAck):
            self._settler.ack(held)
            self._count(held, outcome, DONE)
            self._release(held, JobStatus.COMPLETED)
        else:
            self._conclude_later(held, outcome)

    def _conclude_later(self, held: Held, what: Outcome | Decision | None) -> None:
        self._tasks.start_soon(self._conclude, held, what, name=f"naq conclude {held.id}")

    async def _conclude(self, held: Held, what: Outcome | Decision | None) -> None:
        """Store what became of a job and settle it; an error in here concerns this job alone.

        A worker that is cancelled still does this; :meth:`abandon` ends it.
        """
        self.concluding += 1
        with about(held), anyio.CancelScope(shield=True) as scope:
            self._conclusions.add(scope)
            try:
                status = await self._settle(held, what)
            except Exception as exc:  # noqa: BLE001 - one job is isolated
                self._give_up(held, exc)
            else:
                self._release(held, status)
            finally:
                self._conclusions.discard(scope)
                self.concluding -= 1

    async def interrupt(self) -> None:
        """Cancel what still runs; each job hands itself back. Returns when all have."""
        running = [held for held in self.held.values() if not held.concluded]
        if running:
            log.warning("handing back %d unfinished jobs", len(running))
        for held in running:
            if held.scope is not None:
                held.scope.cancel()
        await self.until_quiet()

    async def until_quiet(self) -> None:
        """Wait until no job is held."""
        while self.held:
            if self._quiet.is_set():
                self._quiet = anyio.Event()
            await self._quiet.wait()

    def abandon(self) -> None:
        """Conclude nothing more: what is not settled by now is delivered again in its time."""
        for held in self.held.values():
            if held.span is not None:
                held.span.end(None)
        for scope in list(self._conclusions):
            scope.cancel()

    async def _settle(self, held: Held, what: Outcome | Decision | None) -> JobStatus:
        """Settle a job; return what it is now."""
        settler = self._settler
        match what:
            case None if held.cancelled:
                held.concluded = True
                await settler.end(held, JobStatus.CANCELLED)
                log.info("job %s cancelled", held.id)
                return JobStatus.CANCELLED
            case None:
                held.concluded = True
                await settler.hand_back(held)
                return JobStatus.PENDING
            case Skip(status=status):
                if status is JobStatus.EXPIRED and held.record is None:
                    await settler.end(held, JobStatus.EXPIRED)
                    log.info("job %s expired before it was started", held.id)
                else:
                    settler.ack(held)
                return status
            case Bury():
                await settler.bury(held, what, held.problem)
                self._tally.buried(held.queue)
                log.error("job %s: dead letter: %s", held.id, what.reason)
                return JobStatus.FAILED
            case Run():
                raise AssertionError("a job to run is not to settle")
            case _:
                status = await settler.settle(held, what)
                self._count(held, what, _COUNTED[status])
                log_failure(held, what, status)
                return status

    def _count(self, held: Held, outcome: Outcome, how: int) -> None:
        job, run = held.job, held.run
        assert job is not None
        assert run is not None
        began = outcome.started_at
        waited = began - (job.due_at or job.enqueued_at) if run.attempt == 1 else None
        self._tally.ran(held.queue, how, outcome.finished_at - began, waited)

    def _give_up(self, held: Held, exc: Exception) -> None:
        with about(held):
            log.error("job %s: not settled, it will be delivered again", held.id, exc_info=exc)
        self._release(held, None)

    def _release(self, held: Held, status: JobStatus | None) -> None:
        if held.span is not None:
            held.span.end(status)
        if self.held.get(held.id) is held:
            del self.held[held.id]
        if not self.held:
            self._quiet.set()
        self._changed()


AGAIN = nak(1.0)
"""Have it delivered again in a second."""


class Firing:
    """Takes firings; that needs no slot."""

    def __init__(
        self, connection: Connection, codec: Codec, conclusions: set[anyio.CancelScope]
    ) -> None:
        """Prepare to take firings.

        Args:
            connection: where they come from.
            codec: what may be decoded here.
            conclusions: scopes of what a worker that is cancelled still does.
        """
        self._connection = connection
        self._advance = Advance(connection, codec)
        self._conclusions = conclusions

    async def take(self, schedule_id: str, message: Message, delivery: Delivery) -> None:
        """Make a job of a firing and settle it; an error in here concerns this schedule alone."""
        reply = message.reply
        with anyio.CancelScope(shield=True) as scope:
            self._conclusions.add(scope)
            try:
                await self._advance.fire(
                    schedule_id,
                    stored_at(reply),
                    revision(message.headers),
                    again=delivery.delivered > 1,
                )
            except SerializationError as exc:
                log.error("schedule %s: its definition cannot be read: %s", schedule_id, exc)  # noqa: TRY400
                self._connection.ack(reply)
            except Exception as exc:
                log.warning("schedule %s: will be tried again", schedule_id, exc_info=exc)
                self._connection.ack(reply, AGAIN)
            else:
                self._connection.ack(reply)
            finally:
                self._conclusions.discard(scope)
