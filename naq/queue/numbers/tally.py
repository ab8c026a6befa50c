"""What is counted of jobs, and what the counts say. Pure: no I/O.

A worker counts into a :class:`Tally`, which must cost next to nothing per job;
:mod:`naq.queue.numbers.counters` adds it up on the server, and reads it back as :class:`Counts`.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "BOUNDS_MS",
    "DONE",
    "FAILED",
    "METRICS",
    "RETRIED",
    "WAIT_BOUNDS_MS",
    "Counts",
    "Minute",
    "Tally",
    "Totals",
    "counts_of",
    "quantile",
]

BOUNDS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30_000)
"""Upper bounds of the buckets of run times, in milliseconds; one more bucket is for the rest."""
WAIT_BOUNDS_MS = (5, 25, 100, 500, 1000, 5000, 30_000, 120_000, 600_000, 3_600_000)
"""The same of how long jobs waited: minutes and hours too, since backlogs last longer than jobs."""

_BUCKETS = (*(f"le_{bound}" for bound in BOUNDS_MS), "le_inf")
_WAIT_BUCKETS = (*(f"wait_le_{bound}" for bound in WAIT_BOUNDS_MS), "wait_le_inf")
METRICS = (
    *("done", "failed", "retried", "dead", "waited", "wait_ms", "run_ms"),
    *_BUCKETS,
    *_WAIT_BUCKETS,
)
"""Names of the counters, as in subjects. A bucket counts what is in no smaller one."""

DONE, FAILED, RETRIED, _DEAD, _WAITED, _WAIT, _RUN = range(7)
_FIRST_BUCKET = 7
_FIRST_WAIT = _FIRST_BUCKET + len(_BUCKETS)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to jobs.

    Attributes:
        done: jobs that ended with a value.
        failed: jobs that ended without one, for good.
        retried: attempts that failed and were followed, or will be, by another.
        dead: dead letters made.
        waited: jobs whose waiting is in ``wait_ms``: each counts once, at its first attempt.
        wait_ms: sum of milliseconds between being due and being started.
        run_ms: sum of milliseconds functions ran.
        buckets: attempts by run time; see :data:`BOUNDS_MS`.
        wait_buckets: jobs by how long they waited; see :data:`WAIT_BOUNDS_MS`.
    """

    done: int = 0
    failed: int = 0
    retried: int = 0
    dead: int = 0
    waited: int = 0
    wait_ms: int = 0
    run_ms: int = 0
    buckets: tuple[int, ...] = (0,) * len(_BUCKETS)
    wait_buckets: tuple[int, ...] = (0,) * len(_WAIT_BUCKETS)

    @property
    def runs(self) -> int:
        """Attempts that ran to an end."""
        return sum(self.buckets)

    @property
    def mean_ms(self) -> float | None:
        """Mean run time in milliseconds; None if nothing ran."""
        return self.run_ms / self.runs if self.runs else None

    @property
    def mean_wait_ms(self) -> float | None:
        """Mean of the time jobs waited, in milliseconds; None if none was started."""
        return self.wait_ms / self.waited if self.waited else None

    @property
    def p50_ms(self) -> float | None:
        """Estimated median of the run time in milliseconds; None if nothing ran."""
        return quantile(self.buckets, 0.5)

    @property
    def p95_ms(self) -> float | None:
        """Estimated run time in milliseconds that 95 of 100 attempts stay within."""
        return quantile(self.buckets, 0.95)


class Minute(Counts, frozen=True, kw_only=True):
    """What happened in one minute; ``minute`` is whole minutes since the epoch."""

    minute: int

    @property
    def begins_at(self) -> int:
        """Seconds since the epoch."""
        return self.minute * 60


class Totals(Counts, frozen=True, kw_only=True):
    """What has happened in ``queue`` since it was created."""

    queue: str


def counts_of(found: Mapping[str, int]) -> dict[str, Any]:
    """Return the fields of a :class:`Counts` from values by name; what is missing is zero."""
    fields: dict[str, Any] = {name: found.get(name, 0) for name in METRICS[:_FIRST_BUCKET]}
    fields["buckets"] = tuple(found.get(name, 0) for name in _BUCKETS)
    fields["wait_buckets"] = tuple(found.get(name, 0) for name in _WAIT_BUCKETS)
    return fields


def quantile(buckets: Sequence[int], q: float) -> float | None:
    """Estimate a quantile in milliseconds from counts per bucket, None if they are empty.

    As Prometheus does: evenly spread within a bucket, and the last bound for what is above it.
    """
    rank = q * sum(buckets)
    if not rank:
        return None
    below, lower = 0, 0.0
    for count, upper in zip(buckets, BOUNDS_MS, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below += count
        lower = float(upper)
    return float(BOUNDS_MS[-1])


class Tally:
    """What one worker has counted since it was started, per queue, in the order of METRICS."""

    def __init__(self) -> None:
        self.queues: dict[str, list[float]] = {}
        self.changed = False
        """Whether something was counted since the last :meth:`take`."""
        self.on_change: Callable[[], None] = _ignore
        """Called when it becomes true."""
        self._taken: dict[str, list[int]] = {}

    def ran(self, queue: str, how: int, took: float, waited: float | None) -> None:
        """Count an attempt; every job passes here.

        Args:
            queue: where the job was.
            how: it ended: ``DONE``, ``FAILED`` or ``RETRIED``.
            took: seconds it ran.
            waited: seconds from being due to being started; None if that was counted already.
        """
        counts = self.queues.get(queue) or self._begin(queue)
        took *= 1000
        counts[how] += 1
        counts[_RUN] += took
        counts[_FIRST_BUCKET + bisect_left(BOUNDS_MS, took)] += 1
        if waited is not None:
            counts[_WAITED] += 1
            waited *= 1000
            counts[_FIRST_WAIT + bisect_left(WAIT_BOUNDS_MS, waited)] += 1
            if waited > 0:  # clocks differ
                counts[_WAIT] += waited
        if how == FAILED:
            counts[_DEAD] += 1
        if not self.changed:
            self.changed = True
            self.on_change()

    def buried(self, queue: str) -> None:
        """Count a job that became a dead letter without having run to an end."""
        counts = self.queues.get(queue) or self._begin(queue)
        counts[FAILED] += 1
        counts[_DEAD] += 1
        if not self.changed:
            self.changed = True
            self.on_change()

    def _begin(self, queue: str) -> list[float]:
        self.queues[queue] = counts = [0.0] * len(METRICS)
        return counts

    def take(self) -> Iterator[tuple[str, str, int]]:
        """Yield queue, name and value of what was added since the last call.

        Fractions of milliseconds are left for the next time.
        """
        self.changed = False
        for queue, counts in self.queues.items():
            taken = self._taken.setdefault(queue, [0] * len(METRICS))
            for index, value in enumerate(counts):
                if added := int(value) - taken[index]:
                    taken[index] += added
                    yield queue, METRICS[index], added

    def counts(self) -> list[Totals]:
        """Return what was counted here."""
        return [
            Totals(queue=queue, **counts_of(dict(zip(METRICS, map(int, values), strict=True))))
            for queue, values in self.queues.items()
        ]


def _ignore() -> None:
    """Do nothing: no one has asked to be told."""
