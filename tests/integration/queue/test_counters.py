"""Counters on the server: what workers add, and what is read of them."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

import naq
from examples.tasks import add
from naq.exceptions import JobExecutionError, NaqConnectionError
from naq.jobs.layout import ensure_counters, ensure_streams
from naq.queue.numbers.counters import _Counters, keep_counted, last_hour, totals
from naq.queue.numbers.tally import DONE, METRICS, Tally

ATTEMPTS = {}


def fail():
    raise ValueError("no")


def fail_once(key):
    ATTEMPTS[key] = ATTEMPTS.get(key, 0) + 1
    if ATTEMPTS[key] == 1:
        raise ValueError("not yet")


async def worked_off(queue, run_worker, *calls):
    """Run calls to their end by a worker; when it has gone, all is counted."""
    jobs = await queue.enqueue_many(calls)
    async with run_worker(queue.name):
        for job in jobs:
            with suppress(JobExecutionError):
                await job.result(timeout=20)


async def test_a_worker_counts_what_becomes_of_jobs(queue, run_worker, connection, settings):
    await worked_off(
        queue,
        run_worker,
        *[naq.call(add, 1, 2) for _ in range(20)],
        naq.call(fail),
        naq.call(fail_once, settings.prefix).with_options(max_retries=1, retry_delay=0),
    )

    counts = (await totals(connection))["default"]
    assert (counts.done, counts.failed, counts.retried, counts.dead) == (21, 1, 1, 1)
    assert counts.runs == 23
    assert counts.waited == 22

    for minutes in (await last_hour(connection), await last_hour(connection, "default")):
        assert len(minutes) == 60
        assert [m.minute for m in minutes] == list(range(minutes[0].minute, minutes[0].minute + 60))
        recent = minutes[-2:]  # a minute may have begun meanwhile
        assert sum(m.done for m in recent) == 21
        assert sum(m.runs for m in recent) == 23
        assert not any(m.runs for m in minutes[:-2])

    assert not any(m.runs for m in await last_hour(connection, "other"))


async def test_a_job_that_cannot_be_decoded_counts_as_failed(queue, run_worker, connection):
    await connection.store(
        connection.names.job("default", "bad"), b"rubbish", {"Nats-Msg-Id": "bad"}
    )
    async with run_worker("default") as worker:
        with anyio.fail_after(20):
            while not worker.tally.counts():  # noqa: ASYNC110
                await anyio.sleep(0.01)

    counts = (await totals(connection))["default"]
    assert (counts.failed, counts.dead, counts.runs) == (1, 1, 0)


async def test_queues_are_kept_apart_and_summed(connection, run_worker):
    for name, number in (("one", 3), ("two", 5)):
        async with naq.Queue(name, connection=connection) as queue:
            await queue.enqueue_many([naq.call(add, 1, 2) for _ in range(number)])
    async with run_worker("one", "two", burst=True):
        pass

    found = await totals(connection)
    assert {queue: counts.done for queue, counts in found.items()} == {"one": 3, "two": 5}
    assert sum(m.done for m in await last_hour(connection)) == 8
    assert sum(m.done for m in await last_hour(connection, "two")) == 5


async def test_workers_add_to_each_other(connection):
    await ensure_streams(connection)
    await ensure_counters(connection)
    for _ in range(3):
        tally = Tally()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_counted, connection, tally)
            await anyio.lowlevel.checkpoint()
            for _ in range(10):
                tally.ran("q", DONE, 0.01, 0.0)
            tasks.cancel_scope.cancel()

    assert (await totals(connection))["q"].done == 30


async def test_counts_come_while_the_worker_runs(queue, run_worker, connection, eventually):
    async with run_worker("default"):
        await (await queue.enqueue(add, 1, 2)).result(timeout=10)

        async def counted():
            return (await totals(connection)).get("default")

        assert (await eventually(counted)).done == 1


class Deaf:
    """A connection that stores but gives no answer, as often as it is told to."""

    def __init__(self, connection, times):
        self._connection = connection
        self._times = times

    def __getattr__(self, name):
        return getattr(self._connection, name)

    async def store_many(self, items, make):
        answers = await self._connection.store_many(items, make)
        if self._times:
            self._times -= 1
            return [NaqConnectionError("no answer")] * len(answers)
        return answers


async def test_what_is_sent_again_counts_once(connection):
    await ensure_streams(connection)
    await ensure_counters(connection)
    tally = Tally()
    counters = _Counters(Deaf(connection, times=2), tally)
    tally.ran("q", DONE, 0.01, 0.0)
    await counters.add()
    tally.ran("q", DONE, 0.01, 0.0)
    for _ in range(3):
        await counters.add()

    assert (await totals(connection))["q"].done == 2


async def test_a_server_that_refuses_does_not_fill_memory(connection):
    await ensure_streams(connection)  # and no counters: nobody answers
    tally = Tally()

    class Refusing(Deaf):
        async def store_many(self, items, make):
            return [NaqConnectionError("no")] * len(items)

    counters = _Counters(Refusing(connection, 0), tally)
    for _ in range(50):
        tally.ran("q", DONE, 0.01, 0.0)
        await counters.add()

    assert len(counters._unconfirmed) <= 3 * len(METRICS)


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], indirect=True)
async def test_an_hour_of_many_queues(connection):
    await ensure_streams(connection)
    await ensure_counters(connection)
    names = connection.names
    newest = (await last_hour(connection))[-1].minute
    subjects = [
        names.count(newest - minute, metric, f"q{queue}")
        for minute in range(70)
        for queue in range(5, 10)
        for metric in METRICS
    ]
    subjects += [names.total(f"q{queue}", metric) for queue in range(150) for metric in METRICS]
    answers = await connection.store_many(
        subjects, lambda subject: (subject, b"", {"Nats-Incr": "+2"})
    )
    assert not [answer for answer in answers if isinstance(answer, Exception)]

    minutes = await last_hour(connection, "q7")
    assert all(m.done == 2 for m in minutes if m.minute <= newest and m.minute < minutes[-1].minute)
    assert minutes[0].buckets == (2,) * 11
    found = await totals(connection)
    assert len(found) == 150
    assert found["q149"].buckets == (2,) * 11
