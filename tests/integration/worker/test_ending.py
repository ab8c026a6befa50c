"""A worker ends when it is to, whatever its jobs do, and leaves them to others."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import anyio
import pytest

import naq
from examples.tasks import add
from naq.jobs.job import JobStatus
from naq.nats.connection import connect
from naq.worker.worker import Worker

RELEASE = threading.Event()


@pytest.fixture(autouse=True)
def _release():
    RELEASE.clear()
    yield
    RELEASE.set()


async def deaf():
    """Ignore at first that it is stopped."""
    while naq.current_job().attempt == 1 and not RELEASE.is_set():
        with suppress(BaseException):
            await anyio.sleep(0.01)
    return naq.current_job().attempt


async def shielded():
    if naq.current_job().attempt == 1:
        with anyio.CancelScope(shield=True):
            while not RELEASE.is_set():  # noqa: ASYNC110
                await anyio.sleep(0.01)
    return naq.current_job().attempt


def in_a_thread():
    attempt = naq.current_job().attempt
    if attempt == 1:
        RELEASE.wait(30)
    return attempt


# ---------------------------------------------------------------- at the start


async def test_a_stop_before_it_runs_is_not_lost(connection):
    worker = Worker(["default"], connection=connection)
    worker.stop()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            assert await tasks.start(worker.run) is worker

    # That was this run; the next one is another.
    async with anyio.create_task_group() as tasks:
        await tasks.start(worker.run)
        assert worker.unready() is None
        worker.stop()


@pytest.fixture
def silence():
    """A server that never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"nats://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_stop_while_it_starts_is_not_lost(silence):
    worker = Worker(["default"], nats_url=silence)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run)
        await anyio.sleep(0.05)
        worker.stop()


async def run_a_worker(url):
    await Worker(["default"], nats_url=url).run()


async def open_a_connection(url):
    async with connect(url):
        pass


async def enqueue_a_job(url):
    await naq.enqueue(add, 1, 1, nats_url=url)


@pytest.mark.parametrize("call", [run_a_worker, open_a_connection, enqueue_a_job])
async def test_what_is_cancelled_while_it_connects_returns(call, silence):
    ended = []

    async def wait():
        with anyio.move_on_after(0.1):
            await call(silence)
        ended.append(call)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(3)  # connecting would be given up after 5
        assert ended == [call]


# -------------------------------------------------------------------- at the end


@pytest.mark.parametrize("function", [deaf, shielded, in_a_thread])
@pytest.mark.parametrize("how", ["cancelled", "stopped"])
async def test_a_job_that_ignores_its_end_goes_to_another_worker(
    function, how, queue, run_worker, eventually
):
    """With a connection of its own, which is to outlive the cancellation."""
    settings = queue._connection.settings
    first = Worker(["default"], settings=settings, drain_timeout=0, name="first")
    stranded, scope = [], anyio.CancelScope()
    first.on_stranded = stranded.append

    async def run(*, task_status):  # noqa: ASYNC128 - the worker says when
        with scope:
            await first.run(task_status=task_status)

    async with anyio.create_task_group() as tasks:
        await tasks.start(run)
        job = await queue.enqueue(function)
        await eventually(lambda: is_running(job))
        async with run_worker(name="second"):
            (scope.cancel if how == "cancelled" else first.stop)()
            assert await job.result(timeout=20) == 2
            info = await job.refresh()
            if function is not in_a_thread:
                await eventually(lambda: is_true(stranded))
        RELEASE.set()

    assert (info.worker, info.record.crashes) == ("second", 0)
    assert stranded == ([] if function is in_a_thread else [None])


async def is_true(value):
    return bool(value)


async def is_running(job):
    return await job.status() is JobStatus.RUNNING


async def test_a_worker_whose_slots_are_all_held_by_threads_says_so(
    queue, run_worker, eventually, caplog
):
    async with run_worker(concurrency=1) as worker:
        job = await queue.enqueue(in_a_thread, timeout=0.05)
        with pytest.raises(naq.JobTimeoutError):
            await job.result(timeout=10)

        await eventually(lambda: is_true(worker.unready()))
        assert "threads" in worker.unready()
        assert worker.info().status == "stuck"
        assert "all 1 slots are held by threads" in caplog.text

        RELEASE.set()
        assert await (await queue.enqueue(add, 1, 1)).result(timeout=10) == 2
        assert worker.unready() is None


async def test_a_stop_at_any_step_of_the_start_is_obeyed(settings, queue):
    """Each wait of the start is cut short once: the stop comes one turn of the loop later each."""
    for turns in range(0, 60, 3):
        worker = Worker(["default"], settings=settings)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            for _ in range(turns):
                await anyio.sleep(0.0005)
            worker.stop()
