"""A job: what travels (:class:`JobMessage`), what is kept (:class:`JobRecord`), what callers hold.

``JobMessage`` is the body of every message under ``naq.j`` and ``naq.s``; ``JobRecord`` of every
message under ``naq.r``; both are MessagePack maps (docs/design/wire-format.md). The serialized
arguments and the value are opaque bytes inside them, so anyone may list, show and route jobs
without ever unpickling. Times are seconds since the epoch, durations are seconds.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from naq.base.public import public
from naq.jobs.sync import synced

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "UNKNOWN",
    "CurrentJob",
    "DeadLetter",
    "Failure",
    "Job",
    "JobBackend",
    "JobInfo",
    "JobMessage",
    "JobRecord",
    "JobStatus",
    "current_job",
    "running",
    "utc",
]

TIMEOUT_TYPE = "naq.exceptions.JobTimeoutError"
UNKNOWN = "?"
"""Stands for a function or queue that is not known, or cannot be read here."""


@public
class JobStatus(StrEnum):
    """The status of a job; the first four may still change."""

    PENDING = "pending"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self in _FINAL


_FINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED})


class JobMessage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What is queued: the call, and the policy it was enqueued with.

    ``encoding`` says what ``payload`` holds: ``pickle`` or ``json`` the arguments of the function
    named by ``function`` (``module:qualname``), ``cloudpickle`` the function itself with them.

    ``expires_in``: seconds from when the server has it runnable, if that is how ``expires`` was
    given. ``expires_at`` is the same by the producer's clock, or the moment that was given.
    """

    id: str
    queue: str
    function: str
    payload: bytes
    encoding: str
    enqueued_at: float
    due_at: float | None = None
    max_retries: int = 0
    retry_delay: float | list[float] = 0.0
    retry_strategy: str = "constant"
    retry_jitter: float = 0.0
    retry_on: list[str] = []
    ignore_on: list[str] = []
    timeout: float | None = None
    expires_at: float | None = None
    expires_in: float | None = None
    result_ttl: float | None = None
    meta: dict[str, Any] = {}

    def expiry(self, stored_at: float) -> float | None:
        """Return when it expires, by the server's clock, if it is not started; None: never.

        Args:
            stored_at: when the server made it runnable, which is what ``expires`` counts from. The
                producer's clock does not matter, unless a moment was given.
        """
        return self.expires_at if self.expires_in is None else stored_at + self.expires_in

    @classmethod
    def unknown(cls, id: str, queue: str = UNKNOWN) -> JobMessage:  # noqa: A002 - as the field
        """Return what stands for a job of which only the id, and perhaps the queue, is known."""
        return cls(id=id, queue=queue, function=UNKNOWN, payload=b"", encoding="", enqueued_at=0.0)


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt failed: the exception's qualified type, its text and its traceback."""

    type: str
    message: str
    traceback: str = ""


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attempt that did not succeed: which one, where, when (epoch seconds), and why not.

    ``death`` is empty for one that failed with an error. It is ``crash`` where the worker's process
    died by its own making, and ``lost`` where it was killed from outside or its lease lapsed. What
    is known of that death: ``exit`` is the exit code, or minus the signal, and ``beside`` how many
    other jobs the process was running.
    """

    attempt: int
    worker: str = ""
    started_at: float | None = None
    finished_at: float | None = None
    error: str = ""
    """The exception's class and text, cut; the last one is kept whole, with its traceback."""
    death: str = ""
    exit: int | None = None
    beside: int | None = None


