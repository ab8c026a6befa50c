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
worker drains      record PENDING, so that it is no crash            NAK: another takes it now
cancelled          record CANCELLED                                  ack
expired            record EXPIRED                                    ack
=================  ================================================  =======================

A record is a compare-and-set on the one this delivery began with. When that fails, another worker
got there first; a final record of its is the truth, and ours is dropped. When the server cannot
store (no link, a full disk), the outcome is kept and tried again while the lease is renewed.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from naq.base import backoff
from naq.base.names import ATTEMPT, OWN_HEADER
from naq.exceptions import NaqConnectionError, PayloadTooLargeError
from naq.jobs.job import UNKNOWN, Attempt, DeadLetter, Failure, JobRecord, JobStatus
from naq.jobs.message import at, carried
from naq.nats.jetstream import MESSAGE_ID, SCHEDULE, SCHEDULE_TARGET, nak, term
from naq.worker.decide import SHORT_DELAY, Bury, history, on_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.jobs.codec import Codec
    from naq.jobs.results import Results
    from naq.nats.connection import Connection, PubAck
    from naq.worker.decide import Retry, Run
    from naq.worker.execute import Outcome
    from naq.worker.held import Held, Running

__all__ = ["Settler"]

log = logging.getLogger("naq.worker")

ERROR_LENGTH = 300
"""Characters that are remembered of the error of an attempt that was not the last."""
BRIEF = 100
"""Characters of an error's text that a letter keeps where there is no room for all of it."""


