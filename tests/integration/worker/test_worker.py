"""A worker: takes what it has room for, keeps jobs apart, stops as asked."""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar
from typing import ClassVar

import anyio
import pytest
from depth import depth

import naq
from examples.tasks import add, nap
from naq.exceptions import ConfigurationError
from naq.jobs.job import JobStatus
from naq.worker.worker import Worker

RELEASE = threading.Event()
EIGHT = threading.Barrier(8)
SECRET = ContextVar("secret", default="nobody")


@pytest.fixture(autouse=True)
def _release():
    RELEASE.clear()
    yield
    RELEASE.set()


def meet():
    """Wait until eight of these run at once."""
    return EIGHT.wait(10)


def wait_in_a_thread():
    RELEASE.wait(30)
    return "returned"


async def leave_a_mark(mark):
    before = SECRET.get()
    SECRET.set(mark)
    return before


def mark_in_a_thread(mark):
    before = SECRET.get()
    SECRET.set(mark)
    return before


class Gauge:
    """How many run at the same time."""

    now = peak = 0
    order: ClassVar[list] = []


async def measured(name="", seconds=0.02):
    Gauge.now += 1
    Gauge.peak = max(Gauge.peak, Gauge.now)
    Gauge.order.append(name)
    await anyio.sleep(seconds)
    Gauge.now -= 1


@pytest.fixture(autouse=True)
def _gauge():
    Gauge.now = Gauge.peak = 0
    Gauge.order = []


async def test_no_more_run_at_once_than_asked_for_and_no_fewer(queue, run_worker):
    jobs = await queue.enqueue_many([naq.call(measured) for _ in range(20)])
    async with run_worker(concurrency=4):
        for job in jobs:
            await job.result(timeout=20)

    assert Gauge.peak == 4


async def test_burst_ends_when_the_queue_is_empty(queue, connection):
    await queue.enqueue_many([naq.call(add, i, i) for i in range(50)])
    worker = Worker(["default"], connection=connection, burst=True)

    with anyio.fail_after(20):
        await worker.run()

    assert worker.processed == 50
    assert (await queue.stats()).depth == 0


async def test_burst_waits_for_retries(queue, connection):
    job = await queue.enqueue(fails_once, max_retries=1, retry_delay=0.3)
    worker = Worker(["default"], connection=connection, burst=True)

    with anyio.fail_after(20):
        await worker.run()

    assert await job.result(timeout=1) == 2


async def fails_once():
    attempt = naq.current_job().attempt
    if attempt == 1:
        raise ValueError
    return attempt


async def test_burst_does_not_wait_for_what_is_paused(queue, connection):
    await queue.enqueue(add, 1, 1)
    await queue.pause()
    with anyio.fail_after(20):
        await Worker(["default"], connection=connection, burst=True).run()

    assert await depth(queue, 1) == 1


async def test_queues_are_served_alike_whatever_their_order(connection, run_worker):
    async with (
        naq.Queue("a", connection=connection) as a,
        naq.Queue("b", connection=connection) as b,
    ):
        await a.enqueue_many([naq.call(measured, "a") for _ in range(60)])
        last = (await b.enqueue_many([naq.call(measured, "b") for _ in range(60)]))[-1]
        async with run_worker("a", "b", concurrency=4):
            await last.result(timeout=20)

    first = Gauge.order[:60]
    assert 15 <= first.count("a") <= 45


async def test_two_queues_take_turns_at_one_slot(connection, run_worker):
    async with (
        naq.Queue("a", connection=connection) as a,
        naq.Queue("b", connection=connection) as b,
    ):
        await a.enqueue_many([naq.call(measured, "a") for _ in range(30)])
        last = (await b.enqueue_many([naq.call(measured, "b") for _ in range(4)]))[-1]
        async with run_worker("a", "b", concurrency=1):
            await last.result(timeout=20)
            await a.purge()

    assert Gauge.order.index("b") <= 3
    assert len(Gauge.order) <= 12


async def test_a_quiet_queue_is_served_at_once_beside_a_busy_one(connection, run_worker):
    async with (
        naq.Queue("busy", connection=connection) as busy,
        naq.Queue("quiet", connection=connection) as quiet,
    ):
        await busy.enqueue_many([naq.call(measured, "busy") for _ in range(400)])
        async with run_worker("busy", "quiet", concurrency=4):
            job = await quiet.enqueue(add, 1, 1)

            assert await job.result(timeout=5) == 2
            assert (await busy.stats()).depth > 100
            await busy.purge()


async def test_a_job_without_a_slot_goes_to_another_worker(connection, run_worker, eventually):
    """Two queues, one slot: the job of the second comes all the same, and must not wait here."""
    async with (
        naq.Queue("a", connection=connection) as a,
        naq.Queue("b", connection=connection) as b,
        run_worker("a", "b", concurrency=1, name="full"),
    ):
        long = await a.enqueue(nap, 60)
        await eventually(lambda: is_running(long))
        job = await b.enqueue(add, 1, 1)
        async with run_worker("b", name="free"):
            assert await job.result(timeout=10) == 2
            info = await job.refresh()
        assert info.worker == "free"
        assert info.record.crashes == 0
        await long.cancel()


