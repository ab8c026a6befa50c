"""RQ: a worker forks for every job, as documented; as many at once as there are workers."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from redis import Redis
from rq import Queue

from benchmarks.peers.programs import jobs
from benchmarks.peers.programs.driver import URL, SyncPeer, serve

JOBS = {job.__name__: job for job in jobs.SYNC}


class Rq(SyncPeer):
    """RQ."""

    worker = [  # noqa: RUF012 - a constant
        *(sys.executable, "-m", "rq.cli", "worker", "--quiet", "--with-scheduler", "--url", URL)
    ]
    slots = 1
    settings = "rq worker (forks for each job) with its scheduler; results kept 500 s (default)"
    cannot = {"sleep": "a process for each job at the same time, 640 of them"}  # noqa: RUF012

    async def open(self) -> None:
        """Connect."""
        self._queue = Queue(connection=Redis.from_url(URL))

    async def put(self, job: str, args: list[Any]) -> Any:
        """Enqueue one."""
        return self._queue.enqueue(JOBS[job], *args)

    async def put_many(self, job: str, args: list[Any], count: int) -> list[Any]:
        """Enqueue many: one pipeline."""
        made = [Queue.prepare_data(JOBS[job], args) for _ in range(count)]
        return list(self._queue.enqueue_many(made))

    async def put_in(self, seconds: float, job: str, args: list[Any]) -> Any:
        """Enqueue one that is due later."""
        return self._queue.enqueue_in(timedelta(seconds=seconds), JOBS[job], *args)

    async def ready(self, handle: Any) -> bool:
        """Whether there is a result."""
        return handle.latest_result() is not None

    async def result(self, handle: Any) -> Any:
        """Wait: a blocking read of the stream of results."""
        return handle.latest_result(timeout=60).return_value


if __name__ == "__main__":
    serve(Rq())
