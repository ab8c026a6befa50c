"""kill -9 at every step, of everything: nothing is lost, nothing hangs."""

from __future__ import annotations

import signal
import sys

import anyio
import pytest
from depth import depth
from fault_jobs import (
    failing_first,
    kill_at_first,
    noted,
    noted_in_a_thread,
    noted_slowly,
    slow_first,
)
from fault_waits import until

import naq
from naq.exceptions import JobExecutionError, NaqConnectionError, ServerRefusedError
from naq.jobs.deadletters import DeadLetters
from naq.jobs.results import Results
from naq.worker.life.deaths import Death, Delivery, Stage, on_death

pytestmark = pytest.mark.process


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_a_worker_killed_in_the_middle_of_a_job(settings, start_worker, notes, backend):
    async with naq.Queue("default", settings=settings) as queue:
        doomed = start_worker("--name", "doomed", backend=backend)
        job = await queue.enqueue(noted_slowly, notes.path, "run", 60)
        await until(notes.lines)
        doomed.signal(signal.SIGKILL)
        doomed.wait()
        quick = await queue.enqueue(noted, notes.path, "quick")
        start_worker("--name", "other", backend=backend)

        assert await quick.result(timeout=20) == "quick"
        await until(lambda: notes.lines().count("run") == 2)
        info = await job.refresh()
        assert (info.status, info.worker, info.attempts) == ("running", "other", 2)
        assert await job.cancel()


@pytest.mark.parametrize(
    ("step", "runs", "attempts"),
    [
        ("when the job has arrived", 1, 2),
        ("before the function is called", 1, 2),
        ("before the result is sent", 2, 2),
        ("after the result is stored, before the ack", 1, 1),
    ],
)
async def test_a_worker_killed_at_a_step(settings, start_worker, notes, step, runs, attempts):  # noqa: PLR0917
    async with naq.Queue("default", settings=settings) as queue:
        doomed = start_worker(step=step)
        job = await queue.enqueue(noted, notes.path, "run")
        assert doomed.wait() == -signal.SIGKILL
        start_worker("--burst").wait()

        assert await job.result(timeout=1) == "run"
        assert notes.lines() == ["run"] * runs
        assert (await job.refresh()).attempts == attempts
        stats = await queue.stats()
        assert (stats.depth, stats.running, stats.dead) == (0, 0, 0)


async def test_a_job_that_kills_its_worker_runs_again_elsewhere(settings, start_worker, notes):
    async with naq.Queue("default", settings=settings) as queue:
        job = await queue.enqueue(kill_at_first, notes.path, 2)
        for _ in range(2):
            assert start_worker().wait() == -signal.SIGKILL
        start_worker("--burst").wait()

        assert await job.result(timeout=1) == 3
        assert notes.lines() == ["1", "2", "3"]


async def note_death(queue, job, status):
    """Write down, as whoever saw the worker's process end, that it was running this job alone."""
    results = Results(queue._connection)
    record, expected = await results.get(job.id)
    names = queue._connection.names
    queued = await queue._connection.streams.get(names.jobs_stream, names.job("default", job.id))
    delivery = Delivery(queued.seq, record.delivered + 1 if record else 1)
    death = Death(status=status, started=1, worker="dead")
    note = on_death(record, delivery, Stage.STARTED, death, job_id=job.id, queue="default")
    assert await results.put(note.record, ttl=None, expected=expected)


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_job_that_crashes_as_many_workers_as_it_may_is_poison(
    settings, start_worker, notes, limit
):
    options = ("--crash-limit", str(limit))
    async with naq.Queue("default", settings=settings) as queue:
        job = await queue.enqueue(kill_at_first, notes.path, 99)
        for _ in range(limit):
            assert start_worker(*options).wait() == -signal.SIGKILL
            await note_death(queue, job, -signal.SIGSEGV)
        assert start_worker(*options, "--burst").wait() == 0

        with pytest.raises(JobExecutionError, match="poison"):
            await job.result(timeout=1)
        letter = await DeadLetters(queue._connection).get(job.id)
        runs = [str(number) for number in range(1, limit + 1)]
        assert (letter.attempts, notes.lines()) == (limit, runs)
        assert [attempt.death for attempt in letter.history] == ["crash"] * limit
        assert letter.body


