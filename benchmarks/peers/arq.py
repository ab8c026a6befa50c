"""arq on Redis: a sorted set that is polled twice a second, results in keys."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from arq import create_pool, func
from arq.connections import RedisSettings

from benchmarks.peers.programs import jobs
from benchmarks.peers.programs.driver import URL, Peer, serve

if TYPE_CHECKING:
    from collections.abc import Callable

REDIS = RedisSettings.from_dsn(URL)


def _with_context(job: Callable[..., Any]) -> Any:
    async def run(_context: Any, *args: Any) -> Any:
        return await job(*args)

    return func(run, name=job.__name__)


class WorkerSettings:
    """What the worker is told."""

    functions = tuple(map(_with_context, jobs.ASYNC))
    redis_settings = REDIS
    max_jobs = int(os.environ.get("BENCH_CONCURRENCY", "32"))


class Arq(Peer):
    """arq."""

    worker = [*(sys.executable, "-m", "arq", "benchmarks.peers.arq.WorkerSettings")]  # noqa: RUF012
    settings = "hiredis; poll_delay 0.5 s (default); results kept an hour"
    cannot = {"bulk": "it has none", "sync": "it runs only coroutines"}  # noqa: RUF012

    async def open(self) -> None:
        """Connect."""
        self._redis = await create_pool(REDIS)

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def put(self, job: str, args: list[Any]) -> Any:
        """Enqueue one."""
        return await self._redis.enqueue_job(job, *args)

    async def put_in(self, seconds: float, job: str, args: list[Any]) -> Any:
        """Enqueue one that is due later."""
        return await self._redis.enqueue_job(job, *args, _defer_by=timedelta(seconds=seconds))

    async def ready(self, handle: Any) -> bool:
        """Whether there is a result."""
        return await handle.result_info() is not None

    async def value(self, handle: Any) -> Any:
        """Read it."""
        return (await handle.result_info()).result


if __name__ == "__main__":
    serve(Arq())
