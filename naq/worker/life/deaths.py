"""What the deaths of its workers say about a job. Pure decisions.

A job whose attempt ended without an outcome was with a worker that died, or was cut off. Three
things can be known of that:

* **A crash**: the process died by its own making (an exit code, a fault, out of memory, stalled),
  and whoever saw it end wrote so into the records of the jobs it was running: a *note*
  (:func:`on_death`). Only crashes are held against a job.
* **Lost**: the process was killed from outside, or nobody saw it end: the server delivered the job
  again, and no record tells of the delivery before (:func:`past`). That happens to any job.
* **Nothing**: the job had not been started, or had returned.

A crash has one cause and, as a rule, several jobs that were running. So every job it may have been
is a *suspect*, and suspects are kept apart (:func:`care`) until one of them dies alone. Only then
is it *poison* (:func:`poison`); its former neighbours have run to their ends by that time.
"""

from __future__ import annotations

import signal
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from naq.jobs.job import UNKNOWN, Attempt, JobRecord, JobStatus, Suspicion

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ALONE_AFTER_LOST",
    "LOST_ALONE_LIMIT",
    "NOTHING",
    "PUT_OFF_LIMIT",
    "REMEMBERED",
    "Care",
    "Death",
    "Delivery",
    "Ended",
    "Note",
    "Noted",
    "Past",
    "Stage",
    "Taken",
    "blamed",
    "care",
    "on_death",
    "past",
    "poison",
    "remember",
    "standing",
]

REMEMBERED = 20
"""Attempts that a record remembers, the latest ones: a job may be tried for ever."""
ALONE_AFTER_LOST = 5
"""A job that was lost so often is a suspect, and runs alone."""
LOST_ALONE_LIMIT = 30
"""A job that was lost so often while nothing ran beside it is poison: it kills its own process."""
PUT_OFF_LIMIT = 10
"""A suspect that was put off so often in a row waits as long as it takes."""

_FAULTS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGABRT,
        signal.SIGSYS,
        signal.SIGTRAP,  # what __builtin_trap raises on ARM
    }
)


class Delivery(msgspec.Struct, frozen=True):
    """One delivery of a job's message: its stream sequence and its number, from 1."""

    seq: int
    delivered: int


class Stage(IntEnum):
    """How far a job had come in a worker, as its map says after its death."""

    WAITING = 1
    """It waited for a slot, or was being decided about; no code of it had run."""
    STARTED = 2
    """Its code ran, or was being imported."""
    RETURNED = 3
    """Its code had returned; perhaps its outcome was not stored yet."""
    CULPRIT = 4
    """It ran, and was seen to be what stopped the worker."""


