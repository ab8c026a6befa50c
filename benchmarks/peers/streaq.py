"""streaq on Redis: a stream, results in keys; the settings of its own benchmark."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import Any

import coredis
from streaq import Worker

from benchmarks.peers.programs import jobs
from benchmarks.peers.programs.driver import URL, Peer, serve

coredis.Config.optimized = True
worker = Worker(
    redis_url=URL,
    concurrency=int(os.environ.get("BENCH_CONCURRENCY", "32")),
    anyio_kwargs={"use_uvloop": True},
)
TASKS = {job.__name__: worker.task(job) for job in (*jobs.ASYNC, jobs.noop_sync)}


class Streaq(Peer):
    """streaq."""

    worker = [*(sys.executable, "-m", "streaq", "run", "benchmarks.peers.streaq:worker")]  # noqa: RUF012
    settings = "coredis optimized, uvloop (as in its benchmark); results kept 5 minutes (default)"

    async def open(self) -> None:
        """Connect."""
        await worker.__aenter__()

    async def close(self) -> None:
        """Disconnect."""
        await worker.__aexit__(None, None, None)

    async def put(self, job: str, args: list[Any]) -> Any:
        """Enqueue one."""
        return await TASKS[job].enqueue(*args)

    async def put_many(self, job: str, args: list[Any], count: int) -> list[Any]:
        """Enqueue many: one pipeline."""
        tasks = [TASKS[job].enqueue(*args) for _ in range(count)]
        await worker.enqueue_many(tasks)
        return tasks

    async def put_in(self, seconds: float, job: str, args: list[Any]) -> Any:
        """Enqueue one that is due later."""
        return await TASKS[job].enqueue(*args).start(delay=timedelta(seconds=seconds))

    async def ready(self, handle: Any) -> bool:
        """Whether it is done."""
        return bool((await handle.status()) == "done")

    async def value(self, handle: Any) -> Any:
        """Read it. Its own wait, by publish and subscribe, takes 100 ms; so we poll."""
        return (await handle.result(timeout=60)).result

    async def round_trip(self, job: str) -> None:
        """Enqueue and poll until it is done."""
        handle = await self.put(job, [])
        while not await self.ready(handle):
            await self.sleep(0.001)


if __name__ == "__main__":
    serve(Streaq())
