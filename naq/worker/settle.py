"""Outcome to server: the order of the steps here is the delivery guarantee.

**The ack is the commit point.** Whatever a delivery leads to is stored first, by a write that is
the same when it is repeated, and only then the message is settled. A worker that dies in between
leaves a message that is delivered again, and the record tells the next worker what is left to do:

=================  ================================================  =======================
outcome            stored before                                     then
=================  ================================================  =======================
value              record COMPLETED                                  ack
error, try again   record RETRYING (+ ``@at`` message if long)       NAK with delay, or ack
error, for good    dead letter, record FAILED                        term, with the reason
not decodable      dead letter with the raw bytes, record FAILED     term
poison             dead letter, record FAILED                        term
not finished here  record PENDING, so that nothing was lost          NAK: another takes it now
cancelled          record CANCELLED                                  ack
expired            record EXPIRED                                    ack
=================  ================================================  =======================

A record is a compare-and-set on the one this delivery began with. When that fails, the record is
read again: it may be final, then it is the truth and ours is dropped; it may tell of a later
delivery, then the job is another worker's by now; else what it tells is what goes before ours. When
the server cannot store (no link, a full disk), the outcome is kept and tried again while the lease
is renewed.

A job is handed back only while its lease is certain (:mod:`naq.worker.life.leases`).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from naq.base import backoff
from naq.base.names import ATTEMPT
from naq.exceptions import NaqConnectionError, PayloadTooLargeError, SerializationError
from naq.jobs.coding.storable import plain, storable
from naq.jobs.deadletters import ever_smaller
from naq.jobs.job import UNKNOWN, Attempt, DeadLetter, Failure, JobRecord, JobStatus
from naq.jobs.message import at, carried
from naq.nats.jetstream import MESSAGE_ID, SCHEDULE, SCHEDULE_TARGET, nak, term
from naq.worker.decide import SHORT_DELAY, Bury, on_failure
from naq.worker.held import about
from naq.worker.life.deaths import NOTHING, Ended, Noted, Taken, remember, standing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.jobs.coding.codec import Codec
    from naq.jobs.results import Results
    from naq.nats.connection import Connection, PubAck
    from naq.worker.decide import Retry
    from naq.worker.execute import Outcome
    from naq.worker.held import Held, Running
    from naq.worker.life.leases import Leases

__all__ = ["Settler"]

log = logging.getLogger("naq.worker")

ERROR_LENGTH = 300
"""Characters that are remembered of the error of an attempt that was not the last."""
STOPPED = "it was stopped with its worker, and handed back"
PUT_OFF = 10.0
"""Seconds after which a suspect that could not run is tried again."""


class Settler:
    """Turns what became of a job into stores and one settlement."""

    def __init__(
        self,
        connection: Connection,
        *,
        results: Results,
        codec: Codec,
        worker: str,
        leases: Leases,
        short_delay: float = SHORT_DELAY,
        put_off: float = PUT_OFF,
    ) -> None:
        """Prepare to settle jobs.

        Args:
            connection: where they came from.
            results: where records are.
            codec: signs what is stored.
            worker: name of the worker, for records.
            leases: which jobs may be handed back.
            short_delay: seconds up to which a retry waits in the consumer.
            put_off: seconds after which a suspect that could not run is tried again.
        """
        self.worker = worker
        self._connection = connection
        self._results = results
        self._codec = codec
        self._leases = leases
        self._short_delay = short_delay
        self._put_off = put_off

    def complete_soon(
        self,
        held: Held,
        running: Running,
        outcome: Outcome,
        done: Callable[[PubAck | Exception], None],
    ) -> None:
        """Store a value without waiting; ``done`` gets the answer, and then it is to be acked.

        The common case without a task of its own. Any other answer than a PubAck: :meth:`settle`.
        """
        self._results.put_soon(
            self._record(held, JobStatus.COMPLETED, outcome),
            ttl=running.job.result_ttl,
            expected=held.expected,
            done=done,
        )

    def ack(self, held: Held) -> None:
        """Take the message off the queue: its outcome is stored, now or by another worker."""
        self._connection.ack(held.reply)

    async def read(self, held: Held) -> None:
        """Read a job's record.

        Raises:
            NaqConnectionError: the server cannot be reached.
        """
        try:
            held.record, held.expected = await self._results.get(held.id)
        except SerializationError as exc:
            # Not ours, so not believed; it is replaced when this job ends.
            with about(held):
                log.warning("job %s: its record cannot be read: %s", held.id, exc)
            names = self._connection.names
            stored = await self._connection.streams.get(names.results_stream, names.result(held.id))
            held.record, held.expected = None, stored.seq if stored else 0

    async def settle(self, held: Held, running: Running, outcome: Outcome) -> JobStatus:
        """Settle a job that ran; return what it is now."""
        if outcome.failure is None:
            return await self._complete(held, outcome)
        decision = on_failure(
            running.job,
            failures=held.past().failures + 1,
            raised=outcome.raised,
            retryable=outcome.retryable,
            short_delay=self._short_delay,
        )
        if isinstance(decision, Bury):
            await self.bury(held, Bury(decision.reason, outcome.failure), outcome)
            return JobStatus.FAILED
        await self._retry(held, outcome, decision)
        return JobStatus.RETRYING

    async def _complete(self, held: Held, outcome: Outcome) -> JobStatus:
        before = held.past()
        if before.attempts > before.failures:
            # One of them may have ended between a dead letter and its record.
            await self._insist(self._remove_letter, held)
        # A result that just fits is stored without the attempts before it.
        for past in ({}, {"history": ()}):
            try:
                await self._finish(held, JobStatus.COMPLETED, outcome, **past)
            except PayloadTooLargeError as exc:
                problem = f"the result: {exc}"
                continue
            self.ack(held)
            return JobStatus.COMPLETED
        failure = Failure("naq.exceptions.PayloadTooLargeError", problem)
        await self.bury(held, Bury("result too large", failure))
        return JobStatus.FAILED

    async def bury(self, held: Held, decision: Bury, outcome: Outcome | None = None) -> None:
        """Make a dead letter of a job and end it."""
        reason = plain(decision.reason)
        failure = decision.failure or Failure("", reason)
        record = self._record(held, JobStatus.FAILED, outcome)
        letter = DeadLetter(
            id=held.id,
            queue=held.queue,
            reason=reason,
            failed_at=time.time(),
            body=held.body,
            function=record.function,
            headers=carried(held.headers),
            error=failure,
            attempts=record.attempts,
            worker=self.worker,
            history=record.history,
        )
        await self._store_letter(letter)
        ended = await self._finish(held, JobStatus.FAILED, outcome, error=failure)
        if ended is not JobStatus.FAILED:
            await self._insist(self._remove_letter, held)
        self._connection.ack(held.reply, term(reason))

    async def _store_letter(self, letter: DeadLetter) -> None:
        subject = self._connection.names.dead_letter(letter.queue, letter.id)
        for fitting in ever_smaller(letter, self._connection.max_payload):
            body, headers = self._codec.seal(storable(fitting))
            try:
                await self._insist(self._connection.store, subject, body, headers)
            except PayloadTooLargeError:
                continue
            return

    async def _remove_letter(self, held: Held) -> None:
        names = self._connection.names
        letter = names.dead_letter(held.queue, held.id)
        await self._connection.streams.purge(names.results_stream, letter)

    async def hand_back(self, held: Held, *, put_off: bool = False) -> None:
        """Give a job that will not be finished here to another worker, at once.

        The record says so, or the next worker would take this for a job that was lost.

        Args:
            held: the job.
            put_off: it is a suspect that could not run, and is to be tried a little later.
        """
        now = time.time()

        def record() -> JobRecord:
            error = held.record.error if held.record else None
            left = self._unfinished(
                held, JobStatus.PENDING, put_off=put_off, error=error, finished_at=None
            )
            if held.running is None:
                return left
            stopped = self._attempt(left.attempts, held.running.started_at, now, STOPPED)
            return msgspec.structs.replace(left, history=remember(left.history, [stopped]))

        if await self._note(held, record, self._results.put, ttl=self._ttl(held)):
            self._give_back(held, self._put_off if put_off else 0.0)

    async def end(self, held: Held, status: JobStatus) -> None:
        """Record that a job was cancelled or has expired, and ack it."""
        await self._finish(held, status)
        self.ack(held)

    # ----------------------------------------------------------------- steps

    def _certain(self, held: Held) -> bool:
        connected = self._connection.connected
        return connected and self._leases.certain(held.arrived_at, time.monotonic())

    def _give_back(self, held: Held, delay: float) -> None:
        """Have the server deliver it again in ``delay`` seconds, or else when its lease ends."""
        if self._certain(held):
            self._connection.ack(held.reply, nak(delay))

    async def _retry(self, held: Held, outcome: Outcome, decision: Retry) -> None:
        retry_at = time.time() + decision.delay
        following = held.past().attempts + 2

        def record() -> JobRecord:
            return self._unfinished(held, JobStatus.RETRYING, outcome, retry_at=retry_at)

        async def put(*args: Any, **options: Any) -> bool:
            return bool(await self._insist(self._results.put, *args, **options))

        # It must outlive the wait it is about.
        ttl = max(self._ttl(held), decision.delay + 86_400)
        if not await self._note(held, record, put, ttl=ttl):
            return
        if decision.scheduled or not self._certain(held):
            await self._schedule(held, following, retry_at)
            self.ack(held)
        else:
            self._give_back(held, decision.delay)

    async def _note(
        self,
        held: Held,
        record: Callable[[], JobRecord],
        put: Callable[..., Awaitable[bool]],
        *,
        ttl: float,
    ) -> bool:
        """Write a record that is not the last; whether the job is still ours to settle."""
        while not await put(record(), ttl=ttl, expected=held.expected):
            await self.read(held)
            match standing(held.record, held.delivery):
                case Ended():
                    self.ack(held)
                    return False
                case Taken():
                    return False
                case Noted():  # by us: only the answer was lost
                    return True
        return True

    async def _schedule(self, held: Held, attempt: int, moment: float) -> None:
        names = self._connection.names
        headers = carried(held.headers) | {
            ATTEMPT: str(attempt),
            SCHEDULE: at(moment),
            SCHEDULE_TARGET: names.job(held.queue, held.id),
            # With the place of the message it follows: a job that is queued again counts anew.
            MESSAGE_ID: f"{held.id}:{held.delivery.seq}:{attempt}",
        }
        subject = names.delayed(held.queue, held.id)
        await self._insist(self._connection.store, subject, held.body, headers)

    async def _finish(
        self, held: Held, status: JobStatus, outcome: Outcome | None = None, **changes: Any
    ) -> JobStatus:
        """Write a final record, unless there is one; return what the job has ended as."""
        while True:
            record = msgspec.structs.replace(self._record(held, status, outcome), **changes)
            if await self._insist(
                self._results.put, record, ttl=self._ttl(held), expected=held.expected
            ):
                return status
            await self._insist(self.read, held)
            there = held.record
            if there is not None and there.status.final:
                if there.worker != self.worker:
                    log.info("job %s had ended elsewhere as %s", held.id, there.status)
                return there.status

    async def _insist(self, store: Any, *args: Any, **kwargs: Any) -> Any:
        """Store, for as long as it takes: giving up would run the job a second time."""
        attempt = 0
        while True:
            try:
                return await store(*args, **kwargs)
            except NaqConnectionError as exc:  # also a refusal, like a full disk
                delay = backoff.exponential(attempt, initial=0.5, maximum=15.0, jitter=0.3)
                attempt += 1
                log.warning("cannot store an outcome, trying again in %.1f s: %s", delay, exc)
                await anyio.sleep(delay)

    def _ttl(self, held: Held) -> float:
        own = held.job.result_ttl if held.job else None
        return self._connection.settings.default_result_ttl if own is None else own

    def _failed(self, number: int, outcome: Outcome, error: Failure) -> Attempt:
        """Return what is remembered of an attempt that has failed."""
        text = f"{error.type.rpartition('.')[2]}: {error.message}"[:ERROR_LENGTH]
        return self._attempt(number, outcome.started_at, outcome.finished_at, text)

    def _attempt(self, number: int, began: float, ended: float, error: str) -> Attempt:
        return Attempt(number, self.worker, began, ended, error)

    def _unfinished(
        self,
        held: Held,
        status: JobStatus,
        outcome: Outcome | None = None,
        *,
        put_off: bool = False,
        **changes: Any,
    ) -> JobRecord:
        """Make a record of a job that will be delivered again: what the next worker goes by."""
        before = held.past().suspicion
        put_offs = 0 if held.running else before.put_off + put_off
        suspicion = msgspec.structs.replace(before, put_off=put_offs)
        return msgspec.structs.replace(
            self._record(held, status, outcome),
            seq=held.delivery.seq,
            delivered=held.delivery.delivered,
            suspicion=suspicion if suspicion != NOTHING.suspicion else None,
            **changes,
        )

    def _record(self, held: Held, status: JobStatus, outcome: Outcome | None = None) -> JobRecord:
        """Make a record out of what went before, and of this attempt, if it was one."""
        job, running, before = held.job, held.running, held.past()
        attempts = before.attempts + (running is not None)
        failed = None
        if outcome is not None and outcome.failure is not None:
            failed = self._failed(attempts, outcome, outcome.failure)
        return JobRecord(
            id=held.id,
            queue=held.queue,
            function=job.function if job else UNKNOWN,
            status=status,
            value=outcome.value if outcome else b"",
            encoding=outcome.encoding if outcome else "",
            error=outcome.failure if outcome else None,
            enqueued_at=job.enqueued_at if job else 0.0,
            started_at=outcome.started_at if outcome else (running.started_at if running else None),
            finished_at=outcome.finished_at if outcome else time.time(),
            attempts=attempts,
            failures=before.failures + (failed is not None),
            crashes=before.crashes,
            lost=before.lost,
            worker=self.worker,
            history=remember(before.history, [failed]) if failed else before.history,
        )
