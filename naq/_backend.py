"""What handles ask: a job or schedule in somebody's hands, and the connection it was made with.

A handle may outlive that connection, or be used in another event loop: then one is opened for the
call.
"""

from __future__ import annotations

import contextlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from naq._inspect import cancel_job, job_info
from naq._sync import runtime
from naq.connection import connect, current_connection, use_connection
from naq.exceptions import JobExpiredError
from naq.job import JobStatus
from naq.results import Results

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from naq.connection import Connection
    from naq.job import Job, JobInfo
    from naq.settings import Settings

__all__ = ["Backend", "open_connection"]

EXPIRY_SLACK = 0.5
"""Seconds after a job's expiry before it is looked at: the clocks of two machines differ."""


@asynccontextmanager
async def open_connection(
    nats_url: str | None = None,
    *,
    given: Connection | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Connection]:
    """Yield a connection: the given one, the surrounding one, or a new one for this block."""
    if given is None and nats_url is None:
        given = current_connection()
    if given is not None:
        yield given
        return
    async with connect(nats_url, settings=settings) as connection:
        yield connection


class Backend:
    """What a :class:`Job` asks: over the connection it was made with, or else a new one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._nats_url = connection.given_url

    @asynccontextmanager
    async def here(self) -> AsyncIterator[Connection]:
        """Yield a connection that can be used in this event loop."""
        if self._connection.usable():
            yield self._connection
            return
        async with open_connection(self._nats_url, settings=self._connection.settings) as found:
            yield found

    async def result(self, job: Job, timeout: float | None) -> Any:
        """Wait for a job's end; see :meth:`naq.Job.result`."""
        async with self.here() as connection:
            results = Results(connection)
            expires_at = job.message.expires_at
            if expires_at is None:
                return results.value(await results.wait(job.id, timeout))
            # Nobody may be there to say that it expired, so it is looked at when it must have.
            until = max(0.0, expires_at - time.time()) + EXPIRY_SLACK
            if timeout is None or until < timeout:
                with contextlib.suppress(TimeoutError):
                    return results.value(await results.wait(job.id, until))
                if (await job_info(connection, job.id, job.queue)).status is JobStatus.EXPIRED:
                    raise JobExpiredError(
                        f"job {job.id} was not started before it expired", job_id=job.id
                    )
                timeout = None if timeout is None else timeout - until
            return results.value(await results.wait(job.id, timeout))

    async def info(self, job: Job) -> JobInfo:
        """Return what is known of a job."""
        async with self.here() as connection:
            return await job_info(connection, job.id, job.queue)

    async def cancel(self, job: Job) -> bool:
        """Cancel a job; see :meth:`naq.Job.cancel`."""
        async with self.here() as connection:
            return await cancel_job(connection, job.id, job.queue)

    def run_sync(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Run ``call()`` on the process's background thread."""
        return runtime().run_connected(self._nats_url, lambda connection: _inside(connection, call))


async def _inside(connection: Connection, call: Callable[[], Awaitable[Any]]) -> Any:
    use_connection(connection)
    return await call()
