"""huey on Redis: threads, blocking pops, results notified."""

from __future__ import annotations

import sys
from typing import Any

from huey import RedisHuey

from benchmarks.peers.programs import jobs
from benchmarks.peers.programs.driver import URL, SyncPeer, serve

# Each thread waits on a connection of its own; redis-py allows 100 unless told otherwise.
huey = RedisHuey("bench", url=f"{URL}?max_connections=2000", store_none=True, notify_result=True)
TASKS = {job.__name__: huey.task()(job) for job in jobs.SYNC}


class Huey(SyncPeer):
    """huey."""

    worker = [  # noqa: RUF012 - a constant
        *(sys.executable, "-m", "huey.bin.huey_consumer", "benchmarks.peers.huey.huey"),
        *("--workers", "{concurrency}", "--worker-type", "thread", "--quiet"),
    ]
    settings = (
        "RedisHuey (blocking pops), -k thread, store_none so that a no-op has a result, "
        "notify_result; results kept until read"
    )
    cannot = {"bulk": "it has none"}  # noqa: RUF012 - a constant

    async def put(self, job: str, args: list[Any]) -> Any:
        """Enqueue one."""
        return TASKS[job](*args)

    async def put_in(self, seconds: float, job: str, args: list[Any]) -> Any:
        """Enqueue one that is due later."""
        return TASKS[job].schedule(args=tuple(args), delay=seconds)

    async def ready(self, handle: Any) -> bool:
        """Whether there is a result; it stays there."""
        return bool(huey.storage.has_data_for_key(handle.id))

    async def result(self, handle: Any) -> Any:
        """Wait: a blocking read."""
        return handle.get(blocking=True, timeout=60)


if __name__ == "__main__":
    serve(Huey())