class Death(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker's process ended.

    Attributes:
        status: its exit code, or minus the number of the signal that ended it; None if nobody
            has seen it.
        out_of_memory: its cgroup counted a kill for lack of memory.
        stalled: it ended itself, because its event loop stood still for too long.
        started: how many jobs it was running, a culprit included.
        culprit: whether one of them was seen to be the cause.
        worker: its name.
        at: when, seconds since the epoch.
    """

    status: int | None
    out_of_memory: bool = False
    stalled: bool = False
    started: int = 0
    culprit: bool = False
    worker: str = ""
    at: float | None = None


class Past(msgspec.Struct, frozen=True):
    """What went before an attempt: how often, and how it ended."""

    attempts: int = 0
    failures: int = 0
    crashes: int = 0
    lost: int = 0
    suspicion: Suspicion = Suspicion()
    history: tuple[Attempt, ...] = ()


NOTHING = Past()


class Care(IntEnum):
    """With how much care a job is to be run."""

    NONE = 0
    ONE_AT_A_TIME = 1
    """No other suspect beside it."""
    ALONE = 2
    """Nothing beside it."""


class Ended(msgspec.Struct, frozen=True):
    """The job has ended: acknowledge the delivery."""


class Noted(msgspec.Struct, frozen=True):
    """The record tells of this delivery already: hand the job back."""


class Taken(msgspec.Struct, frozen=True):
    """The server has given the job to somebody else since: leave it alone."""


class Note(msgspec.Struct, frozen=True):
    """Store this record in place of the one that was read, then hand the job back."""

    record: JobRecord


def past(record: JobRecord | None, delivery: Delivery) -> Past:
    """Return what went before this delivery.

    Whoever had a delivery and could say so wrote a record that names it. Deliveries of the same
    message between that one and this were lost. A retry by schedule is a new message.

    Args:
        record: what ``naq.r.<job>`` holds, None for nothing.
        delivery: the delivery in hand.
    """
    if record is None:
        if delivery.delivered == 1:
            return NOTHING
        known, before = 0, NOTHING
    else:
        known = record.delivered if record.seq == delivery.seq else 0
        before = Past(
            record.attempts,
            record.failures,
            record.crashes,
            record.lost,
            record.suspicion or NOTHING.suspicion,
            record.history,
        )
    gap = delivery.delivered - known - 1
    return before if gap <= 0 else _with_lost(before, gap)


def _with_lost(before: Past, count: int) -> Past:
    """Add attempts nobody has written down."""
    attempts, lost = before.attempts + count, before.lost + count
    numbers = range(before.attempts + 1, attempts + 1)[-REMEMBERED:]
    error = "it was lost: its worker was killed or cut off"
    # A job that had been lost often enough ran alone each time.
    alone = max(0, lost - max(before.lost, ALONE_AFTER_LOST))
    suspicion = msgspec.structs.replace(
        before.suspicion, lost_alone=before.suspicion.lost_alone + alone, put_off=0
    )
    return msgspec.structs.replace(
        before,
        attempts=attempts,
        lost=lost,
        suspicion=suspicion,
        history=remember(
            before.history, [Attempt(number, error=error, death="lost") for number in numbers]
        ),
    )


def remember(history: Iterable[Attempt], more: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """Return the latest of both, the oldest first."""
    return (*history, *more)[-REMEMBERED:]


def standing(record: JobRecord | None, delivery: Delivery) -> Ended | Noted | Taken | None:
    """Say what a record means for who holds this delivery; None if it tells of earlier ones."""
    if record is None:
        return None
    if record.status.final:
        return Ended()
    if record.seq != delivery.seq or record.delivered < delivery.delivered:
        return None
    return Noted() if record.delivered == delivery.delivered else Taken()


def care(before: Past, *, crash_limit: int) -> Care:
    """Say how a job is to be run that has this past."""
    if before.lost >= ALONE_AFTER_LOST:
        return Care.ALONE
    if not before.crashes:
        return Care.NONE
    return Care.ALONE if before.crashes >= crash_limit - 1 else Care.ONE_AT_A_TIME


def poison(before: Past, *, crash_limit: int) -> str | None:
    """Return why a job with this past is not to be run again; None if it is."""
    suspicion = before.suspicion
    if suspicion.culprit >= crash_limit:
        return f"poison: it stopped its worker {_times(suspicion.culprit)}"
    if before.crashes >= crash_limit and suspicion.alone:
        return (
            f"poison: its worker died {_times(before.crashes)} while running it, "
            "at last with nothing beside it"
        )
    if suspicion.lost_alone >= LOST_ALONE_LIMIT:
        return (
            f"poison: its worker was killed {_times(suspicion.lost_alone)} "
            "while running nothing else"
        )
    return None


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def blamed(death: Death) -> bool:
    """Say whether a process died by its own making, so that what it ran may be the cause."""
    if death.stalled:
        return True
    if death.status is None:
        return False
    if death.status >= 0:
        return True
    number = -death.status
    return number in _FAULTS or (number == signal.SIGKILL and death.out_of_memory)


def on_death(
    record: JobRecord | None,
    delivery: Delivery,
    stage: Stage,
    death: Death,
    *,
    job_id: str,
    queue: str,
) -> Ended | Noted | Taken | Note:
    """Decide what becomes of a job that a worker held when its process ended.

    What is returned may be decided and done again, by whoever comes second.

    Args:
        record: what ``naq.r.<job>`` holds, None for nothing.
        delivery: the one the worker held.
        stage: how far the job had come.
        death: how the process ended.
        job_id: the job.
        queue: its queue.
    """
    known = standing(record, delivery)
    if known is not None:
        return known
    before = past(record, delivery)
    if stage is not Stage.WAITING:
        before = _after(before, stage, death)
    return Note(
        JobRecord(
            id=job_id,
            queue=queue,
            function=record.function if record else UNKNOWN,
            status=JobStatus.PENDING,
            error=record.error if record else None,
            enqueued_at=record.enqueued_at if record else 0.0,
            attempts=before.attempts,
            failures=before.failures,
            crashes=before.crashes,
            lost=before.lost,
            worker=death.worker,
            seq=delivery.seq,
            delivered=delivery.delivered,
            history=before.history,
            suspicion=before.suspicion if before.suspicion != NOTHING.suspicion else None,
        )
    )


def _after(before: Past, stage: Stage, death: Death) -> Past:
    """Add the attempt that this death has ended."""
    number = before.attempts + 1
    running = stage in {Stage.STARTED, Stage.CULPRIT}
    beside = max(0, death.started - 1) if running else death.started
    crash = running and blamed(death) and (stage is Stage.CULPRIT or not death.culprit)
    lost = running and not crash
    suspicion = before.suspicion
    if crash:
        culprit = suspicion.culprit + (stage is Stage.CULPRIT)
        suspicion = msgspec.structs.replace(suspicion, alone=not beside, culprit=culprit)
    elif lost and not beside:
        suspicion = msgspec.structs.replace(suspicion, lost_alone=suspicion.lost_alone + 1)
    attempt = Attempt(
        number,
        death.worker,
        finished_at=death.at,
        error=_said(stage, death, beside),
        death="crash" if crash else "lost" if lost else "",
        exit=death.status,
        beside=beside,
    )
    return Past(
        number,
        before.failures,
        before.crashes + crash,
        before.lost + lost,
        msgspec.structs.replace(suspicion, put_off=0),
        remember(before.history, [attempt]),
    )


def _said(stage: Stage, death: Death, beside: int) -> str:
    """Describe the end of an attempt: how its worker ended, and with what beside it."""
    if stage is Stage.RETURNED:
        return f"its worker ended ({_status(death)}) after it had returned, its outcome not stored"
    verb = "died" if blamed(death) or death.status is None else "was killed"
    company = (
        f"beside {beside} other job{'s' if beside > 1 else ''}" if beside else "nothing beside it"
    )
    if stage is Stage.CULPRIT:
        company += "; this job was the cause"
    elif death.culprit:
        company += "; another job was the cause"
    return f"its worker {verb} ({_status(death)}), {company}"


def _status(death: Death) -> str:
    if death.stalled:
        return "its event loop stood still for too long"
    if death.status is None:
        return "nobody saw how"
    if death.status >= 0:
        return f"exit code {death.status}"
    try:
        name = signal.Signals(-death.status).name
    except ValueError:
        name = f"signal {-death.status}"
    return f"{name}, out of memory" if death.out_of_memory else name
