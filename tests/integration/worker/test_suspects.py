"""Jobs whose workers died: one at a time, alone before they are buried, and never in the way."""

from __future__ import annotations

from typing import ClassVar

import anyio
import msgspec
import pytest

import naq
from naq.exceptions import JobExecutionError
from naq.jobs.deadletters import DeadLetters
from naq.jobs.job import JobRecord, JobStatus, Suspicion
from naq.jobs.presence import Whereabouts
from naq.jobs.results import Results
from naq.worker.life.deaths import ALONE_AFTER_LOST, PUT_OFF_LIMIT


class Stage:
    """What runs, and what may go on."""

    now: ClassVar[list[str]] = []
    began: ClassVar[list[tuple[str, ...]]] = []
    gates: ClassVar[dict[str, anyio.Event]] = {}


@pytest.fixture(autouse=True)
def _stage():
    Stage.now, Stage.began, Stage.gates = [], [], {}


async def act(name):
    """Note beside what it runs, and wait for its gate, if it has one."""
    Stage.now.append(name)
    Stage.began.append(tuple(sorted(Stage.now)))
    try:
        if name in Stage.gates:
            await Stage.gates[name].wait()
    finally:
        Stage.now.remove(name)
    return naq.current_job().attempt


@pytest.fixture
def accused(queue, connection):
    """``await accused("s1", crashes=1)``: a queued job with a past, which no worker sees before."""

    async def make(name, **past):
        await queue.pause()
        job = await queue.enqueue(act, name, job_id=name)
        record = JobRecord(
            id=name,
            queue="default",
            function="f",
            status=JobStatus.PENDING,
            attempts=past.get("crashes", 0) + past.get("lost", 0),
            **past,
        )
        assert await Results(connection).put(record, ttl=None, expected=0)
        return job

    return make


@pytest.fixture
def began(eventually):
    async def wait(name):
        async def has_begun():
            return name in Stage.now

        await eventually(has_begun)

    return wait


async def record_of(connection, job):
    record, _ = await Results(connection).get(job.id)
    return record


async def test_suspects_run_one_at_a_time_and_fresh_jobs_beside_them(
    queue, accused, run_worker, began
):
    for name in ("s1", "s2", "s3"):
        Stage.gates[name] = anyio.Event()
    suspects = [await accused(name, crashes=1) for name in ("s1", "s2", "s3")]
    async with run_worker(concurrency=2):
        await queue.resume()
        for _ in suspects:
            async with anyio.create_task_group() as tasks:

                async def fresh():
                    job = await queue.enqueue(act, "fresh")
                    assert await job.result(timeout=10) == 1

                for _ in range(5):
                    tasks.start_soon(fresh)
            running = [name for name in Stage.now if name != "fresh"]
            assert len(running) <= 1
            if not running:
                await began("s1")
            Stage.gates[Stage.now[0]].set()
        assert [await job.result(timeout=10) for job in suspects] == [2, 2, 2]

    beside = [group for group in Stage.began if len({"s1", "s2", "s3"} & set(group)) > 1]
    assert not beside
    assert any("fresh" in group and len(group) > 1 for group in Stage.began)


@pytest.mark.parametrize("past", [{"crashes": 2}, {"lost": ALONE_AFTER_LOST}])
async def test_the_last_time_a_suspect_runs_alone(queue, accused, run_worker, began, past):
    for name in ("long", "alone"):
        Stage.gates[name] = anyio.Event()
    async with run_worker(concurrency=3):
        long = await queue.enqueue(act, "long")
        await began("long")
        alone = await accused("alone", **past)
        await queue.resume()
        await anyio.sleep(0.1)
        fresh = await queue.enqueue(act, "fresh")
        Stage.gates["long"].set()
        await long.result(timeout=10)
        await began("alone")
        assert Stage.now == ["alone"]
        Stage.gates["alone"].set()

        assert await alone.result(timeout=10) == sum(past.values()) + 1
        assert await fresh.result(timeout=10) == 1
    assert ("alone",) in Stage.began
    assert not [group for group in Stage.began if "alone" in group and len(group) > 1]


async def test_a_suspect_that_cannot_run_alone_is_put_off_and_then_waits(  # noqa: PLR0917
    queue, connection, accused, run_worker, began, eventually
):
    Stage.gates["long"] = anyio.Event()
    async with run_worker(concurrency=2, patience=0.02, put_off=0.02, hold=0.01):
        long = await queue.enqueue(act, "long")
        await began("long")
        alone = await accused("alone", crashes=2)
        await queue.resume()

        async def put_off_often():
            record = await record_of(connection, alone)
            return (record.suspicion or Suspicion()).put_off == PUT_OFF_LIMIT

        await eventually(put_off_often)
        record = await record_of(connection, alone)
        assert (record.attempts, record.crashes, record.lost) == (2, 2, 0)
        assert record.history == ()
        assert Stage.now == ["long"]
        Stage.gates["long"].set()
        assert await alone.result(timeout=10) == 3
        assert await long.result(timeout=10) == 1


