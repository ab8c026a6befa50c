"""What a handle (:class:`naq.Job`) asks through.

A handle may outlive the connection it was made with, or be used in another event loop or process:
then it uses the one of that event loop.
"""

from __future__ import annotations

import contextlib
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from naq.base.public import public
from naq.exceptions import JobExpiredError
from naq.jobs.inspect.info import cancel_job, job_info
from naq.jobs.job import Job, JobInfo, JobMessage, JobStatus
from naq.jobs.results import Results
from naq.jobs.shared import open_connection
from naq.nats.watch import tried
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from naq.jobs.job import JobRecord
    from naq.nats.connection import Connection

__all__ = ["Backend"]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(JobMessage).decode

LOOK_AGAIN = 5.0
"""Seconds until a job is looked at again that might have expired by now."""
EXPIRY_SLACK = 0.5
"""Seconds after a job's expiry before it is looked at: the clocks of two machines differ."""


class Backend:
    """What a :class:`Job` asks through: the connection it was made with, or that of the loop."""

    def __init__(
        self,
        connection: Connection | None,
        *,
        settings: Settings | None = None,
        nats_url: str | None = None,
    ) -> None:
        """Ask through a connection, or where ``settings`` and ``nats_url`` say."""
        self._connection = connection
        self._settings = connection.settings if connection else settings
        self.nats_url = connection.given_url if connection else nats_url

    @classmethod
    def elsewhere(cls, nats_url: str | None, prefix: str) -> Backend:
        """Return one for another process, which asks where :attr:`place` says."""
        settings = replace(Settings.from_env(), prefix=prefix)
        return cls(None, settings=settings, nats_url=nats_url)

    @property
    def place(self) -> tuple[str | None, str]:
        """What another process needs to know to ask the same server for the same."""
        return self.nats_url, (self._settings or Settings.from_env()).prefix

    def pickled(self, job: Job) -> tuple[Callable[..., Job], tuple[Any, ...]]:
        """Return what makes a handle again in another process; nothing is asked for that."""
        # Bytes and plain values, which every release can read.
        return _restored_job, (_encode(job.message), self.place, job.duplicate)

    @asynccontextmanager
    async def here(self) -> AsyncIterator[Connection]:
        """Yield a connection that can be used in this event loop."""
        if self._connection is not None and self._connection.usable():
            yield self._connection
            return
        prefix = self.place[1]
        async with open_connection(self.nats_url, settings=self._settings, prefix=prefix) as found:
            yield found

    async def result(self, job: Job, timeout: float | None) -> Any:
        """Wait for a job's end; see :meth:`naq.Job.result`."""
        async with self.here() as connection:
            results = Results(connection)
            if job.message.expires_at is None:
                record = await results.wait(job.id, timeout)
            else:
                with anyio.fail_after(timeout):
                    record = await _end_or_expiry(connection, results, job, job.message.expires_at)
            return results.value(record)

    async def info(self, job: Job) -> JobInfo:
        """Return what is known of a job."""
        async with self.here() as connection:
            return await job_info(connection, job.id, job.queue)

    async def cancel(self, job: Job) -> bool:
        """Cancel a job; see :meth:`naq.Job.cancel`."""
        async with self.here() as connection:
            return await cancel_job(connection, job.id, job.queue)


async def _end_or_expiry(
    connection: Connection, results: Results, job: Job, expires_at: float
) -> JobRecord:
    """Wait for a job's final record.

    Perhaps no worker is there to record that it expired, so it is looked at by then. By this clock,
    which may be wrong: if it has not expired yet, it is looked at again.

    Raises:
        JobExpiredError: it was not started in time.
    """
    until = max(0.0, expires_at - time.time()) + EXPIRY_SLACK
    while True:
        with contextlib.suppress(TimeoutError):
            return await results.wait(job.id, until)
        asked = job_info(connection, job.id, job.queue)
        info = await tried(connection, asked, what=f"job {job.id}")
        if info is not None and info.status is JobStatus.EXPIRED:
            raise JobExpiredError(f"job {job.id} was not started before it expired", job_id=job.id)
        until = LOOK_AGAIN


@public
def _restored_job(message: bytes, place: tuple[str | None, str], duplicate: bool) -> Job:
    """Make a handle of what was pickled, in whichever release."""
    return Job(_decode(message), Backend.elsewhere(*place), duplicate)
