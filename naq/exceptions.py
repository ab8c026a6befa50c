"""Every error naq raises, as one tree.

A caller's mistake (:class:`ConfigurationError`), a peer that cannot be reached
(:class:`NaqConnectionError`) and a job's own end (:class:`JobError`) never share a class.
Foreign exceptions are mapped where they enter and chained with ``from``.
"""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ConfigurationError",
    "EnqueueError",
    "EnvironmentProblemError",
    "JobCancelledError",
    "JobError",
    "JobExecutionError",
    "JobExpiredError",
    "JobNotFoundError",
    "JobTimeoutError",
    "NaqConnectionError",
    "NaqException",
    "NoServerError",
    "PayloadTooLargeError",
    "QueueNotFoundError",
    "SerializationError",
    "ServerRefusedError",
    "SupervisorError",
]


class NaqException(Exception):  # noqa: N818 - the name is part of the public contract
    """Base of everything naq raises on purpose.

    All of them can be pickled, and so leave a process pool, whatever their constructors ask for.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # As it is made by pickle itself, without the constructor: a call of cls.__new__.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ConfigurationError(NaqException):
    """A value given by the caller, a file or the environment cannot be used.

    Attributes:
        problems: every problem found, one line each.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class EnvironmentProblemError(ConfigurationError):
    """The environment of the program is wrong, not its arguments: exit code 78."""


class NaqConnectionError(NaqException):
    """No usable NATS server: absent, too old, without JetStream, or refusing the credentials."""


class NoServerError(NaqConnectionError):
    """No server answers where one should be; one may come."""


class ServerRefusedError(NaqConnectionError):
    """The server answered a request with an error.

    Attributes:
        code: JetStream's ``err_code`` (for example 10071: wrong last sequence), 0 if it sent none.
        description: the server's own words.
    """

    def __init__(self, message: str, *, code: int = 0, description: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.description = description


class SerializationError(NaqException):
    """A function, argument or result cannot be turned into bytes, or back."""


class PayloadTooLargeError(SerializationError):
    """A message is larger than the server's ``max_payload``; it was not sent.

    Attributes:
        size: bytes of headers and body.
        limit: bytes the server accepts.
    """

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class EnqueuedJob(Protocol):
    """What an :class:`EnqueueError` tells of a job that was stored: a :class:`naq.Job` has it all.

    The errors stand below everything else, so they cannot name that class.
    """

    @property
    def id(self) -> str:
        """The job's id."""

    @property
    def duplicate(self) -> bool:
        """Whether a job of that id was known already."""

    async def result(self, timeout: float | None = None) -> Any:
        """Wait for its value, for at most ``timeout`` seconds."""


class EnqueueError(NaqException):
    """Some jobs of one ``enqueue_many`` were not stored.

    Attributes:
        jobs: one entry per call, in order: the job, or None where it was not stored.
        errors: the reasons, by position.
    """

    def __init__(self, jobs: Sequence[EnqueuedJob | None], errors: dict[int, Exception]) -> None:
        first = next(iter(errors.values()))
        super().__init__(f"{len(errors)} of {len(jobs)} jobs were not queued; the first: {first}")
        self.jobs = list(jobs)
        self.errors = errors


class JobError(NaqException):
    """Base of all the ways in which a job can end without a value."""

    def __init__(self, message: str, *, job_id: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id


class JobNotFoundError(JobError):
    """No job, result or dead letter with this id is known to the server."""


class QueueNotFoundError(NaqException):
    """There is no queue of that name; nothing was created.

    Attributes:
        queue: the name that was given.
    """

    def __init__(self, message: str, *, queue: str = "") -> None:
        super().__init__(message)
        self.queue = queue


class JobExecutionError(JobError):
    """The job failed for good: its attempts are spent, or retrying was pointless.

    Attributes:
        error_type: qualified name of the remote exception, for example ``builtins.ValueError``.
        error_message: its text.
        traceback: the remote traceback as text, empty when there was none.
        attempts: how many times the job was tried.
    """

    def __init__(
        self,
        message: str,
        *,
        job_id: str = "",
        error_type: str = "",
        error_message: str = "",
        traceback: str = "",
        attempts: int = 0,
    ) -> None:
        super().__init__(message, job_id=job_id)
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback
        self.attempts = attempts


class JobTimeoutError(JobExecutionError):
    """The job ran longer than its own ``timeout`` and was stopped."""


class JobCancelledError(JobError):
    """The job was cancelled before it had a result."""


class JobExpiredError(JobError):
    """The job was not started before its ``expires`` and never will be."""


class SupervisorError(NaqException):
    """The supervisor cannot do what was asked: not running, already running, unknown service.

    Attributes:
        exit_code: what a command line should exit with.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
