"""The end of a job in a worker's hands: settled, counted, logged and let go of.

A job that completes takes the short way: no task of its own, no wait; its value is stored while its
slot is on the next job. Everything rarer is concluded in a task. That goes on when the worker is
cancelled, until there is no time left and it is abandoned: such a job is delivered again.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio

from naq.jobs.job import JobStatus
from naq.nats.connection import PubAck
from naq.queue.numbers.tally import DONE, FAILED, RETRIED
from naq.worker.decide import Bury, Skip
from naq.worker.held import about, log_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from anyio.abc import TaskGroup

    from naq.queue.numbers.tally import Tally
    from naq.worker.execute import Outcome
    from naq.worker.held import Held, Running
    from naq.worker.life.ledger import Ledger
    from naq.worker.settle import Settler

__all__ = ["Conclusions"]

log = logging.getLogger("naq.worker")

DEAF_TIMEOUT = 2.0
"""Seconds the function of a job that is stopped gets to end."""

_COUNTED = {JobStatus.COMPLETED: DONE, JobStatus.FAILED: FAILED, JobStatus.RETRYING: RETRIED}


class Conclusions:
    """Brings jobs to their end; ``held`` are those that have not come to it."""

    def __init__(
        self,
        tasks: TaskGroup,
        *,
        settler: Settler,
        ledger: Ledger,
        tally: Tally,
        limit: int,
        relieved: Callable[[], None],
    ) -> None:
        """Prepare to conclude jobs.

        Args:
            tasks: where conclusions that take longer live.
            settler: where outcomes go.
            ledger: has what is held.
            tally: counts what becomes of jobs.
            limit: how many may be under way before no more jobs should be asked for.
            relieved: called when there were that many and one has ended.
        """
        self.held: dict[str, Held] = {}
        self._tasks = tasks
        self._settler = settler
        self._ledger = ledger
        self._tally = tally
        self._limit = limit
        self._relieved = relieved
        self._under_way = 0
        self._scopes: set[anyio.CancelScope] = set()
        self._quiet = anyio.Event()

    @property
    def excess(self) -> int:
        """How many more are under way than should be: outcomes cannot be stored."""
        return max(0, self._under_way - self._limit)

    # --------------------------------------------------------- the ways to end

    def complete(self, held: Held, running: Running, outcome: Outcome) -> None:
        """Conclude a job that has run, whatever came of it."""
        if held.concluded:
            return  # too late: see interrupt
        held.concluded = True
        if outcome.failure is not None or held.delivery.delivered > 1:
            self._conclude_soon(held, partial(self._settle, held, running, outcome))
            return
        self._under_way += 1
        stored = partial(self._stored, held, running, outcome)
        self._settler.complete_soon(held, running, outcome, stored)

    def _stored(
        self, held: Held, running: Running, outcome: Outcome, answer: PubAck | Exception
    ) -> None:
        """End the short way: the value is stored, or it takes longer."""
        self._under_way -= 1
        if isinstance(answer, PubAck):
            self._settler.ack(held)
            self._count(running, outcome, DONE)
            self._release(held, JobStatus.COMPLETED)
        else:
            self._conclude_soon(held, partial(self._settle, held, running, outcome))

    async def _settle(self, held: Held, running: Running, outcome: Outcome) -> JobStatus:
        status = await self._settler.settle(held, running, outcome)
        self._count(running, outcome, _COUNTED[status])
        log_failure(running, outcome, status)
        return status

    def turn_away(self, held: Held, decision: Skip | Bury) -> None:
        """Conclude a job that is not to run."""
        self._conclude_soon(held, partial(self._turn_away, held, decision))

    async def _turn_away(self, held: Held, decision: Skip | Bury) -> JobStatus:
        if isinstance(decision, Bury):
            await self._settler.bury(held, decision)
            self._tally.buried(held.queue)
            log.error("job %s: dead letter: %s", held.id, decision.reason)
            return JobStatus.FAILED
        ended = held.record is not None and held.record.status.final
        if decision.status is JobStatus.EXPIRED and not ended:
            await self._settler.end(held, JobStatus.EXPIRED)
            log.info("job %s expired before it was started", held.id)
        else:
            self._settler.ack(held)
        return decision.status

    def hand_back(self, held: Held) -> None:
        """Conclude a job that is not finished here: it was cancelled, or is for another worker."""
        self._conclude_soon(held, partial(self._hand_back, held))

    def put_off(self, held: Held) -> None:
        """Conclude a suspect that could not run here: it is tried again a little later."""
        self._conclude_soon(held, partial(self._hand_back, held, put_off=True))

    def leave(self, held: Held, holder: str) -> None:
        """Let go of a job that another worker turned out to hold."""
        with about(held):
            log.info("job %s: left to worker %s, which has it", held.id, holder)
        self._release(held, None)

    async def interrupted(self, held: Held) -> None:
        """:meth:`hand_back` a job whose function was stopped, and wait for it."""
        if held.concluded:
            return  # it was handed back while its function ignored that it was stopped
        await self._conclude(held, partial(self._hand_back, held))

    async def _hand_back(self, held: Held, *, put_off: bool = False) -> JobStatus:
        held.concluded = True
        if held.cancelled:
            await self._settler.end(held, JobStatus.CANCELLED)
            log.info("job %s cancelled", held.id)
            return JobStatus.CANCELLED
        await self._settler.hand_back(held, put_off=put_off)
        return JobStatus.PENDING

    def give_up(self, held: Held, exc: Exception) -> None:
        """Let go of a job that could not be settled: an error of ours, or of the server."""
        with about(held):
            log.error("job %s: not settled, it will be delivered again", held.id, exc_info=exc)
        self._release(held, None)

    # -------------------------------------------------------- what they share

    def _conclude_soon(self, held: Held, settle: Callable[[], Awaitable[JobStatus]]) -> None:
        self._tasks.start_soon(self._conclude, held, settle, name=f"naq conclude {held.id}")

    async def _conclude(self, held: Held, settle: Callable[[], Awaitable[JobStatus]]) -> None:
        """Settle a job, which returns what it is now; an error in here concerns it alone."""
        self._under_way += 1
        with about(held), self.shielded():
            try:
                status = await settle()
            except Exception as exc:  # noqa: BLE001 - one job is isolated
                self.give_up(held, exc)
            else:
                self._release(held, status)
            finally:
                self._under_way -= 1

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Go on when the worker is cancelled, until :meth:`abandon`."""
        with anyio.CancelScope(shield=True) as scope:
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def _count(self, running: Running, outcome: Outcome, how: int) -> None:
        job, began = running.job, outcome.started_at
        waited = began - (job.due_at or job.enqueued_at) if running.run.attempt == 1 else None
        self._tally.ran(job.queue, how, outcome.finished_at - began, waited)

    def _release(self, held: Held, status: JobStatus | None) -> None:
        if held.running is not None and held.running.span is not None:
            held.running.span.end(status)
        self._ledger.leave(held.place)
        held.place = 0
        if self.held.get(held.id) is held:
            del self.held[held.id]
        if not self.held:
            self._quiet.set()
        if self._under_way >= self._limit:
            self._relieved()

    # --------------------------------------------------------------- stopping

    async def until_quiet(self) -> None:
        """Wait until no job is held."""
        while self.held:
            if self._quiet.is_set():
                self._quiet = anyio.Event()
            await self._quiet.wait()

    async def drain(self, timeout: float, forced: anyio.Event) -> None:
        """Let running jobs finish, for ``timeout`` seconds or until ``forced``."""
        if self.held and not forced.is_set():
            log.info("draining: %d jobs have %g s to finish", len(self.held), timeout)
        async with anyio.create_task_group() as tasks:

            async def hurry() -> None:
                await forced.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(hurry)
            with anyio.move_on_after(timeout):
                await self.until_quiet()
            tasks.cancel_scope.cancel()

    async def interrupt(self) -> None:
        """Stop what still runs; each job hands itself back. Returns when all have.

        A function may ignore for ever that it was stopped. Its job is handed back without it.
        """
        unfinished = [held for held in self.held.values() if not held.concluded]
        if unfinished:
            log.warning("handing back %d unfinished jobs", len(unfinished))
        for held in unfinished:
            held.interrupt()
        with anyio.move_on_after(DEAF_TIMEOUT):
            await self.until_quiet()
        for held in list(self.held.values()):
            if not held.concluded:
                with about(held):
                    log.warning("job %s ignores that it is stopped: handed back as it is", held.id)
                held.concluded = True
                self.hand_back(held)
        await self.until_quiet()

    def abandon(self) -> None:
        """Conclude nothing more: what is not settled by now is delivered again in its time."""
        for held in self.held.values():
            if held.running is not None and held.running.span is not None:
                held.running.span.end(None)
        for scope in list(self._scopes):
            scope.cancel()
