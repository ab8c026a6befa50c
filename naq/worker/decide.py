"""What happens to a delivery: run it or not, and what becomes of its outcome. Pure decisions.

A worker learns two numbers with each message: its sequence in the stream and how often it was
delivered. From a job's record (None on a first delivery) and these, :func:`on_delivery` says
whether to run it, as which attempt, and with how much care. :func:`on_failure` says what a failed
attempt leads to. Neither knows NATS.

Every start is an *attempt*, but only failures count against ``max_retries``, and only crashes
against the crash limit (:mod:`naq.worker.life.deaths`). A deploy costs a job nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from naq.base.backoff import retry_delay
from naq.worker.life.deaths import Care, care, past, poison

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from naq.jobs.job import Failure, JobMessage, JobRecord, JobStatus
    from naq.worker.life.deaths import Delivery

__all__ = ["FIRST", "Bury", "Retry", "Run", "Skip", "on_delivery", "on_failure"]

SHORT_DELAY = 10.0
"""Seconds up to which a retry waits in the consumer (NAK with delay); longer ones wait in the
stream as an ``@at`` schedule. A NAKed message stays in the consumer's pending list, which the
server walks as a whole (research: nats-server ``checkPending`` is O(n))."""


class Run(msgspec.Struct, frozen=True):
    """Run the job: as which attempt, from 1, with how much care, and how often it was put off."""

    attempt: int
    care: Care = Care.NONE
    put_offs: int = 0


FIRST = Run(attempt=1)
"""A job that was delivered for the first time and of which there is no record."""


class Skip(msgspec.Struct, frozen=True):
    """Do not run it: it has come to its end already, or its time is over."""

    status: JobStatus


class Bury(msgspec.Struct, frozen=True):
    """Make it a dead letter, for this reason; ``failure`` is the error it came to, if any."""

    reason: str
    failure: Failure | None = None


class Retry(msgspec.Struct, frozen=True):
    """Try again after ``delay`` seconds; ``scheduled`` if it should wait in the stream."""

    delay: float
    scheduled: bool


def on_delivery(
    record: JobRecord | None, delivery: Delivery, *, crash_limit: int
) -> Run | Skip | Bury:
    """Decide what to do with a delivered job.

    Args:
        record: what ``naq.r.<job>`` holds, None for nothing.
        delivery: this delivery.
        crash_limit: how many workers a job may take down before it is called poison.
    """
    if record is None and delivery.delivered == 1:
        return FIRST
    if record is not None and record.status.final:
        return Skip(record.status)
    before = past(record, delivery)
    reason = poison(before, crash_limit=crash_limit)
    if reason is not None:
        return Bury(reason)
    return Run(before.attempts + 1, care(before, crash_limit=crash_limit), before.suspicion.put_off)


def on_failure(
    job: JobMessage,
    *,
    failures: int,
    raised: Iterable[str],
    retryable: bool = True,
    short_delay: float = SHORT_DELAY,
    uniform: Callable[[float, float], float] | None = None,
) -> Retry | Bury:
    """Decide what a failed attempt leads to.

    Args:
        job: the job, with its retry policy.
        failures: failed attempts including this one.
        raised: names of the exception's class and its bases, as ``module:qualname``.
        retryable: False when another attempt cannot help, whatever the policy says.
        short_delay: seconds up to which it waits in the consumer.
        uniform: source of randomness for the jitter.
    """
    if not retryable:
        return Bury("not retryable")
    names = frozenset(raised)
    if job.ignore_on and _matches(job.ignore_on, names):
        return Bury("ignored error: listed in ignore_on")
    if job.retry_on and not _matches(job.retry_on, names):
        return Bury("error not listed in retry_on")
    if failures > job.max_retries:
        return Bury("attempts spent" if job.max_retries else "failed")
    more = {} if uniform is None else {"uniform": uniform}
    delay = retry_delay(
        failures,
        delay=job.retry_delay,
        strategy=job.retry_strategy,
        jitter=job.retry_jitter,
        **more,
    )
    return Retry(delay, scheduled=delay > short_delay)


def _matches(listed: Iterable[str], raised: frozenset[str]) -> bool:
    """Whether one of ``listed`` (``module:qualname`` or a bare name) names a raised class."""
    bare = {name.rpartition(":")[2] for name in raised}
    return any(name in raised or (":" not in name and name in bare) for name in listed)
