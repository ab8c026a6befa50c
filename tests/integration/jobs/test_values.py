"""Times by the server's clock; handles and values that travel."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime

import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

import naq
from examples.tasks import add
from naq.exceptions import JobExpiredError
from naq.jobs.job import JobMessage


@pytest.fixture
def skewed(monkeypatch):
    """``skewed(seconds)``: this process's clock is wrong by so much from now on."""
    real = time.time

    def skew(seconds):
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return skew


@pytest.mark.parametrize("offset", [3600, -3600])
async def test_a_worker_whose_clock_is_wrong_runs_what_is_fresh(queue, run_worker, skewed, offset):
    fresh = await queue.enqueue(add, 1, 1, expires=60)
    skewed(offset)
    async with run_worker():
        assert await fresh.result(timeout=10) == 2


@pytest.mark.parametrize("offset", [3600, -3600])
async def test_a_producer_whose_clock_is_wrong_is_served_as_well(queue, run_worker, skewed, offset):
    skewed(offset)
    job = await queue.enqueue(add, 1, 1, expires=60)
    assert await job.status() == "pending"
    async with run_worker():
        assert await job.result(timeout=10) == 2


async def test_a_moment_is_one_of_the_servers(queue, run_worker, skewed):
    late = await queue.enqueue(add, 1, 1, expires=datetime.fromtimestamp(time.time() - 1, UTC))
    skewed(-3600)
    async with run_worker():
        with pytest.raises(JobExpiredError):
            await late.result(timeout=10)


@given(
    st.floats(1, 1e6),
    st.floats(1, 1e5),
    st.floats(-1e5, 1e5),
)
def test_an_expiry_does_not_depend_on_the_producers_clock(stored, expires, skew):
    def job(**fields):
        common = {"id": "j", "queue": "q", "function": "f", "payload": b"", "encoding": "json"}
        return JobMessage(enqueued_at=stored + skew, **common, **fields)

    given_so = job(expires_in=expires, expires_at=stored + skew + expires)
    assert given_so.expiry(stored) == stored + expires
    assert job(expires_at=5.0).expiry(stored) == 5.0  # a moment, or from an older producer
    assert job().expiry(stored) is None


def _ask(data):
    return pickle.loads(data).result_sync(timeout=20)


async def test_a_handle_is_asked_in_another_process(queue, settings, run_worker, monkeypatch):
    monkeypatch.setenv("NAQ_NATS_URL", settings.nats_url)
    job = await queue.enqueue(add, 2, 3)
    data = pickle.dumps(job)
    assert b"naq.jobs" not in data  # which may be elsewhere in another release

    async with run_worker():
        await job.result(timeout=10)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert await anyio.to_thread.run_sync(pool.submit(_ask, data).result) == 5
    again = pickle.loads(data)
    assert (again.message, again.duplicate, again.backend.place) == (
        job.message,
        False,
        job.backend.place,
    )


async def test_a_schedule_is_asked_by_a_handle_that_was_pickled(queue):
    made = await queue.schedule(add, 1, 1, interval=3600, schedule_id="s")
    data = pickle.dumps(made)
    assert b"naq.schedules" not in data

    again = await pickle.loads(data).pause()
    assert (again.id, again.status) == ("s", "paused")


async def test_a_job_may_be_handed_a_job(queue, run_worker):
    async with run_worker(concurrency=2):
        first = await queue.enqueue(add, 1, 1)
        second = await queue.enqueue(wait_for, first)

        assert await second.result(timeout=10) == 2


async def wait_for(job):
    return await job.result(timeout=10)


def bad():
    raise ValueError("no")


async def test_the_error_of_a_job_is_pickled(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(bad)
        with pytest.raises(naq.JobExecutionError) as caught:
            await job.result(timeout=10)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.job_id, again.error_type) == (
        str(caught.value),
        job.id,
        "builtins.ValueError",
    )
