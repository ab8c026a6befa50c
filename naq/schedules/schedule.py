"""A schedule: what is kept of it (:class:`ScheduleRecord`), what callers hold (:class:`Schedule`).

``ScheduleRecord`` is the body of every message under ``naq.c``: what is to run, when, and how far
it has come. Every change of it is one compare-and-set.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from naq.base.public import public
from naq.exceptions import ConfigurationError
from naq.jobs.job import JobMessage, utc
from naq.jobs.sync import synced
from naq.schedules.timing import Timing

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.jobs.job import Job

__all__ = [
    "LIVE",
    "Schedule",
    "ScheduleBackend",
    "ScheduleRecord",
    "ScheduleStatus",
    "check_schedule_id",
    "run_id",
    "run_of",
]

_ID = re.compile(r"[!-)+,\-/-=?A-~]{1,96}")
_RUN = re.compile(r"(.+)-\d{8}T\d{6}(_\d{3})?Z")


@public
class ScheduleStatus(StrEnum):
    """The status of a schedule."""

    ACTIVE = "active"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


LIVE = frozenset({ScheduleStatus.ACTIVE, ScheduleStatus.PAUSED})
"""The states of a schedule that may still run."""


class ScheduleRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A schedule as it is stored. Times are seconds since the epoch, durations seconds.

    ``job`` is what each run is made of; ``expires_in`` counts from a run's due time. ``cursor``:
    everything due up to then is settled. ``next_at``: the next run is then, whatever the timing
    says. ``next_run``: when it is due next, None if it is not active; it follows from the rest
    (:meth:`timed`) and is kept so that a list of thousands needs no calendar. ``pending``: runs
    that are decided and may not be queued yet. ``revision`` grows when the timing changes, so that
    an alarm set before is known for what it is.
    """

    id: str
    job: JobMessage
    cron: str | None = None
    interval: float | None = None
    timezone: str = "UTC"
    start: float | None = None
    end: float | None = None
    jitter: float = 0.0
    repeat: int | None = None
    misfire: str = "skip"
    misfire_grace: float = 10.0
    misfire_cap: int = 100
    overlap: str = "allow"
    expires_in: float | None = None
    source: str = ""
    created_at: float = 0.0
    status: ScheduleStatus = ScheduleStatus.ACTIVE
    error: str = ""
    revision: int = 1
    anchor: float = 0.0
    cursor: float = 0.0
    next_at: float | None = None
    next_run: float | None = None
    runs: int = 0
    missed: int = 0
    last_run: float | None = None
    last_job: str = ""
    pending: list[float] = []

    @property
    def timing(self) -> Timing:
        """When it is due, apart from ``next_at``."""
        return Timing(
            cron=self.cron,
            interval=self.interval,
            timezone=self.timezone,
            anchor=self.anchor,
            start=self.start,
            end=self.end,
        )

    @property
    def plain(self) -> bool:
        """Whether the server alone can do it: no policy, and a pattern it understands."""
        return (
            self.repeat is None
            and self.end is None
            and not self.jitter
            and self.misfire == "skip"
            and self.overlap == "allow"
            and self.timing.pattern is not None
        )

    def timed(self) -> ScheduleRecord:
        """Return it with ``next_run`` as it follows from the rest."""
        if self.status is not ScheduleStatus.ACTIVE:
            due = None
        else:
            due = self.next_at if self.next_at is not None else self.timing.next(self.cursor)
        return self if due == self.next_run else msgspec.structs.replace(self, next_run=due)

    def definition(self) -> tuple[object, ...]:
        """Return what makes it this schedule, without how far it has come."""
        return (
            msgspec.structs.replace(self.job, enqueued_at=0.0),
            self.cron,
            self.interval,
            self.timezone,
            self.start,
            self.end,
            self.jitter,
            self.repeat,
            self.misfire,
            self.misfire_grace,
            self.misfire_cap,
            self.overlap,
            self.expires_in,
        )


def check_schedule_id(schedule_id: object) -> str:
    """Return ``schedule_id`` if it can be one.

    Raises:
        ConfigurationError: it is not 1 to 96 printable ASCII characters without ``.``, ``*``,
            ``>``, ``@`` or white space.
    """
    if isinstance(schedule_id, str) and _ID.fullmatch(schedule_id):
        return schedule_id
    raise ConfigurationError(
        f"schedule id {schedule_id!r} is not allowed: use 1 to 96 printable ASCII characters "
        "other than '.', '*', '>', '@' and spaces"
    )


