"""Programs that start their loop themselves, without AnyIO: the same in all of them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import anyio
import pytest
import trio

import naq


async def add(a, b):
    return a + b


def fail():
    raise ValueError("as asked")


@asynccontextmanager
async def beside(settings):
    """A queue with a worker in the same program."""
    async with (
        naq.connect(settings=settings) as connection,
        naq.Queue("default", connection=connection) as queue,
        anyio.create_task_group() as tasks,
    ):
        worker = naq.Worker(["default"], connection=connection, concurrency=3)
        await tasks.start(worker.run)
        yield queue
        worker.stop()


def on_uvloop(main):
    uvloop = pytest.importorskip("uvloop")
    uvloop.run(main())


def on_asyncio(main):
    asyncio.run(main())


@pytest.mark.parametrize("run", [on_asyncio, on_uvloop, trio.run])
def test_a_worker_beside_its_producer(settings, run):
    async def main():
        async with beside(settings) as queue:
            jobs = await queue.enqueue_many([naq.call(add, i, 1) for i in range(100)])
            assert [await job.result(10) for job in jobs] == list(range(1, 101))
            retried = await queue.enqueue(fail, max_retries=1)
            with pytest.raises(naq.JobExecutionError):
                await retried.result(10)

    run(main)


def test_many_tasks_share_a_connection(settings):
    """Its callbacks do not run in the context of whichever task asked first."""

    async def main():
        async with beside(settings) as queue:

            async def produce(number):
                assert await (await queue.enqueue(add, number, 1)).result(10) == number + 1

            made = [asyncio.ensure_future(produce(number)) for number in range(20)]
            await asyncio.gather(*made)

    asyncio.run(main())