async def test_jobs_go_on_between_two_tries_of_a_suspect(queue, accused, run_worker, began):
    Stage.gates["long"] = anyio.Event()
    async with run_worker(concurrency=2, patience=0.02, put_off=0.1, hold=0.01):
        await queue.enqueue(act, "long")
        await began("long")
        alone = await accused("alone", crashes=2)
        await queue.resume()
        for _ in range(3):
            fresh = await queue.enqueue(act, "fresh")
            assert await fresh.result(timeout=10) == 1
        Stage.gates["long"].set()
        assert await alone.result(timeout=10) == 3


@pytest.mark.parametrize("how", ["stop", "pause"])
@pytest.mark.parametrize("crashes", [1, 2])
async def test_suspects_that_wait_go_to_another_worker(  # noqa: PLR0917
    queue, connection, accused, run_worker, began, eventually, how, crashes
):
    """Behind another suspect, or until they can be alone."""
    first = "s1" if crashes == 1 else "long"
    Stage.gates[first] = anyio.Event()
    async with run_worker(concurrency=3, name="first") as worker:
        if crashes == 1:
            await accused("s1", crashes=1)
            await queue.resume()
        else:
            await queue.enqueue(act, "long")
        await began(first)
        waits = await accused("waits", crashes=crashes)
        await queue.resume()

        async def is_held():
            return worker.held("waits") is not None

        await eventually(is_held)
        getattr(worker, how)()
        async with run_worker(name="second"):
            assert await waits.result(timeout=10) == crashes + 1
            assert (await record_of(connection, waits)).worker == "second"
        Stage.gates[first].set()


async def test_a_suspect_that_waits_can_be_cancelled(queue, accused, run_worker, began, eventually):
    Stage.gates["s1"] = anyio.Event()
    async with run_worker() as worker:
        await accused("s1", crashes=1)
        await queue.resume()
        await began("s1")
        waits = await accused("s2", crashes=1)
        await queue.resume()

        async def is_held():
            return worker.held("s2") is not None

        await eventually(is_held)
        assert await waits.cancel()
        Stage.gates["s1"].set()

        async def is_cancelled():
            return await waits.status() == JobStatus.CANCELLED

        await eventually(is_cancelled)
    assert ("s2",) not in Stage.began


async def test_a_thread_that_never_returns_does_not_keep_a_suspect_from_running(
    queue, accused, run_worker
):
    """After it has been put off often enough: such a thread is no job that could end."""
    gate = anyio.Event()
    Stage.gates["alone"] = gate
    async with run_worker(concurrency=2, patience=0.01, put_off=0.01, hold=0.01) as worker:
        handler = worker._parts.handler
        handler._slots.block()
        alone = await accused("alone", crashes=2)
        gate.set()
        await queue.resume()
        assert await alone.result(timeout=10) == 3
        handler._slots.unblock()


# --------------------------------------------------------------------------- burial

POISON = {"crashes": 3, "suspicion": Suspicion(alone=True)}


async def test_poison_is_buried_with_what_is_known(queue, connection, accused, run_worker):
    job = await accused("bad", **POISON)
    async with run_worker():
        await queue.resume()
        with pytest.raises(JobExecutionError, match="poison: its worker died 3 times"):
            await job.result(timeout=10)
    record = await record_of(connection, job)
    assert (record.attempts, record.crashes) == (3, 3)
    assert (await DeadLetters(connection).get("bad")).attempts == 3
    assert Stage.began == []


async def test_a_job_that_a_living_worker_holds_is_not_buried(
    queue, connection, accused, run_worker, eventually
):
    """Its lease has lapsed, since it was cut off for a while; but it is there, and says so."""
    job = await accused("bad", **POISON)
    asked = anyio.Event()

    def answer(messages):
        asked.set()
        for message in messages:
            here = Whereabouts("blocked", None, 3)
            connection.publish(message.reply, msgspec.json.encode(here))

    with connection.subscription(connection.names.control("where", "bad"), answer):
        async with run_worker() as worker:
            await queue.resume()
            with anyio.fail_after(10):
                await asked.wait()

            async def is_left():
                return worker.held("bad") is None

            await eventually(is_left)
            assert (await record_of(connection, job)).status == JobStatus.PENDING
            stats = await queue.stats()
            assert (stats.dead, stats.depth + stats.running) == (0, 1)  # its message is as it was
