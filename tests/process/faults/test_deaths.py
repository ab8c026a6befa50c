"""A worker's death is known at once, its jobs go on elsewhere, and nothing is counted twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fault_jobs import blocks, exits, forks, noted, noted_slowly
from fault_waits import until

import naq
from naq.settings import Settings
from naq.supervisor.notify import LEDGER_FD

pytestmark = pytest.mark.process

SUPPORT = Path(__file__).parents[2] / "support" / "faults"

LONG = 600.0  # what happens within it does not come of a lease that lapsed
SHORT = 6.0  # but long enough for an aftermath to be in time
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def lease(request):
    return getattr(request, "param", LONG)


@pytest.fixture
def settings(broker, lease):
    return Settings(nats_url=broker.config.url_with_token, prefix="t1", default_ack_wait=lease)


@pytest.fixture
def env(settings, lease):
    return {
        "NAQ_NATS_URL": settings.nats_url,
        "NAQ_PREFIX": settings.prefix,
        "NAQ_DEFAULT_ACK_WAIT": str(lease),
        "PYTHONPATH": str(SUPPORT),
    }


@pytest.fixture
def ledger(tmp_path, env):
    """A ledger as a supervisor would hand it down; ``ledger.settle()`` is its aftermath."""

    class Held:
        def __init__(self):
            self.fd = os.open(tmp_path / "ledger", os.O_RDWR | os.O_CREAT)
            self.env = {LEDGER_FD: str(self.fd)}

        def settle(self, step="", status="-9"):
            command = [sys.executable, "fault_aftermath.py", step, status]
            environment = {**os.environ, **env, **self.env}
            directory = env["PYTHONPATH"]
            with subprocess.Popen(
                command, env=environment, pass_fds=(self.fd,), cwd=directory
            ) as process:
                return process.wait(30)

    held = Held()
    yield held
    os.close(held.fd)


async def counts(job):
    record = (await job.refresh()).record
    return (record.attempts, record.crashes, record.lost) if record else None


@BACKENDS
async def test_without_a_supervisor_jobs_are_given_back_at_once(
    settings, start_worker, notes, backend
):
    async with naq.Queue("default", settings=settings) as queue:
        doomed = start_worker("--concurrency", "2", backend=backend)
        running = [await queue.enqueue(noted_slowly, notes.path, "run", 60) for _ in range(2)]
        await until(lambda: len(notes.lines()) == 2)
        waiting = await queue.enqueue(noted, notes.path, "wait")
        doomed.signal(signal.SIGKILL)
        doomed.wait()
        other = start_worker("--name", "other", backend=backend)

        assert await waiting.result(timeout=20) == "wait"
        await until(lambda: notes.lines().count("run") == 4)
        for job in running:
            info = await job.refresh()
            assert (info.worker, info.attempts) == ("other", 2)
            assert (info.record.crashes, info.record.lost) == (0, 1)
            assert (
                "SIGKILL" in info.record.history[0].error or "died" in info.record.history[0].error
            )
        assert (await waiting.refresh()).attempts == 1
        other.close()


async def test_a_job_that_ends_its_process_is_a_crash_where_that_was_seen(
    settings, start_worker, ledger, notes
):
    async with naq.Queue("default", settings=settings) as queue:
        doomed = start_worker(pass_fds=(ledger.fd,), **ledger.env)
        job = await queue.enqueue(exits, notes.path, "run", 9)

        assert doomed.wait() == 9
        assert ledger.settle(status="9") == 0
        assert await counts(job) == (1, 1, 0)
        record = (await job.refresh()).record
        assert record.history[0].error == "its worker died (exit code 9), nothing beside it"


@pytest.mark.parametrize(
    ("lease", "steps"),
    [
        (SHORT, []),
        (SHORT, ["before the note"]),
        (SHORT, ["before the hand-back"]),
        (LONG, [""]),
        (LONG, ["before the note", ""]),
        (LONG, ["before the hand-back", ""]),
        (LONG, ["", ""]),
    ],
    indirect=["lease"],
)
async def test_an_aftermath_may_die_anywhere_and_run_twice(  # noqa: PLR0917
    settings, start_worker, ledger, notes, lease, steps
):
    """What is not done is done when the lease lapses; nothing is counted twice."""
    async with naq.Queue("default", settings=settings) as queue:
        doomed = start_worker(pass_fds=(ledger.fd,), **ledger.env)
        job = await queue.enqueue(noted_slowly, notes.path, "run", 60)
        await until(notes.lines)
        doomed.signal(signal.SIGKILL)
        doomed.wait()
        for step in steps:
            assert ledger.settle(step) == (-signal.SIGKILL if step else 0)
        start_worker("--name", "other")
        await until(lambda: len(notes.lines()) == 2)
        assert await job.cancel()
        await until_ended(job)

        assert await counts(job) == (2, 0, 1)


async def until_ended(job):
    with pytest.raises(naq.JobCancelledError):
        await job.result(timeout=20)


@pytest.mark.parametrize("lease", [2.0], indirect=True)
async def test_a_lease_that_has_lapsed_is_not_given_back(settings, start_worker, ledger, notes):
    """The job is with somebody else by then, and must stay there."""
    async with naq.Queue("default", settings=settings) as queue:
        doomed = start_worker(pass_fds=(ledger.fd,), **ledger.env)
        job = await queue.enqueue(noted_slowly, notes.path, "run", 60)
        await until(notes.lines)
        doomed.signal(signal.SIGKILL)
        doomed.wait()
        start_worker("--name", "other")
        await until(lambda: len(notes.lines()) == 2)
        assert ledger.settle() == 0
        last = await queue.enqueue(noted, notes.path, "last")

        assert await last.result(timeout=20) == "last"
        assert notes.lines() == ["run", "run", "last"]
        assert (await job.refresh()).worker == "other"


@BACKENDS
@pytest.mark.parametrize("lease", [2.0], indirect=True)
async def test_a_job_that_blocks_the_loop_keeps_its_lease(settings, start_worker, notes, backend):
    async with naq.Queue("default", settings=settings) as queue:
        workers = [start_worker(backend=backend) for _ in range(2)]
        job = await queue.enqueue(blocks, notes.path, "run", 7)

        assert await job.result(timeout=30) == 1
        assert notes.lines() == ["run"]
        said = [line for one in workers for line in one.output.splitlines() if "blocked" in line]
        await until(lambda: any("runs again" in one.output for one in workers))
        assert f"job {job.id} (fault_jobs:blocks)" in said[0]


@BACKENDS
async def test_a_job_that_blocks_for_too_long_ends_the_worker(
    settings, start_worker, ledger, notes, backend
):
    async with naq.Queue("default", settings=settings) as queue:
        options = {"pass_fds": (ledger.fd,), **ledger.env}
        doomed = start_worker("--stall-timeout", "1", backend=backend, **options)
        beside = await queue.enqueue(noted_slowly, notes.path, "beside", 60)
        await until(notes.lines)
        job = await queue.enqueue(blocks, notes.path, "run", 60)

        assert doomed.wait() == 1
        assert "in blocks" in doomed.output  # the stack
        assert ledger.settle(status="1") == 0
        assert await counts(job) == (1, 1, 0)
        assert await counts(beside) == (1, 0, 1)
        assert "this job was the cause" in (await job.refresh()).record.history[0].error


@BACKENDS
async def test_a_forked_child_does_not_keep_what_was_its_parents(
    settings, start_worker, notes, backend
):
    async with naq.Queue("default", settings=settings) as queue:
        doomed = start_worker("--name", "doomed", backend=backend)
        await queue.enqueue(forks, notes.path, 60)
        await until(notes.lines)
        child, plain = notes.lines()[0].split()
        try:
            other = start_worker("--name", "other", backend=backend)
            doomed.signal(signal.SIGKILL)
            doomed.wait()
            jobs = [await queue.enqueue(noted, notes.path, str(n)) for n in range(20)]
            for n, job in enumerate(jobs):
                assert await job.result(timeout=20) == str(n)
            assert plain == "True"
        finally:
            os.kill(int(child), signal.SIGKILL)
            other.close()
