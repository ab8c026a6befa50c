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
    job = naq.enqueue_sync(add, 2, 3, queue_name="default", nats_url="nats://there")
    assert_type(job, naq.Job)
    job.result_sync(timeout=5)
    job.result_sync(5)
    assert_type(job.status_sync(), naq.JobStatus)
    assert_type(job.refresh_sync(), naq.JobInfo)
    assert_type(job.cancel_sync(), bool)
    assert_type(naq.enqueue_many_sync([naq.call(add, 1, 2)], queue_name="x"), list[naq.Job])
    assert_type(naq.purge_queue_sync("default"), int)
    assert_type(naq.list_schedules_sync(nats_url="nats://there"), list[naq.Schedule])
    schedule = naq.schedule_sync(add, 2, 3, interval=60)
    assert_type(schedule.cancel_sync(), naq.Schedule)
    assert_type(schedule.reschedule_sync(cron="@daily"), naq.Schedule)
    assert_type(schedule.run_now_sync(), naq.Job)
    assert_type(send.enqueue_sync("a@b.c", copy=True), naq.Job)
    assert_type(add.enqueue_in_sync(5, 1, 2), naq.Job)
    assert_type(add.enqueue_at_sync(datetime(2030, 1, 1, tzinfo=UTC), 1, b=2), naq.Job)
    # What a type checker must refuse; an ignore that is not needed is an error.
    job.result_sync(timeout="5")  # type: ignore[arg-type]
    add.enqueue_sync("1", 2)  # type: ignore[arg-type]
    naq.purge_queue_sync(queue=1)  # type: ignore[call-arg]


@naq.task(cron="0 7 * * *", timezone="Europe/Berlin", misfire="once")
def report() -> None: ...
