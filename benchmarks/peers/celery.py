"""Celery on Redis: threads, results in keys, acknowledged late so that a crash loses nothing."""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery

from benchmarks.peers.programs import jobs
from benchmarks.peers.programs.driver import URL, SyncPeer, serve

app = Celery("bench", broker=URL, backend=URL)
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
TASKS = {job.__name__: app.task(job) for job in jobs.SYNC}


class CeleryPeer(SyncPeer):
    """Celery."""

    worker = [  # noqa: RUF012 - a constant
        *(sys.executable, "-m", "celery", "--app", "benchmarks.peers.celery", "--quiet", "worker"),
        *("--pool", "threads", "--concurrency", "{concurrency}", "--loglevel", "ERROR"),
        *("--without-gossip", "--without-mingle"),
    ]
    settings = "--pool threads, prefetch multiplier 4 (default), task_acks_late; results kept a day"
    cannot = {"bulk": "it has none"}  # noqa: RUF012 - a constant

    async def put(self, job: str, args: list[Any]) -> Any:
        """Enqueue one."""
        return TASKS[job].delay(*args)

    async def put_in(self, seconds: float, job: str, args: list[Any]) -> Any:
        """Enqueue one that is due later."""
        return TASKS[job].apply_async(args, countdown=seconds)

    async def ready(self, handle: Any) -> bool:
        """Whether there is a result."""
        return bool(handle.ready())

    async def result(self, handle: Any) -> Any:
        """Wait: by publish and subscribe."""
        return handle.get(timeout=60)


if __name__ == "__main__":
    serve(CeleryPeer())
