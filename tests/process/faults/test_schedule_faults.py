"""Schedules with real processes that are killed: nothing lost, nothing twice."""

from __future__ import annotations

import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from fault_jobs import note_run as note
from fault_waits import until

import naq
from naq.nats.connection import connect
from naq.schedules.manage import Schedules
from naq.schedules.schedule import ScheduleStatus
from naq.schedules.scheduler import Scheduler

pytestmark = pytest.mark.process
EVERY_SECOND = "* * * * * *"
# A minute, in the words of the guarantee; CI has it too.
KILLING = 60


def due_times(lines):
    """The due times of the runs that left a line each."""
    moments = [datetime.strptime(f"{line[-16:-1]}+0000", "%Y%m%dT%H%M%S%z") for line in lines]
    return [int(moment.timestamp()) for moment in moments]


@pytest.mark.time_limit(180)
async def test_three_schedulers_one_killed_each_second_for_a_minute(
    settings, start_worker, start_scheduler, notes
):
    start_worker()
    schedulers = [start_scheduler() for _ in range(3)]
    for scheduler in schedulers:
        scheduler.wait_ready()
    async with connect(settings=settings) as connection:
        async with naq.Queue("default", connection=connection) as queue:
            made = await queue.schedule(
                note,
                notes.path,
                cron=EVERY_SECOND,
                misfire="all",
                misfire_cap=1000,
                schedule_id="s",
            )
        first = made.next_run.timestamp()
        for round_ in range(KILLING):
            schedulers[round_ % 3].signal(signal.SIGKILL)
            schedulers[round_ % 3].close()
            schedulers[round_ % 3] = start_scheduler()
            await anyio.sleep(1)
        await made.pause()
        last = made.record.last_run
        with anyio.fail_after(20):
            while len(notes.lines()) < made.runs:  # noqa: ASYNC110 - lines in a file
                await anyio.sleep(0.05)
    counts = Counter(due_times(notes.lines()))
    assert set(counts.values()) == {1}
    assert sorted(counts) == list(range(int(first), int(last) + 1))
    assert made.record.missed == 0
    assert len(counts) >= KILLING - 10


@pytest.mark.parametrize("misfire", ["skip", "once", "all"])
async def test_the_server_is_killed_across_due_times(  # noqa: PLR0917
    broker, settings, start_worker, start_scheduler, notes, misfire
):
    start_worker()
    start_scheduler().wait_ready()
    async with (
        connect(settings=settings) as connection,
        naq.Queue("default", connection=connection) as queue,
    ):
        made = await queue.schedule(
            note,
            notes.path,
            cron=EVERY_SECOND,
            misfire=misfire,
            misfire_grace=0.5,
            jitter=0.001,  # a policy, so that all three go the same way
            schedule_id="s",
        )
    first = made.next_run.timestamp()
    await until_lines(notes, 2)
    broker.kill()
    await anyio.sleep(4)
    await anyio.to_thread.run_sync(broker.start)
    back = time.time()
    await until(lambda: [due for due in due_times(notes.lines()) if due > back + 1], 30)
    record = await stopped(settings, "s")
    await until_lines(notes, record.runs)
    counts = Counter(due_times(notes.lines()))
    assert set(counts.values()) == {1}
    every = set(range(int(first), int(record.last_run) + 1))
    left_out = every - set(counts)
    assert record.missed == len(left_out)
    if misfire == "all":
        assert not left_out
    else:
        assert len(left_out) >= 2


async def test_the_server_is_killed_across_due_times_of_a_plain_schedule(
    broker, settings, start_worker, notes
):
    start_worker()
    async with (
        connect(settings=settings) as connection,
        naq.Queue("default", connection=connection) as queue,
    ):
        await queue.schedule(note, notes.path, cron=EVERY_SECOND, schedule_id="s")
    await until_lines(notes, 2)
    broker.kill()
    await anyio.sleep(2)
    await anyio.to_thread.run_sync(broker.start)
    back = time.time()
    await until(lambda: [due for due in due_times(notes.lines()) if due > back + 1], 30)
    record = await stopped(settings, "s")
    await until_lines(notes, record.runs)
    assert set(Counter(due_times(notes.lines())).values()) == {1}


async def test_the_last_worker_goes_and_runs_wait(settings, start_worker, start_scheduler, notes):
    worker = start_worker()
    start_scheduler().wait_ready()
    async with (
        connect(settings=settings) as connection,
        naq.Queue("default", connection=connection) as queue,
    ):
        made = await queue.schedule(
            note, notes.path, cron=EVERY_SECOND, misfire="all", schedule_id="s"
        )
        await until_lines(notes, 1)
        worker.signal(signal.SIGKILL)
        worker.wait()
        before = (await made.refresh()).runs
        await anyio.sleep(3)
        assert (await made.refresh()).runs >= before + 2
        await made.pause()
        start_worker()
        await until_lines(notes, made.runs, timeout=30)
    counts = Counter(due_times(notes.lines()))
    assert len(counts) == made.runs


async def test_clocks_that_differ(settings, monkeypatch, eventually):
    """A scheduler whose own clock is wrong by an hour goes by the server's."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    async with (
        connect(settings=settings) as connection,
        naq.Queue("default", connection=connection) as queue,
        anyio.create_task_group() as tasks,
    ):
        made = await queue.schedule(
            note, "x", cron=EVERY_SECOND, misfire="once", repeat=2, schedule_id="s"
        )
        assert abs(await connection.clock.now() - real()) < 1
        assert made.next_run - datetime.now(UTC) < timedelta(seconds=3)
        scheduler = Scheduler(connection=connection)
        await tasks.start(scheduler.run)

        async def finished():
            return (await made.refresh()).status is ScheduleStatus.FINISHED

        await eventually(finished)
        scheduler.stop()
        stats = await queue.stats()
    assert (made.runs, made.record.missed) == (2, 0)
    assert (stats.depth, stats.delayed) == (2, 0)


# ------------------------------------------------------------------ steps


async def until_lines(notes, count, timeout=30):
    await until(lambda: len(notes.lines()) >= count, timeout)


async def stopped(settings, schedule_id):
    """Pause a schedule; what it has come to."""
    async with connect(settings=settings) as connection:
        return await Schedules(connection).control(schedule_id, "pause")