async def test_kills_from_outside_and_lapsed_leases_are_no_crashes(settings, start_worker, notes):
    async with naq.Queue("default", settings=settings) as queue:
        job = await queue.enqueue(kill_at_first, notes.path, 4)
        for _ in range(4):  # more often than a job may crash workers
            assert start_worker().wait() == -signal.SIGKILL
        start_worker("--burst").wait()

        assert await job.result(timeout=1) == 5
        record = (await job.refresh()).record
        assert (record.attempts, record.crashes, record.lost) == (5, 0, 4)
        assert [attempt.death for attempt in record.history] == ["lost"] * 4


RECORDED = "after the record is stored, before the job is handed back"
SCHEDULED = "after the schedule of a retry is stored, before the ack"


@pytest.mark.parametrize(
    ("step", "function", "delay", "status"),
    [
        (RECORDED, failing_first, 0, "retrying"),
        (RECORDED, slow_first, 0, "pending"),
    ],
    ids=["retry", "hand-back"],
)
async def test_a_worker_killed_after_it_wrote_what_comes_next(  # noqa: PLR0917
    settings, start_worker, notes, step, function, delay, status
):
    """The record tells the next worker that nothing was lost."""
    async with naq.Queue("default", settings=settings) as queue:
        doomed = start_worker(step=step)
        job = await queue.enqueue(function, notes.path, max_retries=1, retry_delay=delay)
        if function is slow_first:
            await until(notes.lines)
            doomed.signal(signal.SIGTERM)
            await until(lambda: "stopping when running jobs are done" in doomed.output)
            doomed.signal(signal.SIGTERM)
        assert doomed.wait() == -signal.SIGKILL
        record = (await job.refresh()).record
        assert (record.status, record.attempts, record.lost) == (status, 1, 0)
        start_worker("--burst").wait()

        assert await job.result(timeout=1) == 2
        record = (await job.refresh()).record
        assert (record.attempts, record.crashes, record.lost) == (2, 0, 0)


async def test_a_worker_killed_after_it_scheduled_a_retry(settings, start_worker, notes):
    """Its death was seen, so the message it held waits as long as the scheduled one."""
    async with naq.Queue("default", settings=settings) as queue:
        doomed = start_worker(step=SCHEDULED)
        job = await queue.enqueue(failing_first, notes.path, max_retries=1, retry_delay=3600)
        assert doomed.wait() == -signal.SIGKILL
        # On a busy machine its lease has run out by then, and it is not handed back.
        await until(lambda: "of its 1 jobs (0 were running)" in doomed.output)

        record = (await job.refresh()).record
        assert (record.status, record.attempts, record.lost) == ("retrying", 1, 0)
        assert await job.cancel()
        start_worker("--name", "other")
        with pytest.raises(naq.JobCancelledError):
            await job.result(timeout=20)
        assert notes.lines() == ["1"]


async def test_a_worker_killed_after_it_stored_a_dead_letter(settings, start_worker, notes):
    async with naq.Queue("default", settings=settings) as queue:
        doomed = start_worker(step="after the dead letter is stored, before the record")
        job = await queue.enqueue(failing_first, notes.path)
        assert doomed.wait() == -signal.SIGKILL
        assert (await queue.stats()).dead == 1
        start_worker("--burst").wait()

        assert await job.result(timeout=1) == 2  # it had a second try, since nobody knew of its end
        assert (await queue.stats()).dead == 0
        record = (await job.refresh()).record
        # It had returned, and its death was seen: nobody counts that.
        assert (record.attempts, record.crashes, record.lost) == (2, 0, 0)


# --------------------------------------------------------------------------- the server


