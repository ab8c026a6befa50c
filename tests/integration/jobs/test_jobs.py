"""A job from enqueue to its end, on every backend, against the real server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest
from depth import depth

import naq
from examples.tasks import add, flaky, greet, nap
from naq.exceptions import (
    JobCancelledError,
    JobExecutionError,
    JobExpiredError,
    JobNotFoundError,
    JobTimeoutError,
)
from naq.jobs.job import JobStatus


def fail(message="as asked"):
    raise ValueError(message)


async def whoami():
    job = naq.current_job()
    return job.id, job.queue, job.attempt, job.meta


async def enqueue_another():
    job = await naq.enqueue(add, 20, 22)
    return await job.result(timeout=10)


async def test_a_sync_function_in_a_thread(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(add, 2, 3)

        assert await job.result(timeout=10) == 5
        assert await job.status() is JobStatus.COMPLETED


async def test_an_async_function_on_the_workers_loop(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(nap, 0.01)

        assert await job.result(timeout=10) == 0.01


async def test_a_function_that_cannot_be_imported_travels_by_value(queue, run_worker):
    factor = 7
    async with run_worker():
        job = await queue.enqueue(lambda x: x * factor, 6)

        assert await job.result(timeout=10) == 42


async def test_a_task_brings_its_policy(connection, run_worker):
    async with run_worker():
        job = await flaky.with_options(retry_delay=0).enqueue(1)

        assert await job.result(timeout=10) == "worked at attempt 2"
        assert job.message.max_retries == 3


@pytest.mark.cluster
async def test_a_result_that_is_there_before_anyone_waits(queue, run_worker):
    async with run_worker():
        first = await queue.enqueue(add, 1, 1)
        await first.result(timeout=10)

        assert await first.result(timeout=10) == 2


async def test_a_result_that_is_not_there_in_time(queue):
    job = await queue.enqueue(add, 1, 1)

    with pytest.raises(TimeoutError):
        await job.result(timeout=0.05)
    assert await job.status() is JobStatus.PENDING


async def test_what_a_job_knows_of_itself(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(whoami, meta={"user": 7})

        assert await job.result(timeout=10) == (job.id, "default", 1, {"user": 7})
    assert naq.current_job() is None


async def test_a_job_may_enqueue_over_its_workers_connection(queue, run_worker):
    async with run_worker(concurrency=2):
        job = await queue.enqueue(enqueue_another)

        assert await job.result(timeout=10) == 42


async def test_a_failed_job_carries_the_remote_error(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(fail, "no luck")

        with pytest.raises(JobExecutionError, match="ValueError: no luck") as caught:
            await job.result(timeout=10)

    error = caught.value
    assert (error.job_id, error.attempts) == (job.id, 1)
    assert error.error_type == "builtins.ValueError"
    assert error.error_message == "no luck"
    assert "raise ValueError(message)" in error.traceback
    assert "naq/_executor" not in error.traceback


async def test_everything_known_of_a_job(queue, run_worker):
    job = await queue.enqueue(add, 1, 2)
    before = await job.refresh()
    async with run_worker() as worker:
        await job.result(timeout=10)
        after = await job.refresh()

    assert (before.status, before.worker, before.attempts) == ("pending", None, 0)
    assert (after.status, after.worker, after.attempts) == ("completed", worker.id, 1)
    assert after.enqueued_at <= after.started_at <= after.finished_at
    assert after.function == "examples.tasks:add"


@pytest.mark.cluster
async def test_a_running_job_is_seen_running(queue, run_worker, eventually):
    async with run_worker() as worker:
        job = await queue.enqueue(nap, 60)
        await eventually(lambda: is_running(job))
        info = await job.refresh()

        assert (info.worker, info.attempts) == (worker.id, 1)
        assert await job.cancel()


async def test_an_unknown_job(queue):
    with pytest.raises(JobNotFoundError):
        await queue.job("nobody").status()


# --------------------------------------------------------------------------- idempotency


async def test_an_id_that_is_queued_already_is_not_queued_again(queue, run_worker):
    first = await queue.enqueue(add, 1, 1, job_id="order:1")
    second = await queue.enqueue(add, 2, 2, job_id="order:1")

    assert (first.duplicate, second.duplicate) == (False, True)
    async with run_worker():
        assert await second.result(timeout=10) == 2
    assert (await queue.stats()).depth == 0


@pytest.mark.cluster
async def test_an_id_that_has_run_is_not_run_again(queue, run_worker):
    async with run_worker() as worker:
        first = await queue.enqueue(add, 1, 1, job_id="order:2")
        await first.result(timeout=10)
        again = await queue.enqueue(add, 2, 2, job_id="order:2")

        assert await again.result(timeout=10) == 2
        assert again.duplicate
        assert worker.processed == 1


async def test_an_id_is_not_run_again_even_when_the_server_has_forgotten_the_message(
    queue, run_worker, connection, eventually
):
    """The duplicate window is two minutes; the record is what counts after that."""
    async with run_worker() as worker:
        first = await queue.enqueue(add, 1, 1, job_id="order:3")
        await first.result(timeout=10)
        names = connection.names
        late = await queue.enqueue(add, 2, 2)  # the same message under another message id
        headers = {"Naq-Check": "1", "Nats-Msg-Id": "forgotten"}
        body, _ = queue._codec.seal(first.message)
        await late.result(timeout=10)
        await connection.store(names.job("default", "order:3"), body, headers)
        await eventually(lambda: is_empty(queue))

        assert await first.result(timeout=10) == 2
        assert worker.processed == 2


@pytest.mark.cluster
async def test_many_at_once_in_order(queue, run_worker):
    calls = [naq.call(add, i, 1) for i in range(500)]
    jobs = await queue.enqueue_many(calls, meta={"batch": 1})

    assert len({job.id for job in jobs}) == 500
    assert await depth(queue, 500) == 500
    async with run_worker(concurrency=50):
        assert [await job.result(timeout=20) for job in jobs] == [i + 1 for i in range(500)]


async def test_many_with_given_ids_tell_duplicates(queue):
    calls = [naq.call(add, i, 1).with_options(job_id=f"n{i % 3}") for i in range(5)]

    jobs = await queue.enqueue_many(calls)

    assert [job.duplicate for job in jobs] == [False, False, False, True, True]
    assert await depth(queue, 3) == 3


async def test_none_at_all(queue):
    assert await queue.enqueue_many([]) == []


async def test_one_bad_argument_among_many_queues_nothing(queue):
    calls = [naq.call(add, i, 1) for i in range(100)]
    calls[50] = naq.call(add, (i for i in range(3)), 1)

    with pytest.raises(naq.SerializationError):
        await queue.enqueue_many(calls)

    assert (await queue.stats()).depth == 0


# --------------------------------------------------------------------------- delays


@pytest.mark.cluster
async def test_a_delayed_job_runs_when_it_is_due(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue_in(timedelta(seconds=0.5), add, 1, 2)
        assert await job.status() is JobStatus.SCHEDULED

        assert await job.result(timeout=10) == 3
        info = await job.refresh()

    assert info.started_at >= job.due_at > info.enqueued_at


async def test_a_job_for_a_moment(queue, run_worker):
    async with run_worker():
        moment = datetime.now(UTC) + timedelta(seconds=0.4)
        job = await queue.enqueue_at(moment, add, 1, 2)

        assert job.due_at == moment
        assert await job.result(timeout=10) == 3
        assert datetime.now(UTC) >= moment


@pytest.mark.parametrize("delay", [0, timedelta(0)])
async def test_no_delay_is_at_once(queue, run_worker, delay):
    job = await queue.enqueue_in(delay, add, 1, 2)

    assert await job.status() is JobStatus.PENDING


async def test_a_moment_in_the_past_is_at_once(queue):
    job = await queue.enqueue_at(datetime.now(UTC) - timedelta(days=1), add, 1, 2)

    assert await job.status() is JobStatus.PENDING


# --------------------------------------------------------------------------- cancelling


@pytest.mark.cluster
async def test_a_queued_job_that_is_cancelled_never_runs(queue, run_worker):
    job = await queue.enqueue(add, 1, 1)

    assert await job.cancel()
    assert await job.status() is JobStatus.CANCELLED
    with pytest.raises(JobCancelledError):
        await job.result(timeout=1)
    assert (await queue.stats()).depth == 0
    async with run_worker(burst=True) as worker:
        pass
    assert worker.processed == 0


async def test_a_delayed_job_that_is_cancelled_never_runs(queue):
    job = await queue.enqueue_in(3600, add, 1, 1)

    assert await job.cancel()
    assert await job.status() is JobStatus.CANCELLED
    assert (await queue.stats()).delayed == 0


async def test_a_running_async_job_is_aborted_and_the_slot_is_free_again(
    queue, run_worker, eventually
):
    async with run_worker(concurrency=1):
        job = await queue.enqueue(nap, 60)
        await eventually(lambda: is_running(job))

        assert await job.cancel()
        with pytest.raises(JobCancelledError):
            await job.result(timeout=5)
        assert await (await queue.enqueue(add, 1, 1)).result(timeout=5) == 2


@pytest.mark.cluster
async def test_a_waiter_is_woken_by_a_cancel(queue):
    job = await queue.enqueue(add, 1, 1)
    async with anyio.create_task_group() as tasks:

        async def wait():
            with pytest.raises(JobCancelledError):
                await job.result(timeout=10)

        tasks.start_soon(wait)
        await anyio.sleep(0.05)
        assert await job.cancel()


async def test_what_has_ended_cannot_be_cancelled(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(add, 1, 1)
        await job.result(timeout=10)

        assert not await job.cancel()
        assert await job.result(timeout=10) == 2


async def test_cancelling_twice_is_still_cancelled(queue):
    job = await queue.enqueue(add, 1, 1)

    assert await job.cancel()
    assert await job.cancel()


async def test_cancelling_what_nobody_knows(queue):
    with pytest.raises(JobNotFoundError):
        await queue.cancel("nobody")


# --------------------------------------------------------------------------- time limits


async def test_an_async_job_that_runs_too_long(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(nap, 60, timeout=0.1)

        with pytest.raises(JobTimeoutError, match=r"timeout of 0.1 s"):
            await job.result(timeout=10)


async def test_a_job_that_expired_before_it_was_started(queue, run_worker):
    job = await queue.enqueue(add, 1, 1, expires=0.05)
    await anyio.sleep(0.1)
    assert await job.status() is JobStatus.EXPIRED

    async with run_worker() as worker:
        with pytest.raises(JobExpiredError):
            await job.result(timeout=10)
        assert worker.processed == 0


async def test_a_waiter_learns_of_an_expiry_without_any_worker(queue):
    job = await queue.enqueue(add, 1, 1, expires=0.05)

    with pytest.raises(JobExpiredError):
        await job.result(timeout=10)


async def test_a_job_that_is_started_in_time_does_not_expire(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(nap, 1, expires=0.9)

        assert await job.result(timeout=10) == 1


@pytest.mark.parametrize(
    ("asked", "kept"), [(None, 604_800), (3600, 3600), (1, 300)], ids=["default", "longer", "less"]
)
async def test_a_result_is_kept_as_long_as_asked_but_for_ten_leases_at_least(
    queue, connection, run_worker, asked, kept
):
    names = connection.names
    async with run_worker():
        job = await queue.enqueue(add, 1, 1, result_ttl=asked)
        await job.result(timeout=10)

    stored = await connection.streams.get(names.results_stream, names.result(job.id))
    assert stored.headers["Nats-TTL"] == str(kept)


async def test_greeting_goes_to_its_own_queue(connection, run_worker):
    async with run_worker("default"):
        assert await (await greet.enqueue("bo")).result(timeout=10) == "hello bo"


async def is_running(job):
    return await job.status() is JobStatus.RUNNING


async def is_empty(queue):
    stats = await queue.stats()
    return not (stats.depth or stats.running)
