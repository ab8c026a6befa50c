"""A job in the log: which one a record is about, and what is said of one that failed.

Nothing is bound when a job starts. Whoever writes the log asks :func:`job_fields` when a record is
emitted, so a job that logs nothing pays nothing, and no user code can unbind it
(``structlog.contextvars.clear_contextvars``). It knows two situations: code of the job itself, and
naq's own handling of it before and after (:func:`about`).
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from naq._executor import current_job
from naq.job import JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from naq._executor import Outcome
    from naq._held import Held

__all__ = ["about", "job_fields", "log_failure"]

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
