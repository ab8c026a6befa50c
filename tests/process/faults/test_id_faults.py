"""Kill whoever takes part in an enqueue, at each step: the job is queued once, and it runs once."""

from __future__ import annotations

import os
import signal
import sys

import anyio
import anyio.to_thread
import pytest
from fault_jobs import noted
from fault_waits import freeze, until

import naq
from naq.exceptions import NaqConnectionError
from naq.nats.link import exchange
from naq.nats.link.exchange import Store
from naq.queue.chosen import ChosenIds

pytestmark = pytest.mark.process

PRODUCER = """
import os, signal, sys
import anyio
import naq
from fault_jobs import noted
from naq.nats.link.exchange import Store
from naq.queue.chosen import ChosenIds

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

step, path, delay = sys.argv[1], sys.argv[2], float(sys.argv[3])
if step == "before it is sent":
    Store.encode = die
elif step == "after it is stored, before the answer is read":
    Store.answered = die
elif step == "while it asks whether the id is known":
    ChosenIds.known = die

async def main():
    async with naq.Queue("default") as queue:
        await queue.enqueue_in(delay, noted, path, "run", job_id="a")

anyio.run(main)
"""
STEPS = {
    "while it asks whether the id is known": False,
    "before it is sent": False,
    "after it is stored, before the answer is read": True,
}


@pytest.fixture
def dropped(monkeypatch):
    """Let the first answer to a job be lost; gives the headers of the copies that are sent.

    The second one is sent when the connection is back, and not before.
    """
    copies = []
    monkeypatch.setattr(exchange, "RESEND_AFTER", 60.0)
    encode, answered = Store.encode, Store.answered

    def counted(self):
        if ".j." in self.subject:
            copies.append(self.headers if not self.due else {**self.headers, **(self.later or {})})
        return encode(self)

    def lost(self, message):
        if ".j." not in self.subject or len(copies) > 1:
            answered(self, message)

    monkeypatch.setattr(Store, "encode", counted)
    monkeypatch.setattr(Store, "answered", lost)
    return copies


@pytest.mark.parametrize("runs_between", [False, True])
@pytest.mark.parametrize("step", STEPS)
async def test_a_producer_killed_at_a_step(settings, env, start_worker, notes, step, runs_between):  # noqa: PLR0917
    """Whoever repeats the call finds the message, or the record, or queues it."""
    async with naq.Queue("default", settings=settings) as queue:
        producer = await anyio.run_process(
            [sys.executable, "-c", PRODUCER, step, notes.path, "0"],
            env={**os.environ, **env},
            check=False,
        )
        assert producer.returncode == -signal.SIGKILL
        stored = STEPS[step]
        if runs_between:
            start_worker("--burst").wait()
            assert notes.lines() == (["run"] if stored else [])
        job = await queue.enqueue(noted, notes.path, "run", job_id="a")
        assert job.duplicate is stored
        start_worker("--burst").wait()

        assert await job.result(timeout=5) == "run"
        assert notes.lines() == ["run"]


@pytest.mark.parametrize("job_id", [None, "a"])
async def test_a_server_killed_after_storing_and_the_job_runs_before_the_resend(  # noqa: PLR0917
    settings, broker, start_worker, notes, dropped, job_id
):
    """The server has forgotten the message id: the record stops the second copy."""
    options = {"job_id": job_id} if job_id else {}
    async with naq.Queue("default", settings=settings) as queue:
        jobs = []

        async def enqueue():
            jobs.append(await queue.enqueue(noted, notes.path, "run", **options))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enqueue)
            await anyio.to_thread.run_sync(lambda: start_worker("--burst").wait())
            assert notes.lines() == ["run"]
            assert len(dropped) == 1
            broker.kill()
            await anyio.to_thread.run_sync(broker.start)
        (job,) = jobs
        assert not job.duplicate
        assert len(dropped) > 1
        assert dropped[1]["Naq-Check"] == "1"
        start_worker("--burst").wait()

        assert await job.result(timeout=5) == "run"
        assert notes.lines() == ["run"]
        assert (await queue.stats()).depth == 0


@pytest.mark.parametrize("job_id", [None, "a"])
async def test_a_server_killed_before_it_answers(settings, broker, start_worker, notes, job_id):
    options = {"job_id": job_id} if job_id else {}
    async with naq.Queue("default", settings=settings) as queue:
        freeze(broker.process)
        jobs = []

        async def enqueue():
            jobs.append(await queue.enqueue(noted, notes.path, "run", **options))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enqueue)
            await anyio.lowlevel.checkpoint()
            broker.kill()
            await anyio.to_thread.run_sync(broker.start)
        assert not jobs[0].duplicate
        start_worker("--burst").wait()
        assert notes.lines() == ["run"]


@pytest.mark.parametrize("job_id", [None, "a"])
async def test_a_frozen_server_that_thaws_with_old_copies(  # noqa: PLR0917
    settings, broker, start_worker, notes, monkeypatch, job_id
):
    """All copies of one call have one message id."""
    monkeypatch.setattr(exchange, "RESEND_AFTER", 0.2)  # before the link is given up
    options = {"job_id": job_id} if job_id else {}
    copies = []
    encode = Store.encode

    def counted(self):
        copies.append(self.subject)
        return encode(self)

    async with naq.Queue("default", settings=settings) as queue:
        await queue.stats()
        known = ChosenIds.known

        async def frozen_after(self, ids):
            found = await known(self, ids)
            freeze(broker.process)
            return found

        monkeypatch.setattr(ChosenIds, "known", frozen_after)
        monkeypatch.setattr(Store, "encode", counted)
        if job_id is None:
            freeze(broker.process)
        jobs = []

        async def enqueue():
            jobs.append(await queue.enqueue(noted, notes.path, "run", **options))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enqueue)
            await until(lambda: len(copies) > 1)
            broker.process.send_signal(signal.SIGCONT)
        assert not jobs[0].duplicate
        start_worker("--burst").wait()
        assert notes.lines() == ["run"]
        assert (await queue.stats()).depth == 0


async def test_the_shared_connection_finds_the_server_again(settings, broker, monkeypatch):
    monkeypatch.setenv("NAQ_NATS_URL", settings.nats_url)
    monkeypatch.setenv("NAQ_PREFIX", settings.prefix)
    before = await naq.enqueue(noted, "", "x")
    broker.kill()
    await anyio.to_thread.run_sync(broker.start)
    after = await naq.enqueue(noted, "", "x")
    assert await before.status() == await after.status() == "pending"
    assert before.backend._connection is after.backend._connection


async def test_a_server_that_stays_away(settings, broker, monkeypatch):
    async with naq.Queue("default", settings=settings) as queue:
        connection = queue._connection
        store = connection.store

        async def briefly(*args, **options):
            return await store(*args, **options, timeout=0.3)

        monkeypatch.setattr(connection, "store", briefly)
        freeze(broker.process)
        with pytest.raises(NaqConnectionError, match=r"not known whether .* repeat .* same id"):
            await queue.enqueue(noted, "", "x")
        broker.process.send_signal(signal.SIGCONT)
