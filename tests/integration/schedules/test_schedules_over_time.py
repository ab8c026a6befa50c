"""Schedules over seconds of real time; on one event loop, since the others run the same code."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import anyio
import msgspec
import pytest
from depth import depth
from schedule_notes import note, ran

import naq
from examples.tasks import add, nap
from naq.exceptions import ConfigurationError, SerializationError
from naq.jobs.job import JobStatus
from naq.schedules.advance import _jitter
from naq.schedules.manage import Schedules
from naq.schedules.schedule import ScheduleStatus, run_id
from naq.schedules.scheduler import Scheduler
from naq.schedules.sweep import Sweep

EVERY_SECOND = "* * * * * *"
pytestmark = pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])


def soon(seconds=1.0):
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_without_a_worker_runs_wait(queue, run_worker, key, count, eventually):
    made = await queue.schedule(note, key, interval=1)

    async def fired():
        return (await queue.stats()).depth == 1

    await eventually(fired)
    await anyio.sleep(1.5)  # what is fired meanwhile takes the same place
    assert await depth(queue, 1) == 1
    async with run_worker():
        await count(key, 1)
        await made.cancel()


async def test_an_interval_keeps_its_phase(queue, run_worker, key, count):
    made = await queue.schedule(note, key, interval=2, schedule_id="two")
    first = made.next_run
    async with run_worker():
        ids = await count(key, 2)
        await made.cancel()
    assert ids[:2] == [run_id("two", first.timestamp() + 2 * n) for n in range(2)]


async def test_an_interval_the_server_counts_itself(queue, run_worker, key, count, monkeypatch):
    monkeypatch.setattr("naq.schedules.timing._as_cron", lambda *_: None)
    made = await queue.schedule(note, key, interval=1)
    assert made.record.timing.drifts
    async with run_worker():
        ids = await count(key, 3)
        await made.cancel()
    assert len(set(ids)) == len(ids)


async def test_it_starts_when_it_is_told_to(queue, run_worker, key, count):
    start = soon(2)
    made = await queue.schedule(note, key, cron=EVERY_SECOND, start=start)
    assert made.next_run >= start
    async with run_worker():
        await count(key, 2)
        await made.cancel()
    assert min(began for _, began in ran[key]) >= start.timestamp() - 0.05


async def test_it_ends_when_it_is_told_to(queue, run_worker, run_scheduler, key, eventually):
    end = soon(2.2)
    made = await queue.schedule(note, key, cron=EVERY_SECOND, end=end)
    first = made.next_run
    async with run_worker(), run_scheduler():

        async def finished():
            return (await made.refresh()).status is ScheduleStatus.FINISHED

        await eventually(finished)
        # It was made somewhere in a second: two or three begin until then.
        assert made.runs == int(end.timestamp()) - int(first.timestamp()) + 1
        assert made.last_run <= end

        async def all_run():
            return len(ran.get(key, ())) == made.runs

        await eventually(all_run)


async def test_what_the_server_cannot_say_goes_from_time_to_time(
    queue, run_worker, run_scheduler, key, count
):
    made = await queue.schedule(note, key, interval=1.25, schedule_id="odd")
    assert not made.record.plain
    first = made.record.anchor
    async with run_worker(), run_scheduler():
        ids = await count(key, 3)
        await made.cancel()
    assert ids[:3] == [run_id("odd", first + 1.25 * n) for n in range(3)]


async def test_jitter_delays_each_run_by_its_own_time(queue, run_worker, run_scheduler, key, count):
    made = await queue.schedule(note, key, cron=EVERY_SECOND, jitter=0.8, repeat=3)
    async with run_worker(), run_scheduler():
        await count(key, 3)
    delays = []
    for job_id, began in ran[key]:
        text = job_id.removeprefix(f"{made.id}-")
        due = datetime.strptime(f"{text[:-1]}+0000", "%Y%m%dT%H%M%S%z").timestamp()
        delays.append(_jitter(made.record, due))
        assert began - due >= delays[-1] - 0.05
    assert len(set(delays)) == 3
    assert all(0 <= delay <= 0.8 for delay in delays)


async def test_overlap_skip_leaves_out_what_would_run_beside(  # noqa: PLR0917
    queue, run_worker, run_scheduler, key, count, eventually
):
    made = await queue.schedule(note, key, 2.5, cron=EVERY_SECOND, overlap="skip")
    async with run_worker(concurrency=5), run_scheduler():
        await count(key, 2)
        await made.cancel()
    (_, first), (_, second) = ran[key][:2]
    assert second - first >= 2.5
    await made.refresh()
    assert made.record.missed >= 2


async def test_overlap_replace_cancels_the_last_run(queue, run_worker, run_scheduler, eventually):
    made = await queue.schedule(nap, 60, cron=EVERY_SECOND, overlap="replace")
    async with run_worker(concurrency=5), run_scheduler():

        async def ran_twice():
            await made.refresh()
            return made.runs >= 2

        await eventually(ran_twice)
        await made.cancel()
        last = queue.job(made.record.last_job)
        before = queue.job(run_id(made.id, made.last_run.timestamp() - 1))

        async def cancelled():
            return (await before.status()) is JobStatus.CANCELLED

        await eventually(cancelled)
        assert (await last.status()) in (JobStatus.RUNNING, JobStatus.PENDING)
        await last.cancel()


async def test_many_schedulers_queue_each_run_once(queue, connection, key, run_worker, count):
    made = await queue.schedule(note, key, cron=EVERY_SECOND, repeat=3)
    schedulers = [Scheduler(connection=connection, instance_id=f"s{n}") for n in range(3)]
    async with run_worker(), anyio.create_task_group() as tasks:
        for scheduler in schedulers:
            await tasks.start(scheduler.run)
        ids = await count(key, 3)
        for scheduler in schedulers:
            scheduler.stop()
    assert len(set(ids)) == 3
    assert (await made.refresh()).status is ScheduleStatus.FINISHED


async def test_another_definition_takes_its_place_and_keeps_what_it_has_come_to(
    queue, run_worker, key, count
):
    first = await queue.schedule(note, key, cron=EVERY_SECOND, schedule_id="x")
    async with run_worker():
        await count(key, 1)
        second = await queue.schedule(note, key, 0, cron="0 0 * * *", schedule_id="x")
    assert second.runs >= 1
    assert second.record.created_at == first.record.created_at
    assert second.record.cron == "0 0 * * *"
    await anyio.sleep(1.2)
    assert (await second.refresh()).runs == second.runs


async def test_paused_it_does_not_run_and_what_was_due_is_not_made_up_for(
    queue, run_worker, key, count
):
    made = await queue.schedule(note, key, cron=EVERY_SECOND)
    async with run_worker():
        await count(key, 1)
        await made.pause()
        paused_with = made.runs
        assert (made.status, made.next_run) == (ScheduleStatus.PAUSED, None)
        await made.pause()  # twice is once
        await anyio.sleep(2.2)
        assert (await made.refresh()).runs == paused_with
        await made.resume()
        await count(key, paused_with + 1)
        await made.cancel()
    assert made.record.missed == 0


async def test_rescheduling(queue, run_worker, run_scheduler, key, count):
    made = await queue.schedule(note, key, cron="0 0 1 1 *")
    async with run_worker(), run_scheduler():
        await made.reschedule(cron=EVERY_SECOND)
        await count(key, 1)
        await made.reschedule(interval=3600)
        assert made.record.cron is None
        left = made.next_run - datetime.now(UTC)
        assert timedelta(minutes=59) < left <= timedelta(hours=1, seconds=1)
        before = len(ran[key])
        await made.reschedule(next_run=soon())
        await count(key, before + 1)

        await made.refresh()
        left = made.next_run - datetime.now(UTC)
        assert timedelta(minutes=59) < left <= timedelta(hours=1)
        await made.reschedule(repeat=made.runs + 1, next_run=soon())
        await count(key, before + 2)


async def test_a_definition_that_cannot_be_read_concerns_nobody_else(  # noqa: PLR0917
    queue, connection, run_worker, run_scheduler, key, count, caplog
):
    names = connection.names
    for schedule_id, policy in (("bad1", {}), ("bad2", {"repeat": 5})):
        await queue.schedule(add, 1, 2, cron=EVERY_SECOND, schedule_id=schedule_id, **policy)
        await connection.store(names.schedule(schedule_id), b"\xc1 garbage")
    good = await queue.schedule(note, key, cron=EVERY_SECOND)
    with caplog.at_level(logging.ERROR, "naq"):
        async with run_worker(), run_scheduler():
            await count(key, 3)
    told = {name for name in ("bad1", "bad2") if f"schedule {name}: its definition" in caplog.text}
    assert told == {"bad1", "bad2"}

    schedules = Schedules(connection)
    listed = {record.id: record for record in await schedules.list()}
    assert listed["bad1"].status is ScheduleStatus.FAILED
    assert "cannot be read" in listed["bad1"].error
    assert listed[good.id].status is ScheduleStatus.ACTIVE
    with pytest.raises(SerializationError):
        await schedules.control("bad1", "pause")
    with pytest.raises(ConfigurationError, match="cancel it first"):
        await queue.schedule(add, 1, 2, interval=5, schedule_id="bad1")
    for schedule_id in ("bad1", "bad2"):
        assert (await schedules.control(schedule_id, "cancel")).status is ScheduleStatus.CANCELLED
    assert [record.id for record in await schedules.list()] == [good.id]
    await good.cancel()


@pytest.mark.parametrize("policy", [{}, {"misfire": "once"}], ids=["plain", "policy"])
async def test_the_sweep_sets_an_alarm_that_was_lost(  # noqa: PLR0917
    queue, connection, run_worker, run_scheduler, key, count, policy
):
    made = await queue.schedule(note, key, cron=EVERY_SECOND, **policy)
    names = connection.names
    await connection.streams.purge(names.jobs_stream, names.alarm(made.id))
    async with run_worker(), run_scheduler(poll_interval=1):
        await count(key, 3)
        await made.cancel()


async def test_the_sweep_queues_what_was_decided_and_not_queued(queue, connection, advance):
    made = await queue.schedule(add, 1, 2, interval=3600)
    record, seq = await advance.records.get(made.id)
    due = record.created_at
    decided = msgspec.structs.replace(record, pending=[due], runs=1, last_run=due)
    await advance.records.put(decided, seq)
    sweep = Sweep(connection, advance)
    await sweep.run()
    assert (await queue.stats()).depth == 0  # somebody may be at it
    await anyio.sleep(2.1)
    await sweep.run()
    await sweep.run()
    assert await depth(queue, 1) == 1
    assert (await made.refresh()).record.pending == []
    assert (await queue.job(run_id(made.id, due)).status()) is JobStatus.PENDING


async def test_workers_make_the_schedules_of_tasks(  # noqa: PLR0917
    connection, run_worker, key, count, eventually, monkeypatch
):
    monkeypatch.setattr("naq.schedules.declared.tasks", {})

    @naq.task(cron=EVERY_SECOND, schedule_id="declared", queue="default")
    def declared():
        note(key)

    monkeypatch.setitem(globals(), "declared", declared)
    declared.function.__qualname__ = "declared"
    async with run_worker():
        await count(key, 1)
        schedules = Schedules(connection)
        record = await schedules.get("declared")
        assert record.source == "task"
        with pytest.raises(ConfigurationError, match="belongs to task"):
            await naq.schedule(add, 1, 2, interval=5, schedule_id="declared")
        await schedules.control("declared", "cancel")
    async with run_worker():  # what an operator has cancelled stays cancelled
        await anyio.sleep(0.5)
        assert (await schedules.get("declared")).status is ScheduleStatus.CANCELLED
