"""Whole queues: their numbers, pausing, purging."""

from __future__ import annotations

import anyio
import pytest

import naq
from examples.tasks import add, nap
from naq.exceptions import ConfigurationError, JobNotFoundError
from naq.jobs.job import JobStatus
from naq.queue import admin as _queues


async def test_an_empty_queue(queue):
    stats = await queue.stats()

    assert (stats.queue, stats.depth, stats.running, stats.delayed, stats.dead) == (
        "default",
        0,
        0,
        0,
        0,
    )
    assert (stats.paused, stats.oldest_age_s) == (False, None)


async def test_the_numbers_are_true(queue, run_worker, eventually):
    await queue.enqueue_many([naq.call(nap, 60) for _ in range(12)])
    await queue.enqueue_in(3600, add, 1, 1)
    await anyio.sleep(0.1)
    async with run_worker(concurrency=5):

        async def five_run():
            return (await queue.stats()).running == 5

        await eventually(five_run)
        stats = await queue.stats()

        assert (stats.depth, stats.running, stats.delayed) == (7, 5, 1)
        assert 0.1 <= stats.oldest_age_s < 30
        await queue.purge()


async def test_all_queues_are_listed_by_name(connection, eventually):
    for name in ("b", "a", "c-1_x"):
        async with naq.Queue(name, connection=connection) as queue:
            await queue.enqueue(add, 1, 1)

    async def all_are_counted():  # the server counts a message a moment after it has stored it
        listed = await _queues.list_queues(connection)
        return [(stats.queue, stats.depth) for stats in listed] == [
            ("a", 1),
            ("b", 1),
            ("c-1_x", 1),
        ]

    await eventually(all_are_counted)


@pytest.mark.cluster
async def test_a_paused_queue_gives_nothing_until_it_is_resumed(queue, run_worker):
    async with run_worker():
        await queue.pause()
        job = await queue.enqueue(add, 1, 1)
        assert (await queue.stats()).paused
        with pytest.raises(TimeoutError):
            await job.result(timeout=0.5)
        assert await job.status() is JobStatus.PENDING

        await queue.resume()
        assert await job.result(timeout=10) == 2
        assert not (await queue.stats()).paused


async def test_a_running_job_is_not_disturbed_by_a_pause(queue, run_worker, eventually):
    async with run_worker():
        job = await queue.enqueue(nap, 0.3)

        async def runs():
            return await job.status() is JobStatus.RUNNING

        await eventually(runs)
        await queue.pause()

        assert await job.result(timeout=5) == 0.3


@pytest.mark.cluster
async def test_pausing_and_resuming_twice_does_no_harm(queue, run_worker):
    await queue.pause()
    await queue.pause()
    await queue.resume()
    await queue.resume()
    async with run_worker():
        assert await (await queue.enqueue(add, 1, 1)).result(timeout=5) == 2


@pytest.mark.cluster
async def test_a_purge_removes_queued_and_delayed_jobs_of_this_queue_only(queue, connection):
    async with naq.Queue("other", connection=connection) as other:
        await other.enqueue(add, 1, 1)
        jobs = await queue.enqueue_many([naq.call(add, i, i) for i in range(100)])
        await queue.enqueue_in(3600, add, 1, 1)

        assert await queue.purge() == 101
        assert await queue.purge() == 0
        assert (await queue.stats()).depth == 0
        assert (await other.stats()).depth == 1
    with pytest.raises(JobNotFoundError):
        await jobs[0].status()


async def test_a_queue_works_after_a_purge(queue, run_worker):
    await queue.enqueue_many([naq.call(add, i, i) for i in range(100)])
    async with run_worker():
        await queue.purge()
        assert await (await queue.enqueue(add, 2, 2)).result(timeout=5) == 4


@pytest.mark.parametrize("name", ["a.b", "a b", "*", ">", "", "x" * 65])
def test_a_queue_of_such_a_name_cannot_be(name, settings):
    with pytest.raises(ConfigurationError, match="queue name"):
        naq.Queue(name, settings=settings)


async def test_a_queue_can_be_used_again_after_it_was_left(settings, anyio_backend):
    queue = naq.Queue("again", settings=settings)
    async with queue:
        await queue.enqueue(add, 1, 1)
    async with queue:
        assert (await queue.stats()).depth == 1
        assert await queue.purge() == 1
