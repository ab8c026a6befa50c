"""What happens to a delivery: run it or not, and what becomes of its outcome. Pure decisions.

A worker learns two numbers with each message: its sequence in the stream and how often it was
delivered. From a job's record (None on a first delivery) and these, :func:`on_delivery` says
whether to run it and how the attempts count:

* The record names the delivery it was written for. Deliveries of the same message between that one
  and this ended without a word: their worker was killed or cut off. Those are *crashes*.
* A retry by schedule is a new message with a new sequence, delivered for the first time.
* Failures, crashes and hand-overs by a draining worker are all *attempts*, but only failures count
  against ``max_retries``, and only crashes against the crash limit. A deploy costs a job nothing.

:func:`on_failure` says what a failed attempt leads to. Neither knows NATS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from naq.base.backoff import retry_delay
from naq.jobs.job import Attempt, JobStatus
from naq.worker.deaths import REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from naq.jobs.job import Failure, JobMessage, JobRecord
    from naq.worker.deaths import Delivery

__all__ = ["Bury", "Retry", "Run", "Skip", "history", "on_delivery", "on_failure"]

SHORT_DELAY = 10.0
"""Seconds up to which a retry waits in the consumer (NAK with delay); longer ones wait in the
stream as an ``@at`` schedule. A NAKed message stays in the consumer's pending list, which the
server walks as a whole (research: nats-server ``checkPending`` is O(n))."""


class Run(msgspec.Struct, frozen=True):
    """Run the job; the counts include this attempt and what went before."""

    attempt: int
    failures: int
    crashes: int


FIRST = Run(attempt=1, failures=0, crashes=0)


class Skip(msgspec.Struct, frozen=True):
    """Do not run it: it has come to its end already, or its time is over."""

    status: JobStatus


class Bury(msgspec.Struct, frozen=True):
    """Make it a dead letter, for this reason; ``failure`` is the error it came to, if any."""

    reason: str
    attempts: int
    crashes: int = 0
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
    if record is None:
        if delivery.delivered == 1:
            return FIRST
        crashes = delivery.delivered - 1
        attempts = failures = 0
        before = crashes
    elif record.status.final:
        return Skip(record.status)
    else:
        known = record.delivered if record.seq == delivery.seq else 0
        before = max(0, delivery.delivered - known - 1)
        crashes = record.crashes + before
        attempts, failures = record.attempts, record.failures
    if crashes >= crash_limit:
        return Bury(
            f"poison: its worker died {crashes} times while running it", attempts + before, crashes
        )
    return Run(attempt=attempts + before + 1, failures=failures, crashes=crashes)


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
        return Bury("not retryable", failures)
    names = frozenset(raised)
    if job.ignore_on and _matches(job.ignore_on, names):
        return Bury("ignored error: listed in ignore_on", failures)
    if job.retry_on and not _matches(job.retry_on, names):
        return Bury("error not listed in retry_on", failures)
    if failures > job.max_retries:
        return Bury("attempts spent" if job.max_retries else "failed", failures)
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


def history(
    record: JobRecord | None, *, attempts: int, crashes: int, failed: Attempt | None = None
) -> tuple[Attempt, ...]:
    """Return the attempts that came to nothing, the oldest first, at most :data:`REMEMBERED`.

    Args:
        record: what was known when the job was taken.
        attempts: how many there were, including this one.
        crashes: how many of these ended without a word.
        failed: this attempt, if it has failed.
    """
    before, known, first = (
        ((), 0, 1) if record is None else (record.history, record.crashes, record.attempts + 1)
    )
    # Those without a word came between what the record tells and this attempt.
    numbers = range(first, min(first + crashes - known, attempts + 1))[-REMEMBERED:]
    lost = tuple(Attempt(number, error="its worker died") for number in numbers)
    return (*before, *lost, *((failed,) if failed else ()))[-REMEMBERED:]