def run_id(schedule_id: str, due: float) -> str:
    """Return the id of the run that is due then: ``sums-20261124T080000Z``."""
    moment = datetime.fromtimestamp(round(due, 3), UTC)
    thousandths = f"_{moment.microsecond // 1000:03}" if moment.microsecond else ""
    return f"{schedule_id}-{moment:%Y%m%dT%H%M%S}{thousandths}Z"


def run_of(job_id: str) -> str | None:
    """Return the schedule a job's id says it is a run of, None if it does not look like one."""
    found = _RUN.fullmatch(job_id)
    return found[1] if found else None


class ScheduleBackend(Protocol):
    """What a :class:`Schedule` asks."""

    nats_url: str | None
    """The url the connection was opened with; None: it was found."""

    def pickled(self, schedule: Schedule) -> tuple[Callable[..., Schedule], tuple[Any, ...]]:
        """Return what makes the handle again in another process, as ``__reduce__`` does."""

    async def control(self, schedule_id: str, action: str, **changes: Any) -> ScheduleRecord:
        """Do something to it and return what it is then."""

    async def run_now(self, schedule_id: str) -> Job:
        """Queue a run."""


def _url(schedule: Schedule) -> str | None:
    return schedule._backend.nats_url  # noqa: SLF001 - its own


@public
class Schedule:
    """A recurring job, as it was when the server was last asked. Every method asks the server.

    Attributes:
        record: everything known about it.
    """

    __slots__ = ("_backend", "record")

    def __init__(self, record: ScheduleRecord, *, backend: ScheduleBackend) -> None:
        self.record = record
        self._backend = backend

    def __reduce__(self) -> tuple[Callable[..., Schedule], tuple[Any, ...]]:
        return self._backend.pickled(self)

    def __repr__(self) -> str:
        when = self.record.cron or f"every {self.record.interval:g} s"
        return f"<Schedule {self.id} {self.function_name} {when} {self.status}>"

    @property
    def id(self) -> str:
        """Its id, unique on the server."""
        return self.record.id

    @property
    def queue(self) -> str:
        """Name of the queue its runs go to."""
        return self.record.job.queue

    @property
    def function_name(self) -> str:
        """The function as ``module:qualname``."""
        return self.record.job.function

    @property
    def status(self) -> ScheduleStatus:
        """Active, paused, finished, cancelled, or failed."""
        return self.record.status

    @property
    def next_run(self) -> datetime | None:
        """When it is due next, in UTC; None if it is not active."""
        return utc(self.record.next_run)

    @property
    def last_run(self) -> datetime | None:
        """When its last run was due, in UTC; None before the first."""
        return utc(self.record.last_run)

    @property
    def runs(self) -> int:
        """How many runs have been queued."""
        return self.record.runs

    async def refresh(self) -> Schedule:
        """Ask the server for its current state; return the schedule itself.

        Raises:
            JobNotFoundError: there is no such schedule, or no longer.
            NaqConnectionError: the server cannot be reached.
        """
        return await self._do("refresh")

    async def pause(self) -> Schedule:
        """Queue no more runs until :meth:`resume`. Runs that are already queued are not affected.

        Raises:
            ConfigurationError: it has ended.
            JobNotFoundError: there is no such schedule.
        """
        return await self._do("pause")

    async def resume(self) -> Schedule:
        """End a pause; runs due meanwhile are not made up for. Raises like :meth:`pause`."""
        return await self._do("resume")

    async def cancel(self) -> Schedule:
        """End it. It stays listed for as long as results are kept. Raises like :meth:`pause`."""
        return await self._do("cancel")

    async def reschedule(self, **changes: Any) -> Schedule:
        """Change when it is due: ``cron``, ``interval``, ``repeat``, ``timezone``, ``next_run``.

        ``next_run``, a datetime with a time zone, moves only the next run; an interval then counts
        from there.

        Raises:
            ConfigurationError: a value cannot be used, or it has ended.
            JobNotFoundError: there is no such schedule.
        """
        return await self._do("reschedule", **changes)

    async def run_now(self) -> Job:
        """Queue an extra run now, which does not count towards ``repeat``.

        Raises:
            JobNotFoundError: there is no such schedule.
        """
        return await self._backend.run_now(self.id)

    async def _do(self, action: str, **changes: Any) -> Schedule:
        self.record = await self._backend.control(self.id, action, **changes)
        return self

    refresh_sync = synced(refresh, url=_url)
    pause_sync = synced(pause, url=_url)
    resume_sync = synced(resume, url=_url)
    cancel_sync = synced(cancel, url=_url)
    reschedule_sync = synced(reschedule, url=_url)
    run_now_sync = synced(run_now, url=_url)