# --------------------------------------------------------------------------- isolation


async def test_context_variables_of_one_job_are_not_seen_by_the_next(queue, run_worker):
    async with run_worker(concurrency=1):
        seen = []
        for function in (leave_a_mark, leave_a_mark, mark_in_a_thread, leave_a_mark):
            job = await queue.enqueue(function, function.__name__)
            seen.append(await job.result(timeout=10))

    assert seen == ["nobody"] * 4


async def test_a_thread_that_outlives_its_job_keeps_the_slot(queue, run_worker):
    async with run_worker(concurrency=1):
        stuck = await queue.enqueue(wait_in_a_thread, timeout=0.2)
        with pytest.raises(naq.JobTimeoutError):
            await stuck.result(timeout=10)
        waiting = await queue.enqueue(add, 1, 1)
        with pytest.raises(TimeoutError):
            await waiting.result(timeout=0.5)
        assert await depth(queue, 1) == 1

        RELEASE.set()

        assert await waiting.result(timeout=10) == 2


async def test_a_sync_job_that_is_cancelled_ends_though_its_thread_goes_on(
    queue, run_worker, eventually
):
    async with run_worker(concurrency=2):
        job = await queue.enqueue(wait_in_a_thread)
        await eventually(lambda: is_running(job))

        assert await job.cancel()
        with pytest.raises(naq.JobCancelledError):
            await job.result(timeout=10)
        RELEASE.set()


async def test_sync_jobs_run_side_by_side(queue, run_worker):
    async with run_worker(concurrency=8):
        jobs = await queue.enqueue_many([naq.call(meet) for _ in range(8)])

        assert sorted([await job.result(timeout=20) for job in jobs]) == list(range(8))


# --------------------------------------------------------------------------- stopping


@pytest.mark.cluster
async def test_a_stopped_worker_lets_its_jobs_finish(queue, run_worker, eventually):
    async with run_worker() as worker:
        job = await queue.enqueue(nap, 0.5)
        await eventually(lambda: is_running(job))
        later = []
        worker.stop()
        later.append(await queue.enqueue(add, 1, 1))

        assert await job.result(timeout=10) == 0.5
    assert await later[0].status() is JobStatus.PENDING


async def test_at_the_drain_timeout_jobs_are_handed_over_at_once(
    queue, connection, run_worker, eventually
):
    first = Worker(["default"], connection=connection, drain_timeout=0.2, name="first")
    async with anyio.create_task_group() as tasks:
        await tasks.start(first.run)
        job = await queue.enqueue(slow_at_first)
        await eventually(lambda: is_running(job))
        async with run_worker(name="second"):
            first.stop()

            assert await job.result(timeout=10) == 2
            info = await job.refresh()

    assert (info.worker, info.attempts) == ("second", 2)
    assert (info.record.failures, info.record.crashes) == (0, 0)


async def slow_at_first():
    attempt = naq.current_job().attempt
    if attempt == 1:
        await anyio.sleep(60)
    return attempt


async def test_a_second_stop_skips_the_wait(queue, connection, eventually):
    worker = Worker(["default"], connection=connection, drain_timeout=60)
    async with anyio.create_task_group() as tasks:
        await tasks.start(worker.run)
        job = await queue.enqueue(nap, 60)
        await eventually(lambda: is_running(job))
        worker.stop()
        worker.stop()
    # The group has ended: so has the worker, long before its drain timeout.
    assert await job.status() is JobStatus.PENDING
    assert (await queue.stats()).depth + (await queue.stats()).running == 1


@pytest.mark.cluster
async def test_a_cancelled_worker_hands_its_jobs_back(queue, connection, eventually):
    worker = Worker(["default"], connection=connection)
    async with anyio.create_task_group() as tasks:
        await tasks.start(worker.run)
        job = await queue.enqueue(slow_at_first)
        await eventually(lambda: is_running(job))
        tasks.cancel_scope.cancel()

    with anyio.fail_after(20):
        await Worker(["default"], connection=connection, burst=True).run()
    assert await job.result(timeout=1) == 2


async def test_many_deploys_do_not_make_a_job_poison(queue, connection, eventually):
    job = await queue.enqueue(slow_at_first_five)
    for _ in range(5):
        worker = Worker(["default"], connection=connection, drain_timeout=0)
        async with anyio.create_task_group() as tasks:
            await tasks.start(worker.run)
            await eventually(lambda: is_running(job))
            worker.stop()
    with anyio.fail_after(20):
        await Worker(["default"], connection=connection, burst=True).run()

    assert await job.result(timeout=1) == 6


async def slow_at_first_five():
    attempt = naq.current_job().attempt
    if attempt <= 5:
        await anyio.sleep(60)
    return attempt


# --------------------------------------------------------------------------- pausing