async def test_the_server_killed_again_and_again_under_load(settings, broker, start_worker, notes):
    count = 5000
    async with naq.Queue("default", settings=settings) as queue:
        workers = [start_worker("--concurrency", "20") for _ in range(2)]
        jobs = await queue.enqueue_many([naq.call(noted, notes.path, str(i)) for i in range(count)])
        results = []
        async with anyio.create_task_group() as tasks:

            async def wait(job):
                results.append(await job.result(timeout=50))

            for job in jobs[::25]:
                tasks.start_soon(wait, job)
            for share in (0.1, 0.4, 0.7):
                await until(lambda share=share: len(notes.lines()) >= count * share)
                broker.kill()
                await anyio.to_thread.run_sync(broker.start)

        with anyio.fail_after(50):
            for job in jobs:
                await job.result()
        assert len(results) == count / 25
        assert set(notes.lines()) == {str(i) for i in range(count)}
        assert (await queue.stats()).dead == 0
        for worker in workers:
            assert worker.process.poll() is None, worker.output


async def test_a_server_that_is_away_at_the_end_of_a_job(settings, broker, start_worker, notes):
    """The result waits in the worker; the function does not run again."""
    async with naq.Queue("default", settings=settings) as queue:
        start_worker()
        job = await queue.enqueue(noted_slowly, notes.path, "run", 1)
        await until(notes.lines)
        broker.kill()
        await anyio.sleep(1.5)
        await anyio.to_thread.run_sync(broker.start)

        assert await job.result(timeout=20) == 1
        assert notes.lines() == ["run"]


async def test_a_full_disk(settings, broker, start_worker):
    """Refused with a clear error, nothing half-enqueued; and the queue works again afterwards."""
    broker.kill()
    size = 2_000_000

    def limit(path):
        room = f'jetstream: {{"max_file_store": {size}, '
        path.write_text(path.read_text().replace("jetstream: {", room))

    await anyio.to_thread.run_sync(broker.start, limit)
    async with naq.Queue("default", settings=settings) as queue:
        ballast = b"x" * 100_000
        stored = await as_many_as_fit(queue, ballast)
        assert await depth(queue, stored) == stored

        with pytest.raises(naq.EnqueueError) as caught:
            await queue.enqueue_many([naq.call(len, ballast) for _ in range(100)])
        kept = [job for job in caught.value.jobs if job is not None]
        assert await depth(queue, stored + len(kept)) == stored + len(kept)

        await queue.purge()
        start_worker()
        job = await queue.enqueue(len, b"four")
        assert await job.result(timeout=20) == 4


async def as_many_as_fit(queue, ballast):
    for count in range(100):
        try:
            await queue.enqueue(len, ballast)
        except ServerRefusedError as exc:
            assert "resources" in str(exc)  # noqa: PT017
            return count
    raise AssertionError("the disk was never full")


# --------------------------------------------------------------------------- stopping


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_sigterm_lets_a_job_finish(settings, start_worker, notes, backend):
    async with naq.Queue("default", settings=settings) as queue:
        worker = start_worker(backend=backend)
        job = await queue.enqueue(noted_slowly, notes.path, "run", 1)
        await until(notes.lines)
        worker.signal(signal.SIGTERM)

        assert worker.wait() == 0
        assert await job.result(timeout=1) == 1
        assert await naq.list_workers(nats_url=settings.nats_url) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_at_the_drain_timeout_another_worker_takes_over_at_once(
    settings, start_worker, notes, backend
):
    async with naq.Queue("default", settings=settings) as queue:
        first = start_worker("--drain-timeout", "0.2", "--name", "first", backend=backend)
        job = await queue.enqueue(noted_slowly, notes.path, "run", 60)
        await until(notes.lines)
        start_worker("--name", "second")
        first.signal(signal.SIGTERM)

        assert first.wait() == 0
        await until(lambda: len(notes.lines()) == 2, timeout=2)  # and not after ack_wait
        info = await job.refresh()
        assert (info.worker, info.attempts) == ("second", 2)
        await job.cancel()


