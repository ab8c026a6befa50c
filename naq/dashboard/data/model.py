"""What the pages and the JSON API show: plain values, the same for both.

Times are seconds since the epoch, durations seconds. Nothing in here has ever been unpickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from naq.jobs.job import Attempt  # noqa: TC001
from naq.queue.numbers.stats import QueueStats  # noqa: TC001 - msgspec reads the annotation

if TYPE_CHECKING:
    from naq.queue.numbers.counters import Minute

__all__ = [
    "STATES",
    "JobDetail",
    "JobRow",
    "JobsPage",
    "LetterRow",
    "LettersPage",
    "MinuteRow",
    "Overview",
    "ServiceRow",
    "State",
]

State = Literal[
    "pending",
    "running",
    "scheduled",
    "retrying",
    "completed",
    "failed",
    "cancelled",
    "expired",
]
"""The states by which jobs can be listed."""
STATES: tuple[str, ...] = get_args(State)


class Overview(msgspec.Struct, kw_only=True):
    """All queues, and the numbers of everything else."""

    queues: list[QueueStats]
    workers: int
    schedulers: int
    schedules: int
    server: str
    """Address and version of the server."""


class MinuteRow(msgspec.Struct, kw_only=True):
    """What happened in one minute; ``p50`` and ``p95`` are of the run times, in seconds."""

    at: float
    done: int
    failed: int
    retried: int
    dead: int
    p50: float | None = None
    p95: float | None = None

    @classmethod
    def of(cls, minute: Minute) -> MinuteRow:
        """Return what is shown of a minute's counters."""
        p50, p95 = minute.p50_ms, minute.p95_ms
        return cls(
            at=minute.begins_at,
            done=minute.done,
            failed=minute.failed,
            retried=minute.retried,
            dead=minute.dead,
            p50=None if p50 is None else p50 / 1000,
            p95=None if p95 is None else p95 / 1000,
        )


class JobRow(msgspec.Struct, kw_only=True):
    """A job in a list."""

    id: str
    queue: str
    function: str
    status: str
    at: float | None = None
    """When it reached this state, or is due."""
    attempts: int = 0
    worker: str | None = None
    took: float | None = None
    error: str | None = None


class JobsPage(msgspec.Struct, kw_only=True):
    """Some jobs. ``next`` leads to more, if any; ``scanned`` is how many were searched."""

    jobs: list[JobRow]
    next: int | None = None
    scanned: int = 0


class JobDetail(msgspec.Struct, kw_only=True):
    """Everything known about one job.

    ``arguments`` is text for people: JSON as it is, a pickle as far as it can be described without
    executing it. ``options`` are those it was enqueued with, except for defaults.
    """

    id: str
    queue: str
    function: str
    status: str
    attempts: int = 0
    worker: str | None = None
    enqueued_at: float | None = None
    due_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    retry_at: float | None = None
    arguments: str | None = None
    encoding: str | None = None
    options: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    value: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    reason: str | None = None
    """Why it is a dead letter; None if it is not."""
    schedule: str | None = None
    """The schedule that made it."""
    history: tuple[Attempt, ...] = ()
    """The latest attempts that failed or took their worker down, oldest first."""


class LetterRow(msgspec.Struct, kw_only=True):
    """A dead letter in a list."""

    id: str
    queue: str
    function: str
    reason: str
    failed_at: float
    attempts: int = 0
    worker: str | None = None
    error: str | None = None


class LettersPage(msgspec.Struct, kw_only=True):
    """Some dead letters, the newest first. ``next`` leads to more."""

    letters: list[LetterRow]
    total: int
    next: int | None = None


class ServiceRow(msgspec.Struct, kw_only=True):
    """One replica of a service of the supervisor."""

    name: str
    service: str
    replica: int
    state: str
    want: str
    ready: bool
    pid: int | None = None
    restarts: int = 0
    uptime: float | None = None
    rss: int | None = None
    cpu: float | None = None
    detail: str | None = None
    last_exit: str | None = None
    kind: str = ""
