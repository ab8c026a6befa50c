"""The process of a worker: what a job does cannot end it, and cannot keep it from ending."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from examples.tasks import add
from naq.exceptions import JobExecutionError
from naq.jobs.job import JobStatus
from naq.queue.queue import Queue

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]
LOOPS = {
    "asyncio": ["-m", "benchmarks.measures.no_uvloop", "worker", "--backend", "asyncio"],
    "uvloop": ["-m", "naq", "worker", "--backend", "asyncio"],
    "trio": ["-m", "naq", "worker", "--backend", "trio"],
}


@pytest.fixture(params=LOOPS)
def process(request, settings):
    env = {
        **os.environ,
        "NAQ_NATS_URL": settings.nats_url,
        "NAQ_PREFIX": settings.prefix,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
    }
    words = [*LOOPS[request.param], "--drain-timeout", "0", "-c", "1"]
    with subprocess.Popen([sys.executable, *words], env=env) as started:
        yield started
        started.kill()


async def deaf():
    with anyio.CancelScope(shield=True):
        await anyio.sleep(600)


async def exit_of_a_child():
    """Leave the event loop, and not only the job: asyncio lets this one through."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.sleep(60))
        tasks.create_task(leave())


async def exit_of_a_grandchild():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave)
        await anyio.sleep(60)


async def leave():
    sys.exit("a child")


def test_an_exit_of_a_task_that_a_job_has_started_is_the_jobs(process, settings, request):
    asyncio_only = [] if "trio" in request.node.name else [exit_of_a_child]

    async def run():
        async with Queue("default", settings=settings) as queue:
            for function in (exit_of_a_grandchild, *asyncio_only):
                failed = await queue.enqueue(function)
                with pytest.raises(JobExecutionError):
                    await failed.result(timeout=30)
                assert await (await queue.enqueue(add, 1, 1)).result(timeout=30) == 2

    anyio.run(run)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_one_signal_ends_a_worker_whose_job_ignores_it(process, settings):
    async def run():
        async with Queue("default", settings=settings) as queue:
            job = await queue.enqueue(deaf)
            while await job.status() is not JobStatus.RUNNING:  # noqa: ASYNC110
                await anyio.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            await anyio.to_thread.run_sync(process.wait, 40)
            assert await job.status() is JobStatus.PENDING

    anyio.run(run)
    assert process.returncode == 0
