"""A job in the log: which one a record is about, and what is said of one that failed.

Nothing is bound when a job starts. Whoever writes the log asks :func:`job_fields` when a record is
emitted, so a job that logs nothing pays nothing, and no user code can unbind it
(``structlog.contextvars.clear_contextvars``). It knows two situations: code of the job itself, and
naq's own handling of it before and after (:func:`about`).

A job in a worker's hands: the message, what is known of it, and what is being done with it.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from naq.jobs.job import JobStatus, current_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    import anyio

    from naq.jobs.job import Failure, JobMessage, JobRecord
    from naq.nats.connection import Message
    from naq.queue.tracing import AttemptSpan
    from naq.worker.decide import Delivery, Run
    from naq.worker.execute import Outcome


__all__ = ["Held", "about", "job_fields", "log_failure"]

log = logging.getLogger("naq.worker")

_handled: ContextVar[Held | None] = ContextVar("naq_handled_job", default=None)


@contextmanager
def about(held: Held) -> Iterator[None]:
    """Say of what is logged inside that it is about this job."""
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
    if held.run is not None:
        fields["attempt"] = held.run.attempt
    if held.job is not None:
        fields["function"] = held.job.function
    return fields


def log_failure(held: Held, outcome: Outcome, status: JobStatus) -> None:
    """Log an attempt that failed, and what follows from it."""
    failure, run, job = outcome.failure, held.run, held.job
    if failure is None or run is None or job is None:
        return
    again = status is JobStatus.RETRYING
    log.log(
        logging.WARNING if again else logging.ERROR,
        "job %s (%s) attempt %d: %s: %s; %s",
        held.id,
        job.function,
        run.attempt,
        failure.type.rpartition(".")[2],
        failure.message,
        "will be tried again" if again else "dead letter",
    )


class Held:
    """A job a worker was given and has not settled.

    ``reply`` and ``delivery`` change when the server delivers it again while it is held;
    ``record`` is what was known of it when it was taken, and ``expected`` that record's sequence.
    ``scope`` is there while it runs, to cancel it; ``concluded`` from when its outcome is known.
    ``span`` is there from when it runs, if traces are made.
    """

    __slots__ = (
        "arrived_at",
        "body",
        "cancelled",
        "concluded",
        "delivery",
        "expected",
        "headers",
        "id",
        "job",
        "problem",
        "queue",
        "record",
        "reply",
        "run",
        "scope",
        "span",
        "started_at",
    )

    def __init__(self, job_id: str, queue: str, message: Message, delivery: Delivery) -> None:
        self.id = job_id
        self.arrived_at = time.monotonic()
        self.queue = queue
        self.body = message.data
        self.headers = message.headers or {}
        self.reply = message.reply
        self.delivery = delivery
        self.job: JobMessage | None = None
        self.record: JobRecord | None = None
        self.expected = 0
        self.run: Run | None = None
        self.scope: anyio.CancelScope | None = None
        self.cancelled = False
        self.concluded = False
        self.problem: Failure | None = None
        self.started_at: float | None = None
        self.span: AttemptSpan | None = None
