"""Whatever leaves user code is the outcome of that job, and of nothing else."""

from __future__ import annotations

import pytest
from boundary_jobs import WAYS

import naq
from examples.tasks import add, nap
from naq.jobs.job import JobStatus


def _name(way):
    return "-".join(
        [way.function.__name__, *map(str, filter(str.isidentifier, map(str, way.args)))]
    )


@pytest.mark.parametrize("way", WAYS, ids=_name)
async def test_what_leaves_a_job_is_its_outcome(way, queue, run_worker, eventually, anyio_backend):
    if way.on and way.on != anyio_backend[0]:
        pytest.skip(f"there is no such thing but on {way.on}")

    async with run_worker(concurrency=1) as worker:
        for timeout in (None, 30):
            job = await queue.enqueue(way.function, *way.args, timeout=timeout)
            assert await how_it_ended(job, way.ends)
            assert (await job.refresh()).attempts == 1

            # The slot serves the next job, and that one can be stopped.
            assert await (await queue.enqueue(add, 1, 1)).result(timeout=10) == 2
            late = await queue.enqueue(nap, 60, timeout=0.05)
            with pytest.raises(naq.JobTimeoutError):
                await late.result(timeout=10)
            unwanted = await queue.enqueue(nap, 60)
            await eventually(lambda job=unwanted: is_running(job))
            assert await unwanted.cancel()
            with pytest.raises(naq.JobCancelledError):
                await unwanted.result(timeout=10)
        assert worker.unready() is None


async def how_it_ended(job, ends):
    if isinstance(ends, str) and ends == "returned":
        return await job.result(timeout=10) == ends
    with pytest.raises(naq.JobExecutionError) as failed:
        await job.result(timeout=10)
    name = ends if isinstance(ends, str) else ends.__name__
    return name in failed.value.error_type


async def is_running(job):
    return await job.status() is JobStatus.RUNNING