class Settler:
    """Turns what became of a job into stores and one settlement."""

    def __init__(
        self,
        connection: Connection,
        *,
        results: Results,
        codec: Codec,
        worker: str,
        short_delay: float = SHORT_DELAY,
    ) -> None:
        """Prepare to settle jobs.

        Args:
            connection: where they came from.
            results: where records are.
            codec: signs what is stored.
            worker: name of the worker, for records.
            short_delay: seconds up to which a retry waits in the consumer.
        """
        self._connection = connection
        self._results = results
        self._codec = codec
        self._worker = worker
        self._short_delay = short_delay

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

    async def settle(self, held: Held, running: Running, outcome: Outcome) -> JobStatus:
        """Settle a job that ran; return what it is now."""
        if outcome.failure is None:
            return await self._complete(held, running, outcome)
        run = running.run
        failures = run.failures + 1
        decision = on_failure(
            running.job,
            failures=failures,
            raised=outcome.raised,
            retryable=outcome.retryable,
            short_delay=self._short_delay,
        )
        if isinstance(decision, Bury):
            bury = Bury(decision.reason, run.attempt, run.crashes, outcome.failure)
            await self.bury(held, bury, outcome)
            return JobStatus.FAILED
        await self._retry(held, run, outcome, decision, failures)
        return JobStatus.RETRYING

    async def _complete(self, held: Held, running: Running, outcome: Outcome) -> JobStatus:
        record = self._record(held, JobStatus.COMPLETED, outcome)
        # A result that just fits is stored without the attempts before it.
        for fitting in (record, msgspec.structs.replace(record, history=())):
            try:
                await self._finish(held, fitting)
            except PayloadTooLargeError as exc:
                problem = f"the result: {exc}"
                continue
            self.ack(held)
            return JobStatus.COMPLETED
        failure = Failure("naq.exceptions.PayloadTooLargeError", problem)
        await self.bury(held, Bury("result too large", running.run.attempt, failure=failure))
        return JobStatus.FAILED

    async def bury(self, held: Held, decision: Bury, outcome: Outcome | None = None) -> None:
        """Make a dead letter of a job and end it."""
        now = time.time()
        name = held.job.function if held.job else UNKNOWN
        failure = decision.failure or Failure("", decision.reason)
        past = history(
            held.record,
            attempts=decision.attempts,
            crashes=decision.crashes,
            failed=self._failed(decision.attempts, outcome),
        )
        letter = DeadLetter(
            id=held.id,
            queue=held.queue,
            reason=decision.reason,
            failed_at=now,
            body=held.body,
            function=name,
            headers=carried(held.headers),
            error=failure,
            attempts=decision.attempts,
            worker=self._worker,
            history=past,
        )
        await self._store_letter(letter)
        record = JobRecord(
            id=held.id,
            queue=held.queue,
            function=name,
            status=JobStatus.FAILED,
            error=failure,
            enqueued_at=held.job.enqueued_at if held.job else 0.0,
            started_at=outcome.started_at if outcome else None,
            finished_at=outcome.finished_at if outcome else now,
            attempts=decision.attempts,
            crashes=decision.crashes,
            worker=self._worker,
            history=past,
        )
        await self._finish(held, record)
        self._connection.ack(held.reply, term(decision.reason))

    async def _store_letter(self, letter: DeadLetter) -> None:
        """Store a dead letter; one too large for the server loses details, at last its tail."""
        subject = self._connection.names.dead_letter(letter.queue, letter.id)
        error = letter.error and msgspec.structs.replace(letter.error, traceback="")
        brief = error and msgspec.structs.replace(error, message=error.message[:BRIEF])
        own = {name: value for name, value in letter.headers.items() if name.startswith(OWN_HEADER)}
        room = max(0, self._connection.max_payload - 8192)
        for smaller in (
            letter,
            msgspec.structs.replace(letter, error=error),
            msgspec.structs.replace(letter, error=brief, headers=own, history=()),
            msgspec.structs.replace(
                letter,
                body=letter.body[:room],
                error=None,
                history=(),
                reason=f"{letter.reason} (payload cut)",
            ),
        ):
            body, headers = self._codec.seal(smaller)
            try:
                await self._insist(self._connection.store, subject, body, headers)
            except PayloadTooLargeError:
                continue
            return

    async def hand_back(self, held: Held) -> None:
        """Give a job that will not be finished here to another worker, at once.

        The record says so, or the next worker would take this for a crash.
        """
        before = held.record
        record = self._record(held, JobStatus.PENDING)
        if held.running is None and before is not None:
            record = msgspec.structs.replace(
                record,
                attempts=before.attempts,
                failures=before.failures,
                crashes=before.crashes,
                history=before.history,
            )
        record = msgspec.structs.replace(
            record,
            finished_at=None,
            error=before.error if before else None,
            seq=held.delivery.seq,
            delivered=held.delivery.delivered,
        )
        if await self._results.put(record, ttl=self._ttl(held), expected=held.expected):
            self._connection.ack(held.reply, nak())
        else:
            await self._yield_to_other(held)

    async def end(self, held: Held, status: JobStatus) -> None:
        """Record that a job was cancelled or has expired, and ack it."""
        await self._finish(held, self._record(held, status))
        self.ack(held)

    # ----------------------------------------------------------------- steps

    async def _retry(
        self, held: Held, run: Run, outcome: Outcome, decision: Retry, failures: int
    ) -> None:
        record = msgspec.structs.replace(
            self._record(held, JobStatus.RETRYING, outcome),
            error=outcome.failure,
            failures=failures,
            retry_at=time.time() + decision.delay,
            seq=held.delivery.seq,
            delivered=held.delivery.delivered,
        )
        # It must outlive the wait it is about.
        ttl = max(self._ttl(held), decision.delay + 86_400)
        stored = await self._insist(self._results.put, record, ttl=ttl, expected=held.expected)
        if not stored:
            await self._yield_to_other(held)
        elif decision.scheduled:
            await self._schedule(held, run, decision.delay)
            self.ack(held)
        else:
            self._connection.ack(held.reply, nak(decision.delay))

    async def _schedule(self, held: Held, run: Run, delay: float) -> None:
        names = self._connection.names
        headers = carried(held.headers) | {
            ATTEMPT: str(run.attempt + 1),
            SCHEDULE: at(time.time() + delay),
            SCHEDULE_TARGET: names.job(held.queue, held.id),
            # With the place of the message it follows: a job that is queued again counts anew.
            MESSAGE_ID: f"{held.id}:{held.delivery.seq}:{run.attempt + 1}",
        }
        subject = names.delayed(held.queue, held.id)
        await self._insist(self._connection.store, subject, held.body, headers)

    async def _finish(self, held: Held, record: JobRecord) -> None:
        """Write a final record, unless another worker has written one already."""
        expected = held.expected
        while not await self._insist(
            self._results.put, record, ttl=self._ttl(held), expected=expected
        ):
            there, expected = await self._results.get(held.id)
            if there is not None and there.status.final:
                log.info("job %s had ended elsewhere as %s", held.id, there.status)
                return

    async def _yield_to_other(self, held: Held) -> None:
        """Another worker wrote the record we began with: ack if it ended the job, else leave."""
        there, _ = await self._results.get(held.id)
        if there is not None and there.status.final:
            self.ack(held)

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

    def _failed(self, number: int, outcome: Outcome | None) -> Attempt | None:
        """Return what is remembered of an attempt, if it has failed."""
        if outcome is None or outcome.failure is None:
            return None
        error = outcome.failure
        text = f"{error.type.rpartition('.')[2]}: {error.message}"[:ERROR_LENGTH]
        return Attempt(number, self._worker, outcome.started_at, outcome.finished_at, text)

    def _record(self, held: Held, status: JobStatus, outcome: Outcome | None = None) -> JobRecord:
        job, running = held.job, held.running
        run = running.run if running else None
        past: tuple[Attempt, ...] = ()
        failed = self._failed(run.attempt, outcome) if run else None
        if run is not None and (failed or run.crashes or held.record is not None):
            past = history(held.record, attempts=run.attempt, crashes=run.crashes, failed=failed)
        return JobRecord(
            id=held.id,
            queue=held.queue,
            function=job.function if job else UNKNOWN,
            status=status,
            value=outcome.value if outcome else b"",
            encoding=outcome.encoding if outcome else "",
            enqueued_at=job.enqueued_at if job else 0.0,
            started_at=outcome.started_at if outcome else (running.started_at if running else None),
            finished_at=outcome.finished_at if outcome else time.time(),
            attempts=run.attempt if run else 0,
            failures=run.failures if run else 0,
            crashes=run.crashes if run else 0,
            worker=self._worker,
            history=past,
        )
