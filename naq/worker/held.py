"""A job in a worker's hands, and which job a log record is about.

Nothing is bound to the log when a job starts. Whoever writes the log asks :func:`job_fields` when a
record is emitted, so a job that logs nothing pays nothing, and no user code can unbind it
(``structlog.contextvars.clear_contextvars``). It knows two situations: code of the job itself, and
naq's own handling of the job before and after (:func:`about`).
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import msgspec

from naq.jobs.job import JobStatus, current_job
from naq.worker.life.deaths import NOTHING, past

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anyio

    from naq.jobs.job import JobMessage, JobRecord
    from naq.queue.tracing import AttemptSpan
    from naq.worker.decide import Run
    from naq.worker.execute import Outcome
    from naq.worker.life.deaths import Delivery, Past

__all__ = ["Held", "Running", "about", "job_fields", "log_failure"]

log = logging.getLogger("naq.worker")


class Running(msgspec.Struct, eq=False):
    """An attempt that has been decided upon: what runs, how it counts, and since when.

    ``started_at`` is seconds since the epoch; ``span`` is there if traces are made.
    """

    job: JobMessage
    run: Run
    started_at: float
    span: AttemptSpan | None = None


class Held(msgspec.Struct, eq=False):
    """A job a worker was given and has not settled.

    Attributes:
        id: the job's.
        queue: where it came from.
        body: its message, not decoded.
        headers: those of the message.
        reply: what it is settled by. This and ``delivery`` change when the server delivers it
            again while it is held.
        delivery: which delivery it is.
        place: where it stands in the worker's ledger, 0 for nowhere.
        arrived_at: when it was delivered, in seconds of the monotonic clock.
        first: the delivery it was taken with, if it has been delivered again since.
        job: the decoded message; None until then, and if it cannot be decoded.
        record: what was known of it when it was taken.
        expected: that record's sequence in the stream, 0 if there was none.
        running: from when it runs.
        scope: while it runs, to cancel it.
        cancelled: whether somebody has cancelled it.
        concluded: whether its outcome is known.
        plain: whether nothing is known of it but this delivery.
        known: whether its record was looked up when it arrived.
    """

    id: str
    queue: str
    body: bytes
    headers: dict[str, str]
    reply: str
    delivery: Delivery
    arrived_at: float
    first: Delivery | None = None
    job: JobMessage | None = None
    record: JobRecord | None = None
    expected: int = 0
    running: Running | None = None
    scope: anyio.CancelScope | None = None
    cancelled: bool = False
    concluded: bool = False
    place: int = 0
    plain: bool = True
    known: bool = False

    def again(self, reply: str, delivery: Delivery, now: float) -> None:
        """Go on under another name: the server has delivered it again, while we have it."""
        self.plain = False
        self.first = self.first or self.delivery
        self.reply, self.delivery, self.arrived_at = reply, delivery, now

    def past(self) -> Past:
        """Return what went before it was taken."""
        taken = self.first or self.delivery
        if self.record is None and taken.delivered == 1:
            return NOTHING
        return past(self.record, taken)

    def cancel(self) -> bool:
        """Stop it, now or as soon as it would start; False if its outcome is known already."""
        if self.concluded:
            return False
        self.cancelled = True
        self.interrupt()
        return True

    def interrupt(self) -> None:
        """Stop its function, if that runs."""
        if self.scope is not None:
            self.scope.cancel()


_handled: ContextVar[Held | None] = ContextVar("naq_handled_job", default=None)


@contextmanager
def about(held: Held) -> Iterator[None]:
    """Mark what is logged inside as being about this job."""
    token = _handled.set(held)
    try:
        yield
    finally:
        _handled.reset(token)


def job_fields() -> dict[str, object]:
    """Return ``job_id``, ``queue``, ``attempt`` and ``function``; nothing outside of a job.

    Before a message is decoded and decided upon, the last two are not known.
    """
    job = current_job()
    if job is not None:
        return {
            "job_id": job.id,
            "queue": job.queue,
            "attempt": job.attempt,
            "function": job.function_name,
        }
    held = _handled.get()
    if held is None:
        return {}
    fields: dict[str, object] = {"job_id": held.id, "queue": held.queue}
    if held.running is not None:
        fields["attempt"] = held.running.run.attempt
    if held.job is not None:
        fields["function"] = held.job.function
    return fields


def log_failure(running: Running, outcome: Outcome, status: JobStatus) -> None:
    """Log an attempt that failed, and what follows from it; nothing of one that did not."""
    failure, job = outcome.failure, running.job
    if failure is None:
        return
    again = status is JobStatus.RETRYING
    log.log(
        logging.WARNING if again else logging.ERROR,
        "job %s (%s) attempt %d: %s: %s; %s",
        job.id,
        job.function,
        running.run.attempt,
        failure.type.rpartition(".")[2],
        failure.message,
        "will be tried again" if again else "dead letter",
        exc_info=outcome.exc_info,  # so that error trackers see it
    )
