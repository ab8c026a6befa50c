"""Uses of the public API that a type checker must accept; never run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_type

import naq


@naq.task(queue="mail", max_retries=5, timeout=30)
async def send(to: str, *, copy: bool = False) -> int:
    return len(to) + copy


@naq.task
def add(a: int, b: int) -> int:
    return a + b


async def use() -> None:
    async with naq.Queue("default") as queue:
        job = await queue.enqueue(add, 2, 3)
        assert_type(job, naq.Job)
        await job.result(timeout=5)
        assert_type(await job.status(), naq.JobStatus)
        assert_type(
            await queue.enqueue_many([naq.call(add, i, 1) for i in range(3)]), list[naq.Job]
        )
        await queue.enqueue_in(timedelta(minutes=1), add, 2, 3)
        await queue.enqueue_at(datetime(2030, 1, 1, tzinfo=UTC), add, 2, 3)
        assert_type(await queue.purge(), int)
        schedule = await queue.schedule(add, 2, 3, cron="*/5 * * * *", timezone="Europe/Berlin")
        assert_type(schedule, naq.Schedule)
        assert_type(schedule.next_run, datetime | None)
        assert_type(await schedule.pause(), naq.Schedule)
        assert_type(await schedule.run_now(), naq.Job)

    assert_type(await send.enqueue("a@b.c", copy=True), naq.Job)
    assert_type(await send("a@b.c"), int)
    assert_type(add(1, 2), int)
    assert_type(add.enqueue_sync(1, 2), naq.Job)

    async with naq.connect() as connection:
        worker = naq.Worker(["default"], connection=connection, concurrency=5)
        await worker.run()
        await naq.Scheduler(connection=connection, poll_interval=5).run()
    assert_type(await naq.list_schedules(), list[naq.Schedule])


def sync() -> None:
    job = naq.enqueue_sync(add, 2, 3, queue_name="default")
    job.result_sync(timeout=5)
    assert_type(naq.schedule_sync(add, 2, 3, interval=60).cancel_sync(), naq.Schedule)


@naq.task(cron="0 7 * * *", timezone="Europe/Berlin", misfire="once")
def report() -> None: ...
