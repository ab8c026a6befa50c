"""What is shown is what is: handles, lists, numbers and metrics say the same of every job."""

from __future__ import annotations

import anyio
import pytest

import naq
from examples.tasks import add, nap
from naq.dashboard.data.queries import Queries
from naq.exceptions import ConfigurationError, QueueNotFoundError
from naq.jobs.deadletters import DeadLetters
from naq.jobs.job import JobStatus
from naq.queue import admin
from naq.queue.numbers.metrics import queue_metrics
from naq.queue.numbers.stats import list_queues

LISTED = ("pending", "running", "retrying", "scheduled")


def fail():
    """Fail."""
    raise ValueError("no")


async def shown(connection):
    """Return what each list of the dashboard and its API has."""
    queries = Queries(connection)
    return {state: {row.id for row in (await queries.jobs(state)).jobs} for state in LISTED}


async def test_lists_numbers_and_handles_agree_on_every_job(
    queue, run_worker, connection, eventually
):
    async with run_worker(concurrency=3, short_delay=100):
        runs = await queue.enqueue(nap, 600)
        short = await queue.enqueue(fail, max_retries=1, retry_delay=50)
        long = await queue.enqueue(fail, max_retries=1, retry_delay=3600)
        later = await queue.enqueue_in(3600, add, 1, 1)
        jobs = {"running": {runs.id}, "retrying": {short.id, long.id}, "scheduled": {later.id}}
        for job, state in ((runs, "running"), (short, "retrying"), (long, "retrying")):
            await eventually(lambda job=job, state=state: has(job, state))
        await queue.pause()
        waits = await queue.enqueue(add, 2, 2)
        jobs["pending"] = {waits.id}

        async def agree():
            return await shown(connection) == jobs  # the long retry is stored a moment later

        await eventually(agree)
        assert await waits.status() is JobStatus.PENDING
        assert await later.status() is JobStatus.SCHEDULED
        (stats,) = await list_queues(connection)
        numbers = {
            "pending": stats.depth,
            "running": stats.running,
            "retrying": stats.retrying,
            "scheduled": stats.delayed,
        }
        assert numbers == {state: len(ids) for state, ids in jobs.items()}
        again = await queue.stats()
        assert again.oldest_age_s >= stats.oldest_age_s
        again.oldest_age_s = stats.oldest_age_s
        assert again == stats
        assert (stats.workers, stats.state) == (1, "paused")
        text = await queue_metrics(connection)
        assert 'naq_queue_running{queue="default"} 1.0' in text
        assert 'naq_queue_retrying{queue="default"} 2.0' in text
        assert 'naq_queue_workers{queue="default"} 1.0' in text


async def has(job, state):
    return await job.status() == state


async def test_jobs_that_wait_for_a_slot_are_pending(queue, run_worker, connection, eventually):
    async with run_worker(concurrency=2):
        jobs = await queue.enqueue_many([naq.call(nap, 600) for _ in range(5)])

        async def two_run():
            stats = await queue.stats()
            return (stats.running, stats.depth, stats.retrying) == (2, 3, 0)

        await eventually(two_run)
        states = [await job.status() for job in jobs]
        assert sorted(states) == ["pending"] * 3 + ["running"] * 2
        found = await shown(connection)
        assert (len(found["running"]), len(found["pending"]), found["retrying"]) == (2, 3, set())
        await queue.purge()


async def test_a_busy_queue_has_no_retries(queue, run_worker, connection):
    """What is on its way between server and worker is none."""
    await queue.enqueue_many([naq.call(add, i, i) for i in range(3000)])
    async with run_worker(burst=True):
        while (stats := await queue.stats()).depth or stats.running:
            assert stats.retrying == 0


async def test_a_queue_that_no_worker_serves_is_said_to_be_so(queue, run_worker, connection):
    await queue.enqueue(add, 1, 1)
    async with run_worker("other"):
        stats = {one.queue: one for one in await list_queues(connection)}
        assert (stats["default"].state, stats["default"].workers) == ("unserved", 0)
        assert (stats["other"].state, stats["other"].workers) == ("active", 1)
        assert 'naq_queue_workers{queue="default"} 0.0' in await queue_metrics(connection)
        await queue.pause()
        assert (await queue.stats()).state == "paused"


@pytest.mark.parametrize(
    "act", [admin.pause, admin.resume, admin.purge, admin.delete, admin.queue_stats]
)
async def test_a_queue_that_does_not_exist_is_an_error_and_is_not_created(act, connection):
    with pytest.raises(QueueNotFoundError, match="no queue mial, nor any other"):
        await act(connection, "mial")
    async with naq.Queue("mail", connection=connection):
        with pytest.raises(QueueNotFoundError, match="no queue mial; did you mean mail") as caught:
            await act(connection, "mial")
        assert caught.value.queue == "mial"
        with pytest.raises(QueueNotFoundError, match="no queue zzz; there are mail"):
            await act(connection, "zzz")

    assert [stats.queue for stats in await list_queues(connection)] == ["mail"]


@pytest.mark.cluster
async def test_a_queue_is_deleted_with_all_that_is_in_it(run_worker, connection, eventually):
    async with naq.Queue("old", connection=connection) as old:
        async with run_worker("old"):
            job = await old.enqueue(fail)
            with pytest.raises(naq.JobExecutionError):
                await job.result(timeout=10)
            with pytest.raises(ConfigurationError, match="serves queue old; stop it first"):
                await old.delete()
        await old.enqueue_many([naq.call(add, 1, 1) for _ in range(3)])
        await old.enqueue_in(3600, add, 1, 1)
        every = await old.schedule(add, 1, 1, interval=3600)

        async def nobody_serves():
            return (await old.stats()).workers == 0

        await eventually(nobody_serves)
        with pytest.raises(ConfigurationError, match="puts jobs into queue old; cancel it first"):
            await old.delete()
        await every.cancel()
        assert await admin.delete(connection, "old") == (4, 1)
        with pytest.raises(QueueNotFoundError):
            await old.delete()

    assert await list_queues(connection) == []
    assert [letter async for letter in await DeadLetters(connection).all()] == []
    assert 'queue="old"' not in await queue_metrics(connection)
    async with naq.Queue("old", connection=connection) as again, run_worker("old"):
        assert await (await again.enqueue(add, 1, 2)).result(timeout=10) == 3


async def test_all_letters_there_are_deleted_and_no_later_ones(queue, run_worker, connection):
    letters = DeadLetters(connection)
    async with run_worker():
        for _ in range(3):
            with pytest.raises(naq.JobExecutionError):
                await (await queue.enqueue(fail)).result(timeout=10)
        found = await letters.all()
        with pytest.raises(naq.JobExecutionError):
            await (await queue.enqueue(fail)).result(timeout=10)

    assert len([letter async for letter in found]) == 3  # those that were there
    assert await letters.delete_all("other") == 0
    assert await letters.delete_all("default") == 4
    with anyio.fail_after(5):
        assert await letters.delete_all() == 0