class Suspicion(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a job whose workers died, beyond how often.

    Attributes:
        alone: whether it was the only job running at its last crash.
        culprit: how often it was seen to be the one that ended its worker.
        lost_alone: how often it was lost while nothing ran beside it.
        put_off: how often in a row it was handed back because it could not run alone.
    """

    alone: bool = False
    culprit: int = 0
    lost_alone: int = 0
    put_off: int = 0


class JobRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What is known of a job: its end, or how its last attempt went when there will be another.

    ``attempts`` counts every time the job was started, ``failures`` those that ended in an
    exception, ``crashes`` those whose worker died by its own making, which somebody has seen and
    written down, and ``lost`` those that ended without a word or by a kill from outside. ``seq``
    and ``delivered`` say which delivery this record is about: one that came after it and is not
    written down was lost. ``history`` holds the latest attempts that came to nothing, oldest first.
    """

    id: str
    queue: str
    function: str
    status: JobStatus
    value: bytes = b""
    encoding: str = ""
    error: Failure | None = None
    enqueued_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    retry_at: float | None = None
    attempts: int = 0
    failures: int = 0
    crashes: int = 0
    worker: str = ""
    seq: int = 0
    delivered: int = 0
    history: tuple[Attempt, ...] = ()
    lost: int = 0
    suspicion: Suspicion | None = None


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A job that will not be tried again, kept with its payload and the reason.

    ``body`` is the message as it was queued, byte for byte, also when it could not be decoded.
    """

    id: str
    queue: str
    reason: str
    failed_at: float
    body: bytes
    function: str = ""
    headers: dict[str, str] = {}
    error: Failure | None = None
    attempts: int = 0
    worker: str = ""
    history: tuple[Attempt, ...] = ()


@public
class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What ``naq job`` shows: everything known about a job right now."""

    id: str
    queue: str
    function: str
    status: JobStatus
    attempts: int = 0
    worker: str | None = None
    enqueued_at: datetime | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: Failure | None = None
    record: JobRecord | None = None


def utc(seconds: float | None) -> datetime | None:
    """Epoch seconds as an aware datetime in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


class JobBackend(Protocol):
    """What a :class:`Job` asks; :class:`naq.jobs.inspect.backend.Backend` implements it."""

    nats_url: str | None
    """The url the connection was opened with; None: it was found."""

    def pickled(self, job: Job) -> tuple[Callable[..., Job], tuple[Any, ...]]:
        """Return what makes the handle again in another process, as ``__reduce__`` does."""

    async def result(self, job: Job, timeout: float | None) -> Any:
        """Wait for the job's end; return its value or raise its error."""

    async def info(self, job: Job) -> JobInfo:
        """Return what is known of the job."""

    async def cancel(self, job: Job) -> bool:
        """Cancel the job; whether it will have no result."""


def _url(job: Job) -> str | None:
    return job.backend.nats_url


@public
class Job(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A job that was enqueued. It is cheap to keep; every method asks the server.

    It can be pickled: in another process its methods ask over a connection there.

    Attributes:
        message: what was queued, with all options.
        backend: what its methods ask.
        duplicate: True if the id that was chosen is known (a job with it is queued, delayed or
            running, or its end is still recorded), so that this call queued nothing.
    """

    message: JobMessage
    backend: JobBackend
    duplicate: bool = False

    def __reduce__(self) -> tuple[Callable[..., Job], tuple[Any, ...]]:
        return self.backend.pickled(self)

    def __repr__(self) -> str:
        known = ", nothing queued: its id is known" if self.duplicate else ""
        return f"<Job {self.id} {self.function_name} on {self.queue!r}{known}>"

    @property
    def id(self) -> str:
        """The job's id, unique on the server."""
        return self.message.id

    @property
    def queue(self) -> str:
        """Name of its queue."""
        return self.message.queue

    @property
    def function_name(self) -> str:
        """The function as ``module:qualname``."""
        return self.message.function

    @property
    def enqueued_at(self) -> datetime:
        """When it was enqueued, in UTC, by the producer's clock."""
        return datetime.fromtimestamp(self.message.enqueued_at, UTC)

    @property
    def due_at(self) -> datetime | None:
        """When a delayed job becomes runnable, in UTC; None for a job without a delay."""
        return utc(self.message.due_at)

    @property
    def meta(self) -> dict[str, Any]:
        """What the producer attached with ``meta=``."""
        return self.message.meta

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for the job to end and return its value; the server wakes the caller.

        While the server is away, the wait goes on.

        Args:
            timeout: seconds to wait; None: no limit.

        Raises:
            TimeoutError: it has not ended in time (it continues).
            JobExecutionError: it failed for good; JobTimeoutError if it exceeded its ``timeout``.
            JobCancelledError: it was cancelled.
            JobExpiredError: it was not started before its ``expires``.
            SerializationError: its value cannot be decoded here.
            NaqConnectionError: there is no connection, and none can be opened; or it was closed.
            ServerRefusedError: the server does not let us ask for it.
        """
        return await self.backend.result(self, timeout)

    async def status(self) -> JobStatus:
        """Return where the job is now.

        Raises:
            JobNotFoundError: the server does not know it, or no longer does.
            NaqConnectionError: the server cannot be reached.
        """
        return (await self.backend.info(self)).status

    async def refresh(self) -> JobInfo:
        """Return everything known about the job now; raises like :meth:`status`."""
        return await self.backend.info(self)

    async def cancel(self) -> bool:
        """Cancel the job; return True if it will have no result, False if it had already ended.

        A queued or delayed job is removed. A running async function is cancelled; a running sync
        function cannot be stopped, but its result is discarded.

        Raises:
            NaqConnectionError: the server cannot be reached.
        """
        return await self.backend.cancel(self)

    result_sync = synced(result, url=_url)
    status_sync = synced(status, url=_url)
    refresh_sync = synced(refresh, url=_url)
    cancel_sync = synced(cancel, url=_url)


@public
class CurrentJob(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`naq.current_job` returns inside a job."""

    id: str
    queue: str
    function_name: str
    attempt: int
    meta: dict[str, Any]


running: ContextVar[CurrentJob | None] = ContextVar("naq_current_job", default=None)
"""The job whose code this is; set around it by the worker."""


@public
def current_job() -> CurrentJob | None:
    """Return the job that this code runs in, or None outside of a job. Works in threads, too."""
    return running.get()