async def test_a_paused_worker_finishes_its_jobs_and_leaves_new_ones_to_others(
    queue, connection, run_worker, eventually
):
    async with run_worker(name="paused") as worker:
        running = await queue.enqueue(until_released)
        await eventually(lambda: is_running(running))
        worker.pause()
        worker.pause()
        await eventually(lambda: has_no_request(connection))
        later = await queue.enqueue_many([naq.call(add, i, 1) for i in range(20)])
        (info,) = await naq.list_workers()
        assert (info.status, info.jobs) == ("paused", [running.id])

        async with run_worker(name="other"):
            for number, job in enumerate(later):
                assert await job.result(timeout=10) == number + 1
                info = await job.refresh()
                assert (info.worker, info.attempts) == ("other", 1)
        RELEASE.set()
        assert await running.result(timeout=10) == "returned"
        assert worker.paused

        waiting = await queue.enqueue(add, 1, 1)
        worker.resume()
        assert await waiting.result(timeout=10) == 2
        assert (await naq.list_workers())[0].status in ("idle", "busy")


async def test_jobs_that_wait_for_a_slot_go_to_others_when_the_worker_is_paused(
    connection, run_worker, eventually
):
    """A worker of two queues is given a job more than it has room for."""
    async with (
        naq.Queue("a", connection=connection) as a,
        naq.Queue("b", connection=connection) as b,
        run_worker("a", "b", concurrency=1, hold=60, name="full") as full,
    ):
        long = await a.enqueue(nap, 60)
        await eventually(lambda: is_running(long))
        job = await b.enqueue(add, 1, 1)
        await eventually(lambda: is_held(full, job))
        full.pause()
        async with run_worker("b", name="free"):
            assert await job.result(timeout=10) == 2
            assert (await job.refresh()).worker == "free"
        await long.cancel()


@pytest.mark.cluster
async def test_pause_and_resume_as_fast_as_can_be(queue, run_worker):
    """Each leaves the intake open or closed, whatever it was in the middle of."""
    async with run_worker() as worker:
        for turn in range(20):
            jobs = await queue.enqueue_many([naq.call(add, i, 1) for i in range(5)])
            worker.pause()
            if turn % 2:
                await anyio.sleep(0.005)
            worker.resume()
            for number, job in enumerate(jobs):
                assert await job.result(timeout=10) == number + 1


async def test_a_worker_that_is_paused_before_it_runs_and_stopped_while_it_is(queue, connection):
    worker = Worker(["default"], connection=connection)
    worker.pause()
    async with anyio.create_task_group() as tasks:
        await tasks.start(worker.run)
        job = await queue.enqueue(add, 1, 1)
        assert (await naq.list_workers())[0].status == "paused"
        worker.stop()

    assert await job.status() is JobStatus.PENDING


async def until_released():
    while not RELEASE.is_set():  # noqa: ASYNC110 - set from another loop's test as well
        await anyio.sleep(0.01)
    return "returned"


async def is_held(worker, job):
    return worker.held(job.id) is not None


async def has_no_request(connection, queue="default"):
    """The server has no standing request of any worker."""
    names = connection.names
    info = await connection.streams.api(
        f"$JS.API.CONSUMER.INFO.{names.jobs_stream}.{names.consumer(queue)}"
    )
    return info["num_waiting"] == 0


# --------------------------------------------------------------------------- presence


@pytest.mark.cluster
async def test_workers_are_listed_with_what_they_run(queue, connection, run_worker, eventually):
    async with run_worker(name="one") as worker, run_worker("other", name="two", concurrency=3):
        job = await queue.enqueue(nap, 60)
        await eventually(lambda: is_running(job))

        one, two = await naq.Worker.list_workers()
        assert (one.id, one.status, one.jobs, one.queues) == ("one", "busy", [job.id], ["default"])
        assert (two.id, two.status, two.jobs, two.concurrency) == ("two", "idle", [], 3)
        assert one.backend in ("asyncio", "trio")
        assert one.heartbeat_age() < 5
        await job.cancel()
        assert worker.id == "one"

    assert await naq.list_workers() == []


async def test_a_worker_that_does_not_answer_is_shown_as_such(connection):
    from naq.jobs import presence
    from naq.jobs.layout import ensure_streams

    await ensure_streams(connection)
    gone = presence.WorkerInfo(
        id="gone",
        host="h",
        pid=1,
        status="idle",
        queues=["q"],
        concurrency=1,
        backend="trio",
        started_at=0.0,
        seen_at=time.time(),
    )
    await presence.announce(connection, gone, ttl=60)

    (listed,) = await presence.list_workers(connection)

    assert (listed.id, listed.status) == ("gone", "unresponsive")


# --------------------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    "options",
    [
        {"queues": ["a.b"]},
        {"queues": "a b"},
        {"concurrency": 0},
        {"crash_limit": 0},
        {"drain_timeout": -1},
        {"name": "a b"},
    ],
)
def test_a_worker_that_cannot_be(options, settings):
    with pytest.raises(ConfigurationError):
        Worker(**{"settings": settings, **options})


async def is_running(job):
    return await job.status() is JobStatus.RUNNING
