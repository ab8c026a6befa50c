"""dramatiq on Redis: threads, results in keys."""

from __future__ import annotations

import sys
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from dramatiq.results.errors import ResultMissing

from benchmarks.peers.programs import jobs
from benchmarks.peers.programs.driver import URL, SyncPeer, serve

broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)
ACTORS = {job.__name__: dramatiq.actor(job, store_results=True) for job in jobs.SYNC}


class Dramatiq(SyncPeer):
    """dramatiq."""

    worker = [  # noqa: RUF012 - a constant
        *(sys.executable, "-m", "dramatiq", "benchmarks.peers.dramatiq", "--skip-logging"),
        *("--processes", "1", "--threads", "{concurrency}"),
    ]
    settings = "store_results, threads; results kept 10 minutes (default)"
    cannot = {"bulk": "it has none"}  # noqa: RUF012 - a constant

    async def put(self, job: str, args: list[Any]) -> Any:
        """Enqueue one."""
        return ACTORS[job].send(*args)

    async def put_in(self, seconds: float, job: str, args: list[Any]) -> Any:
        """Enqueue one that is due later."""
        return ACTORS[job].send_with_options(args=tuple(args), delay=int(seconds * 1000))

    async def ready(self, handle: Any) -> bool:
        """Whether there is a result."""
        try:
            handle.get_result()
        except ResultMissing:
            return False
        return True

    async def result(self, handle: Any) -> Any:
        """Wait: a blocking read."""
        return handle.get_result(block=True, timeout=60_000)


if __name__ == "__main__":
    serve(Dramatiq())
