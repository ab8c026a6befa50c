"""A small producer: puts a job into the queue now and then and prints its result.

``supervisor.toml`` runs it so that a newcomer sees jobs flow: a ``callable`` service, on Trio. It
finds the server by itself, like every program under ``naq up``.
"""

from __future__ import annotations

import random

import trio

import naq
from examples.tasks import add, flaky, greet

NAMES = ["Ada", "Barbara", "Edsger", "Grace", "Leslie", "Tony"]


async def produce(
    _ctx: object, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Enqueue a job every other second until cancelled."""
    async with naq.Queue("default") as queue:
        task_status.started()
        while True:
            await show(await queue.enqueue(add, random.randint(1, 9), random.randint(1, 9)))
            await trio.sleep(2)
            await show(await queue.enqueue(greet, random.choice(NAMES)))
            await trio.sleep(2)
            await show(await queue.enqueue(flaky, 1))
            await trio.sleep(2)


async def show(job: naq.Job) -> None:
    """Wait for a job's end and print it."""
    try:
        print(f"{job.function_name} -> {await job.result(timeout=60)!r}", flush=True)
    except naq.JobError as exc:
        print(f"{job.function_name} failed: {exc}", flush=True)


if __name__ == "__main__":
    trio.run(produce, None)
