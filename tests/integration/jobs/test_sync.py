"""The twins for code without an event loop: one thread, from anywhere, also after a fork."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

import naq
from examples.tasks import add, greet
from naq.exceptions import JobNotFoundError, NaqConnectionError
from naq.jobs.runtime import runtime
from naq.worker.worker import Worker


@pytest.fixture
def environment(settings, monkeypatch):
    """What a program without an event loop has: variables, and a worker somewhere else."""
    monkeypatch.setenv("NAQ_NATS_URL", settings.nats_url)
    monkeypatch.setenv("NAQ_PREFIX", settings.prefix)
    with anyio.from_thread.start_blocking_portal() as portal:
        worker = Worker(["default"], settings=settings)
        future, _ = portal.start_task(worker.run)
        yield
        portal.call(worker.stop)
        portal.call(worker.stop)
        future.result(20)
    runtime().close()


def test_enqueue_and_result(environment):
    job = naq.enqueue_sync(add, 2, 3, queue_name="default")

    assert job.result_sync(timeout=10) == 5
    assert job.status_sync() is naq.JobStatus.COMPLETED
    assert job.refresh_sync().attempts == 1
    assert job.cancel_sync() is False
    assert naq.fetch_job_result_sync(job.id) == 5


def test_all_the_twins(environment):
    assert greet.enqueue_sync("bo").result_sync(10) == "hello bo"
    assert naq.enqueue_in_sync(0, add, 1, 1).result_sync(10) == 2
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    assert naq.enqueue_at_sync(soon, add, 1, 1).result_sync(10) == 2
    jobs = naq.enqueue_many_sync([naq.call(add, i, 1) for i in range(20)])
    assert [job.result_sync(10) for job in jobs] == [i + 1 for i in range(20)]
    assert naq.purge_queue_sync("default") == 0
    (worker,) = naq.list_workers_sync()
    assert worker.queues == ["default"]
    with pytest.raises(JobNotFoundError):
        naq.fetch_job_result_sync("nobody")


def test_many_threads_share_one_connection(environment):
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda i: naq.enqueue_sync(add, i, 1).result_sync(20), range(200)))

    assert results == [i + 1 for i in range(200)]
    assert [thread.name for thread in threading.enumerate()].count("naq sync") == 1
    ours = [key for key in runtime()._connections if os.environ["NAQ_PREFIX"] in key]
    assert len(ours) == 1  # beside what tests without this environment have opened


async def test_from_a_worker_thread_of_a_running_loop(environment, anyio_backend):
    def work():
        return naq.enqueue_sync(add, 20, 22).result_sync(10)

    assert await anyio.to_thread.run_sync(work) == 42


async def test_a_job_of_the_sync_side_can_be_awaited_on_the_other(environment, anyio_backend):
    job = await anyio.to_thread.run_sync(lambda: naq.enqueue_sync(add, 1, 2))

    assert await job.result(timeout=10) == 3


async def test_a_job_of_the_async_side_can_be_waited_for_in_a_thread(environment, anyio_backend):
    async with naq.Queue("default") as queue:
        job = await queue.enqueue(add, 1, 2)

        assert await anyio.to_thread.run_sync(job.result_sync, 10) == 3


def test_after_a_fork_the_child_has_a_thread_of_its_own(environment):
    assert naq.enqueue_sync(add, 1, 1).result_sync(10) == 2
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            value = naq.enqueue_sync(add, 20, 22).result_sync(20)
            os.write(write, str(value).encode())
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    os.close(write)
    said = os.read(read, 10)
    os.close(read)

    assert (os.waitstatus_to_exitcode(status), said) == (0, b"42")
    assert naq.enqueue_sync(add, 1, 2).result_sync(10) == 3


def test_no_server_is_an_error_and_the_next_call_works(environment, monkeypatch):
    url = os.environ["NAQ_NATS_URL"]
    monkeypatch.setenv("NAQ_NATS_URL", "nats://127.0.0.1:1")
    with pytest.raises(NaqConnectionError, match="naq up"):
        naq.enqueue_sync(add, 1, 1)
    monkeypatch.setenv("NAQ_NATS_URL", url)

    assert naq.enqueue_sync(add, 1, 1).result_sync(10) == 2


def test_another_prefix_is_another_place(environment, monkeypatch):
    prefix = os.environ["NAQ_PREFIX"]
    naq.enqueue_in_sync(3600, add, 1, 1)

    monkeypatch.setenv("NAQ_PREFIX", f"{prefix}x")
    assert naq.purge_queue_sync("default") == 0
    monkeypatch.setenv("NAQ_PREFIX", prefix)
    assert naq.purge_queue_sync("default") == 1


def test_an_explicit_url_wins(environment, monkeypatch):
    url = os.environ["NAQ_NATS_URL"]
    monkeypatch.setenv("NAQ_NATS_URL", "nats://127.0.0.1:1")

    job = naq.enqueue_sync(add, 1, 1, nats_url=url)

    assert job.result_sync(10) == 2


def test_a_result_that_does_not_come_in_time(environment):
    job = naq.enqueue_in_sync(3600, add, 1, 1)

    with pytest.raises(TimeoutError):
        job.result_sync(timeout=0.1)
    assert job.cancel_sync()