async def test_a_second_signal_skips_the_wait(settings, start_worker, notes):
    async with naq.Queue("default", settings=settings) as queue:
        worker = start_worker("--drain-timeout", "60")
        job = await queue.enqueue(noted_slowly, notes.path, "run", 60)
        await until(notes.lines)
        worker.signal(signal.SIGTERM)
        await until(lambda: "stopping when running jobs are done" in worker.output)
        worker.signal(signal.SIGTERM)

        assert worker.wait() == 0
        assert await job.status() == "pending"


async def test_a_thread_that_never_returns_does_not_keep_the_process(settings, start_worker, notes):
    async with naq.Queue("default", settings=settings) as queue:
        worker = start_worker("--drain-timeout", "0.2")
        await queue.enqueue(noted_in_a_thread, notes.path, "run", 600)
        await until(notes.lines)
        worker.signal(signal.SIGTERM)

        assert worker.wait() == 0


async def test_a_frozen_worker_is_listed_as_unresponsive_and_its_job_moves_on(
    settings, start_worker, notes
):
    async with naq.Queue("default", settings=settings) as queue:
        frozen = start_worker("--name", "frozen")
        job = await queue.enqueue(noted_slowly, notes.path, "run", 5)
        await until(notes.lines)
        frozen.signal(signal.SIGSTOP)
        start_worker("--name", "other")

        listed = {w.id: w.status for w in await naq.Worker.list_workers()}
        assert listed["frozen"] == "unresponsive"
        await until(lambda: len(notes.lines()) == 2)
        assert (await job.refresh()).worker == "other"
        frozen.signal(signal.SIGCONT)

        # Both run it now; whoever is first is believed, the other one's result is dropped.
        assert await job.result(timeout=20) in (1, 2)
        await anyio.sleep(0.5)
        assert (await queue.stats()).running == 0


# --------------------------------------------------------------------------- no server at all


async def test_a_producer_without_a_server(anyio_backend):
    with pytest.raises(NaqConnectionError, match="naq up"):
        async with naq.Queue("default", nats_url="nats://127.0.0.1:1"):
            pass


@pytest.mark.parametrize(
    "arguments",
    [
        ["list-queues"],
        ["enqueue", "examples.tasks:add", "1", "2"],
        ["list-workers", "--json"],
    ],
)
async def test_a_command_without_a_server_ends_with_69_and_one_line(arguments):
    result = await anyio.run_process(
        [sys.executable, "-m", "naq", *arguments, "--nats-url", "nats://127.0.0.1:1"], check=False
    )

    assert result.returncode == 69
    assert result.stdout == b""
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("naq: no NATS server answers at nats://127.0.0.1:1")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_a_worker_waits_for_a_server_that_is_away_at_its_start(
    broker, settings, start_worker, notes, backend
):
    broker.kill()
    worker = start_worker(backend=backend, wait=False)
    await until(lambda: "no NATS server answers" in worker.output)
    await anyio.sleep(0.5)
    assert worker.output.count("waiting for it") == 1
    assert worker.process.poll() is None

    await anyio.to_thread.run_sync(broker.start)
    worker.wait_ready()
    async with naq.Queue("default", settings=settings) as queue:
        job = await queue.enqueue(noted, notes.path, "run")
        assert await job.result(timeout=20) == "run"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_a_worker_that_waits_for_a_server_ends_when_it_is_told(broker, start_worker, backend):
    broker.kill()
    worker = start_worker(backend=backend, wait=False)
    await until(lambda: "waiting for it" in worker.output)
    worker.signal(signal.SIGTERM)

    assert worker.wait() == 0


async def test_an_outage_is_said_once(broker, settings, start_worker):
    worker = start_worker()
    broker.kill()
    await until(lambda: "lost the connection" in worker.output)
    await anyio.sleep(3)  # in which several attempts fail
    await anyio.to_thread.run_sync(broker.start)
    await until(lambda: "connected to NATS again" in worker.output)

    said = [line for line in worker.output.splitlines() if "WARNING" in line or "ERROR" in line]
    assert len([line for line in said if "lost the connection" in line]) == 1
    assert len(said) <= 3, said
