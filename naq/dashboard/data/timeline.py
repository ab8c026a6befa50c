"""What has happened to a job, and what will happen next, in the order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from naq.dashboard.data.model import JobDetail
    from naq.jobs.job import Attempt

__all__ = ["Step", "timeline"]

SAME = 0.001
"""Seconds that two records of one moment may differ by."""


class Step(msgspec.Struct, kw_only=True, frozen=True):
    """One line of a job's history.

    ``kind`` is ``enqueued``, ``due``, ``started``, ``attempt`` (one that failed), ``ended`` or
    ``next``; ``took`` and ``waited`` are seconds, where they are known.
    """

    kind: str
    text: str
    at: float | None = None
    took: float | None = None
    waited: float | None = None
    error: str | None = None
    worker: str | None = None


def timeline(job: JobDetail) -> list[Step]:
    """Return the steps of a job's history, oldest first, and its next attempt last.

    A step whose time is unknown (a worker that was killed told none) keeps its place.
    """
    steps: list[Step] = []
    if job.enqueued_at:
        steps.append(Step(kind="enqueued", text="Enqueued", at=job.enqueued_at))
    if job.due_at is not None and not job.history:  # of a retry, it is the time of the next try
        steps.append(Step(kind="due", text="Due", at=job.due_at))
    steps += [_failed(past) for past in job.history if not _same(past.finished_at, job.finished_at)]
    steps += _last(job)
    steps = _in_order(steps)
    if job.status == "retrying" and job.retry_at is not None:
        steps.append(Step(kind="next", text="Next try", at=job.retry_at))
    return steps


def _last(job: JobDetail) -> list[Step]:
    """Return the start and the end of the attempt that runs, or was the last."""
    steps: list[Step] = []
    began, ended = job.started_at, job.finished_at
    if began is not None:
        since = job.due_at or job.enqueued_at
        first = since is not None and since <= began and not job.history
        waited = began - since if first and since is not None else None
        steps.append(Step(kind="started", text="Started", at=began, waited=waited))
    if ended is not None:
        took = ended - began if began is not None and ended >= began else None
        steps.append(Step(kind="ended", text="Ended", at=ended, took=took))
    return steps


def _failed(past: Attempt) -> Step:
    began, ended = past.started_at, past.finished_at
    took = ended - began if began is not None and ended is not None and ended >= began else None
    how = _DEATHS.get(past.death) or ("" if ended is None else " failed")
    text = f"Attempt {past.attempt}{how}"
    at = began if ended is None else ended
    return Step(
        kind="attempt", text=text, at=at, took=took, error=past.error, worker=past.worker or None
    )


_DEATHS = {"crash": " crashed", "lost": " was lost"}


def _same(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) <= SAME


def _in_order(steps: list[Step]) -> list[Step]:
    """Sort steps by time; one without a time stays behind the one before it."""
    keyed: list[tuple[float, Step]] = []
    before = float("-inf")
    for step in steps:
        before = before if step.at is None else step.at
        keyed.append((before, step))
    return [step for _, step in sorted(keyed, key=lambda pair: pair[0])]
