"""naq's own kinds under the supervisor: workers that pause, are watched, and die."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import trio
from supervisor_harness import PATIENCE, trio_test

import naq
from naq.supervisor.control.commands import commands

ROOT = Path(__file__).parents[4]
BROKER = {"type": "nats", "port": 0}
WORKER = {
    "type": "worker",
    "depends_on": ["nats"],
    "restart": {"backoff": "10ms"},
    "env": {"PYTHONPATH": str(ROOT)},
}


async def until(check):
    """Wait for something that only the broker knows."""
    with trio.fail_after(PATIENCE):
        while not await check():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def has_status(job, status):
    return await job.status() == status


async def are(url, *statuses):
    return [worker.status for worker in await naq.Worker.list_workers(url)] == list(statuses)


def broker_url(directory: Path) -> str:
    broker = json.loads((directory / ".naq" / "run" / "nats.json").read_text())
    return broker["url"].replace("//", f"//{broker['token']}@")


@pytest.mark.parametrize("run", ["process", "task"])
def test_a_paused_worker_runs_what_it_has_and_takes_no_more(run_project, tmp_path, run):
    @trio_test
    async def main():
        async with run_project({"nats": BROKER, "worker": {**WORKER, "run": run}}) as running:
            await running.until("worker", "READY")
            ask = commands(running.supervisor)
            url = broker_url(tmp_path)
            async with naq.Queue("default", nats_url=url) as queue:
                long = await queue.enqueue("examples.tasks:nap", 0.5)
                await until(partial(has_status, long, "running"))
                ask["pause"]({"services": ["worker"], "on": True})
                await until(partial(are, url, "paused"))
                waiting = await queue.enqueue("examples.tasks:add", 1, 2)
                assert await long.result(timeout=PATIENCE) == 0.5
                assert await waiting.status() == "pending"
                assert running.status("worker").paused
                assert running.status("worker").state == "READY"

                ask["pause"]({"services": ["worker"], "on": False})
                assert await waiting.result(timeout=PATIENCE) == 3

    main()


@trio_test
async def test_a_worker_whose_event_loop_hangs_is_found_by_its_watchdog(run_project, tmp_path):
    (tmp_path / "hanging.py").write_text(
        "import time\nasync def hang():\n    time.sleep(1000)  # not awaited: nothing else runs\n"
    )
    services = {"nats": BROKER, "worker": {**WORKER, "watchdog": "1s", "concurrency": 2}}
    async with run_project(services) as running:
        await running.until("worker", "READY")
        await trio.sleep(1.5)  # pings are what keeps it
        assert running.status("worker").runs == 1
        async with naq.Queue("default", nats_url=broker_url(tmp_path)) as queue:
            await queue.enqueue("hanging:hang")
            await running.lines.wait("stopping: watchdog: silent for 1 s")
            await running.lines.wait(r"worker \| .*hanging.py.*, line 3 in hang")
            await running.until("worker", "READY")
            other = await queue.enqueue("examples.tasks:add", 1, 2)
            assert await other.result(timeout=PATIENCE) == 3
            # Each time it was given back at once, until it was known for what it is.
            await running.lines.wait("dead letter: poison")
        assert running.status("worker").runs == 4
        assert running.status("worker").last_exit.cause.kind == "watchdog"


@pytest.mark.parametrize(
    ("backend", "number", "crashes"),
    [("asyncio", signal.SIGKILL, 0), ("trio", signal.SIGKILL, 0), ("asyncio", signal.SIGSEGV, 1)],
)
def test_the_jobs_of_a_worker_that_dies_are_given_back_at_once(
    run_project, tmp_path, backend, number, crashes
):
    """Their leases last for ten minutes; what runs elsewhere was given back."""
    worker = {**WORKER, "backend": backend, "concurrency": 2, "replicas": 2}
    worker["env"] = {**WORKER["env"], "NAQ_DEFAULT_ACK_WAIT": "600"}

    @trio_test
    async def main():
        async with run_project({"nats": BROKER, "worker": worker}) as running:
            for name in ("worker.1", "worker.2"):
                await running.until(name, "READY")
            url = broker_url(tmp_path)
            async with naq.Queue("default", nats_url=url) as queue:
                jobs = [await queue.enqueue("examples.tasks:nap", 60) for _ in range(4)]
                for job in jobs:
                    await until(partial(has_status, job, "running"))
                first = await jobs[0].refresh()
                name = "worker.1" if first.worker.startswith("worker.1") else "worker.2"
                os.kill(running.status(name).pid, number)
                await until(partial(has_attempts, jobs[0], 2))

                again = await jobs[0].refresh()
                assert again.worker != first.worker
                (past,) = again.record.history
                assert (past.worker, past.exit, past.beside) == (first.worker, -number, 1)
                assert (again.record.crashes, again.record.lost) == (crashes, 1 - crashes)
                for job in jobs:
                    await job.cancel()

    main()


async def has_attempts(job, number):
    return (await job.refresh()).attempts == number


def test_a_worker_that_is_stopped_leaves_nothing_to_do(run_project):
    @trio_test
    async def main():
        async with run_project({"nats": BROKER, "worker": WORKER}) as running:
            await running.until("worker", "READY")
            lines = running.lines
        assert lines.count("died") == 0

    main()
