"""SAQ on Redis: lists, results in the job's key."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from saq import Queue

from benchmarks.peers.programs import jobs
from benchmarks.peers.programs.driver import URL, Peer, serve

if TYPE_CHECKING:
    from collections.abc import Callable

queue = Queue.from_url(URL)


def _with_context(job: Callable[..., Any]) -> tuple[str, Callable[..., Any]]:
    async def run(_context: Any, args: list[Any]) -> Any:
        return await job(*args)

    return job.__name__, run


def _noop_sync(_context: Any, args: list[Any]) -> None:  # noqa: ARG001 - SAQ's interface
    return None


settings = {
    "queue": queue,
    "functions": [*map(_with_context, jobs.ASYNC), ("noop_sync", _noop_sync)],
    "concurrency": int(os.environ.get("BENCH_CONCURRENCY", "32")),
}


class Saq(Peer):
    """SAQ."""

    worker = [*(sys.executable, "-m", "saq", "--quiet", "benchmarks.peers.saq.settings")]  # noqa: RUF012
    settings = "hiredis; timeout=0 (jobs may take longer than 10 s); results kept 10 minutes"
    cannot = {"bulk": "it has none"}  # noqa: RUF012 - a constant

    async def open(self) -> None:
        """Connect."""
        await queue.connect()

    async def close(self) -> None:
        """Disconnect."""
        await queue.disconnect()

    async def put(self, job: str, args: list[Any]) -> Any:
        """Enqueue one."""
        return await queue.enqueue(job, args=args, timeout=0)

    async def put_in(self, seconds: float, job: str, args: list[Any]) -> Any:
        """Enqueue one that is due later; it takes whole seconds, so it is due a little early."""
        return await queue.enqueue(job, args=args, timeout=0, scheduled=time.time() + seconds)

    async def ready(self, handle: Any) -> bool:
        """Whether it is complete."""
        job = await queue.job(handle.key)
        return job is not None and job.status == "complete"

    async def value(self, handle: Any) -> Any:
        """Read it."""
        return (await queue.job(handle.key)).result

    async def round_trip(self, job: str) -> None:
        """Enqueue and wait by polling, as its own ``apply`` does.

        Waiting by ``refresh(until_complete=…)`` hears nothing of a job that ends before it listens.
        """
        await queue.apply(job, poll_interval=0.001, args=[])


if __name__ == "__main__":
    serve(Saq())
