"""kill -9 of the server, or of a consumer's leader: no job that has ended runs again."""

from __future__ import annotations

import random
import signal
from collections import Counter

import anyio
import anyio.to_thread
import pytest
from fault_jobs import noted
from fault_waits import until

import naq
from naq.jobs.results import Results
from naq.nats.connection import connect

pytestmark = pytest.mark.process

PRODUCERS = 16


class Load:
    """Jobs that are queued without a pause, and how often each has run."""

    def __init__(self, queue, notes):
        self.queue = queue
        self.notes = notes
        self.queued = []
        self.more = True

    async def produce(self):
        async with anyio.create_task_group() as producers:
            for _ in range(PRODUCERS):
                producers.start_soon(self._produce)

    async def _produce(self):
        while self.more:
            name = f"{len(self.queued)}"
            self.queued.append(name)
            await self.queue.enqueue(noted, self.notes.path, name)

    def done(self):
        return set(self.notes.lines()) >= set(self.queued)

    async def goes_on(self, more=200):
        """Wait until some more have run."""
        wanted = len(self.notes.lines()) + more
        await until(lambda: len(self.notes.lines()) >= wanted)


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("backend", ["asyncio", "plain asyncio", "trio"])
async def test_the_server_is_killed_under_load_and_the_worker_is_not(  # noqa: PLR0917
    broker, settings, start_worker, notes, backend, seed
):
    chance = random.Random(seed)
    start_worker(backend=backend)
    async with (
        connect(settings=settings) as connection,
        naq.Queue("default", connection=connection) as queue,
        anyio.create_task_group() as tasks,
    ):
        load = Load(queue, notes)
        tasks.start_soon(load.produce)
        for _ in range(3):
            await load.goes_on()
            await anyio.sleep(chance.uniform(0.0, 1.0))
            broker.kill()
            await anyio.to_thread.run_sync(broker.start)
        await load.goes_on()
        load.more = False
        await until(load.done)

    runs = Counter(notes.lines())
    assert {name: count for name, count in runs.items() if count > 1} == {}


@pytest.mark.time_limit(120)
async def test_a_worker_that_starts_on_a_server_that_was_killed_believes_no_first_delivery(
    broker, settings, start_worker, notes
):
    async with (
        connect(settings=settings) as connection,
        naq.Queue("default", connection=connection) as queue,
    ):
        results = Results(connection)
        jobs = await queue.enqueue_many(naq.call(noted, notes.path, str(n)) for n in range(5000))
        before = start_worker()
        await until(lambda: len(notes.lines()) > 1000)
        before.signal(signal.SIGSTOP)  # what it has sent arrives, and it sends no more
        found = await results.several([job.id for job in jobs])
        ended = {str(n) for n, job in enumerate(jobs) if job.id in found}
        before.signal(signal.SIGKILL)
        broker.kill()
        await anyio.to_thread.run_sync(broker.start)
        assert len(ended) > 500

        start_worker()
        await until(lambda: len(set(notes.lines())) == len(jobs))

    runs = Counter(notes.lines())
    assert [name for name in ended if runs[name] > 1] == []
