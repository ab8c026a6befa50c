"""Schedules on the real server, on every event loop."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import anyio
import msgspec
import pytest
from depth import depth
from schedule_notes import note, ran

import naq
from examples.tasks import add
from naq.exceptions import ConfigurationError, JobNotFoundError, SerializationError
from naq.jobs.coding.codec import Codec
from naq.jobs.job import JobStatus
from naq.nats.connection import use_connection
from naq.queue import delayed
from naq.schedules.manage import Schedules
from naq.schedules.records import Records
from naq.schedules.schedule import ScheduleStatus, run_id
from naq.schedules.scheduler import Scheduler
from naq.schedules.sweep import Sweep

EVERY_SECOND = "* * * * * *"
NEW_YEAR = "0 0 1 1 *"


def soon(seconds=1.0):
    return datetime.now(UTC) + timedelta(seconds=seconds)


# ------------------------------------------------------------------ plain schedules


async def test_a_plain_schedule_needs_no_scheduler(queue, run_worker, key, count):
    made = await queue.schedule(note, key, cron=EVERY_SECOND, schedule_id="beat")
    async with run_worker():
        ids = await count(key, 3)
        await made.cancel()

    assert len(set(ids)) == len(ids)
    assert all(job_id.startswith("beat-20") for job_id in ids)
    for job_id, began in ran[key]:
        due = datetime.strptime(job_id, "beat-%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        assert began >= due - 0.05
    await made.refresh()
    assert made.runs == len(ids)
    assert made.status is ScheduleStatus.CANCELLED
    assert made.next_run is None


@pytest.mark.cluster
async def test_what_is_said_of_a_schedule(queue):
    made = await queue.schedule(add, 1, 2, cron="0 7 * * mon-fri", timezone="Europe/Berlin")

    assert made.id.startswith("add-")
    assert made.function_name == "examples.tasks:add"
    assert (made.queue, made.status, made.runs) == ("default", ScheduleStatus.ACTIVE, 0)
    assert made.next_run.astimezone(UTC).hour in (5, 6)
    assert made.last_run is None
    assert "add 0 7 * * mon-fri active" in repr(made)


async def test_runs_have_the_options_of_the_schedule(queue, run_worker, eventually):
    made = await queue.schedule(
        add, 1, "x", interval=1, schedule_id="bad", max_retries=0, meta={"a": 1}, expires=60
    )
    async with run_worker():

        async def failed():
            await made.refresh()
            return made.runs >= 1 and (await job.refresh()).status is JobStatus.FAILED

        async def has_run():
            await made.refresh()
            return made.last_run

        last = await eventually(has_run)
        job = queue.job(run_id("bad", last.timestamp()))
        await eventually(failed)  # a run that fails does not end the schedule
        assert made.status is ScheduleStatus.ACTIVE
        await made.cancel()


async def test_a_function_that_is_not_there_fails_the_run_and_not_the_schedule(
    queue, run_worker, eventually
):
    made = await queue.schedule("nowhere.tasks:gone", interval=1, schedule_id="gone")
    async with run_worker():

        async def dead():
            return (await queue.stats()).dead >= 1

        await eventually(dead)
    await made.refresh()
    assert made.status is ScheduleStatus.ACTIVE
    info = await queue.job(run_id("gone", made.last_run.timestamp())).refresh()
    assert info.status is JobStatus.FAILED
    assert "nowhere" in info.error.message
    await made.cancel()


async def test_a_firing_for_what_exists_twice_runs_once(queue, connection, advance):
    made = await queue.schedule(add, 1, 2, cron="30 2 * * *", timezone="Europe/Berlin")
    records = Records(connection, Codec.from_settings(connection.settings))
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    record, seq = await records.get(made.id)
    await records.put(msgspec.structs.replace(record, cursor=first - 60), seq)

    await advance.fire(made.id, first, record.revision)
    await advance.fire(made.id, first + 3600, record.revision)  # 02:30 again

    await made.refresh()
    assert (made.runs, made.last_run.timestamp()) == (1, first)
    assert await depth(queue, 1) == 1


async def test_a_firing_for_what_does_not_exist_runs_and_the_next_one_is_set(
    queue, connection, advance
):
    made = await queue.schedule(add, 1, 2, cron="30 2 * * *", timezone="Europe/Berlin")
    names = connection.names
    stored = await connection.streams.get(names.jobs_stream, names.gap_alarm(made.id))
    gap = datetime.fromisoformat(stored.headers["Nats-Schedule"].removeprefix("@at "))
    assert (gap.month, gap.hour, gap.minute) == (3, 1, 30)  # 03:30 in summer time

    records = Records(connection, Codec.from_settings(connection.settings))
    record, seq = await records.get(made.id)
    await records.put(msgspec.structs.replace(record, cursor=gap.timestamp() - 60), seq)
    await advance.fire(made.id, gap.timestamp(), record.revision)

    await made.refresh()
    assert (made.runs, made.last_run) == (1, gap)
    stored = await connection.streams.get(names.jobs_stream, names.gap_alarm(made.id))
    later = datetime.fromisoformat(stored.headers["Nats-Schedule"].removeprefix("@at "))
    assert later.year == gap.year + 1


# ------------------------------------------------------------------ policies


async def test_repeat_runs_so_often(queue, run_worker, run_scheduler, key, count, eventually):  # noqa: PLR0917
    made = await queue.schedule(note, key, cron=EVERY_SECOND, repeat=2)
    async with run_worker(), run_scheduler():
        await count(key, 2)

        async def finished():
            return (await made.refresh()).status is ScheduleStatus.FINISHED

        await eventually(finished)
        await anyio.sleep(1.2)
    assert len(ran[key]) == 2
    assert made.runs == 2


async def test_last_days_of_months_are_due_on_them(queue):
    made = await queue.schedule(add, 1, 2, cron="0 9 L * *")
    following = made.next_run + timedelta(days=1)
    assert following.day == 1


@pytest.mark.parametrize(("misfire", "runs"), [("skip", 0), ("once", 1), ("all", 4)])
async def test_misfires(queue, connection, advance, misfire, runs):
    made = await queue.schedule(
        add, 1, 2, cron="0 * * * *", misfire=misfire, misfire_cap=4, misfire_grace=1, jitter=0.001
    )
    records = Records(connection, Codec.from_settings(connection.settings))
    record, seq = await records.get(made.id)
    hour = 3600 * (int(await connection.clock.now()) // 3600)
    if await connection.clock.now() - hour < 2:  # the last due time is not late yet
        await anyio.sleep(2)
    await records.put(msgspec.structs.replace(record, cursor=hour - 9.5 * 3600), seq)

    await advance.tick(made.id)
    await advance.tick(made.id)

    await made.refresh()
    assert made.runs == runs
    assert made.record.missed == 10 - runs
    if runs:
        assert made.record.last_run == hour
    assert made.record.pending == []


async def test_one_tick_in_many_hands_queues_once(queue, connection, advance):
    made = await queue.schedule(add, 1, 2, cron=EVERY_SECOND, repeat=1, misfire="all")
    await anyio.sleep(1.1)
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(advance.tick, made.id)
    assert (await made.refresh()).runs == 1
    assert await depth(queue, 1) == 1


# ------------------------------------------------------------------ changing them


async def test_the_same_again_changes_nothing(queue):
    first = await queue.schedule(add, 1, 2, interval=60)
    again = await queue.schedule(add, 1, 2, interval=60)
    assert (again.id, again.record) == (first.id, first.record)


async def test_a_pause_survives_the_same_definition(queue):
    made = await queue.schedule(add, 1, 2, interval=60)
    await made.pause()
    again = await queue.schedule(add, 1, 2, interval=60)
    changed = await queue.schedule(add, 1, 2, interval=60, schedule_id=made.id, jitter=1)
    assert again.status is changed.status is ScheduleStatus.PAUSED


async def test_what_has_ended_cannot_be_changed(queue):
    made = await queue.schedule(add, 1, 2, interval=60)
    await made.cancel()
    await made.cancel()
    for change in (made.pause, made.resume):
        with pytest.raises(ConfigurationError, match="is cancelled"):
            await change()
    with pytest.raises(ConfigurationError, match="is cancelled"):
        await made.reschedule(interval=5)
    again = await queue.schedule(add, 1, 2, interval=60)
    assert (again.id, again.status) == (made.id, ScheduleStatus.ACTIVE)


async def test_what_would_never_be_due_again_is_refused(queue):
    with pytest.raises(ConfigurationError, match="never due"):
        await queue.schedule(add, 1, 2, cron="0 0 1 1 *", start=soon(5), end=soon(6))


async def test_there_is_no_such_schedule(queue, connection):
    for action in ("pause", "resume", "cancel", "reschedule"):
        with pytest.raises(JobNotFoundError, match="no schedule nix"):
            await Schedules(connection).control("nix", action)
    with pytest.raises(JobNotFoundError):
        await Schedules(connection).run_now("nix")


@pytest.mark.cluster
async def test_a_run_now_is_beside_the_others(queue, run_worker):
    made = await queue.schedule(add, 2, 3, cron="0 0 1 1 *")
    await made.pause()
    async with run_worker():
        job = await made.run_now()
        assert await job.result(5) == 5
    assert (await made.refresh()).runs == 0


async def test_a_pause_and_a_firing_at_the_same_time(queue, advance):
    """Whoever is first wins; after the answer to a pause nothing is queued any more."""
    for number in range(10):
        name = f"race{number}"
        made = await queue.schedule(add, 1, 2, cron=NEW_YEAR, schedule_id=name)
        at = made.next_run.timestamp()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(advance.fire, name, at, made.record.revision)
            tasks.start_soon(made.pause)
        await made.refresh()
        assert made.status is ScheduleStatus.PAUSED
        assert made.record.pending == []
        assert await depth(queue, made.runs) == made.runs
        await advance.fire(name, made.record.timing.next(at), made.record.revision)
        assert await depth(queue, made.runs) == made.runs
        await Schedules(advance._connection).remove(name)
        await queue.purge()


async def test_rescheduling_and_a_firing_at_the_same_time(queue, advance):
    for number in range(10):
        name = f"race{number}"
        made = await queue.schedule(add, 1, 2, cron=NEW_YEAR, schedule_id=name)
        at = made.next_run.timestamp()
        old = made.record.revision
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(advance.fire, name, at, old)
            tasks.start_soon(lambda made=made: made.reschedule(cron="0 0 1 2 *"))
        await made.refresh()
        assert made.runs in (0, 1)
        assert await depth(queue, made.runs) == made.runs
        await advance.fire(name, made.record.timing.next(at), old)
        assert (await made.refresh()).runs == (await queue.stats()).depth
        assert made.record.cron == "0 0 1 2 *"
        await Schedules(advance._connection).remove(name)
        await queue.purge()


# ------------------------------------------------------------------ killed at each step


class Killed(BaseException):
    """What a process that is killed raises: nothing that is caught."""


@pytest.fixture
def dying(connection, monkeypatch):
    """``with dying(2)``: whoever stores is killed once the second message is stored."""

    @contextmanager
    def die(after):
        stores = 0
        real = connection.store

        async def store(*args, **kwargs):
            nonlocal stores
            if stores == after:
                raise Killed
            stores += 1
            return await real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(connection, "store", store)
            with suppress(Killed):
                yield

    return die


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("policy", [{}, {"misfire": "all"}], ids=["plain", "policy"])
async def test_whoever_is_killed_at_a_step_the_run_is_queued_once(  # noqa: PLR0917
    queue, connection, advance, dying, step, policy
):
    made = await queue.schedule(add, 1, 2, cron=NEW_YEAR, schedule_id="s", **policy)
    records = Records(connection, Codec.from_settings(connection.settings))
    record, seq = await records.get("s")
    due = record.timing.last(1, 0.0, record.created_at)[0]
    record = msgspec.structs.replace(record, cursor=due - 1, misfire_grace=1e9).timed()
    await records.put(record, seq)

    async def fired():
        if policy:
            await advance.tick("s")
        else:
            await advance.fire("s", due, record.revision, again=True)

    with dying(step):
        await fired()
    await fired()  # by whom the server hands it to then

    await made.refresh()
    assert (made.runs, made.last_run.timestamp(), made.record.pending) == (1, due, [])
    names = connection.names
    # What is stored, not what the consumer has counted: it does so a moment later.
    stored = await connection.streams.count(names.jobs_stream, names.queue_filter("default"))
    assert stored == 1
    assert (await queue.job(run_id("s", due)).status()) is JobStatus.PENDING
    alarm = await connection.streams.get(connection.names.jobs_stream, connection.names.alarm("s"))
    assert alarm.headers["Naq-Revision"] == str(made.record.revision)


@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize("policy", [{}, {"misfire": "all"}], ids=["plain", "policy"])
async def test_whoever_makes_or_changes_one_is_killed_at_a_step(  # noqa: PLR0917
    queue, connection, advance, dying, step, policy
):
    names = connection.names
    with dying(step):
        await queue.schedule(add, 1, 2, cron=NEW_YEAR, schedule_id="s", **policy)
    made = await queue.schedule(add, 1, 2, cron=NEW_YEAR, schedule_id="s", **policy)
    assert await connection.streams.get(names.jobs_stream, names.alarm("s"))

    with dying(step):
        await made.reschedule(interval=3600)
    await made.refresh()
    # The alarm from before, should it ever fire, is replaced and queues nothing.
    await advance.fire("s", time.time(), 1, again=True)
    assert (await queue.stats()).depth == 0
    alarm = await connection.streams.get(names.jobs_stream, names.alarm("s"))
    assert alarm.headers["Naq-Revision"] == str(made.record.revision)


# ------------------------------------------------------------------ faults


async def test_a_definition_signed_for_another_schedule_is_not_believed(queue, connection):
    made = await queue.schedule(add, 1, 2, interval=60, schedule_id="a")
    names = connection.names
    stored = await connection.streams.get(names.jobs_stream, names.schedule("a"))
    await connection.store(names.schedule("b"), stored.data)
    with pytest.raises(SerializationError, match="definition of a"):
        await Schedules(connection).get("b")
    await made.cancel()


async def test_a_firing_that_is_not_for_a_schedule_is_dropped(
    queue, connection, run_worker, eventually
):
    await connection.store(connection.names.fire("default", "nix"), b"")
    async with run_worker():

        async def gone():
            return (await queue.stats()).depth == 0

        await eventually(gone)


async def test_jobs_no_worker_would_ever_see_are_queued_again(
    queue, connection, run_worker, advance, eventually
):
    """A consumer that somebody configured with max_deliver gives jobs up without a word."""
    names = connection.names
    stream, consumer = names.jobs_stream, names.consumer("lost")
    config = {
        "durable_name": consumer,
        "ack_policy": "explicit",
        "filter_subject": names.queue_filter("lost"),
        "max_deliver": 1,
        "ack_wait": 200_000_000,
        "max_waiting": 512,
    }
    await connection.streams.api(
        f"$JS.API.CONSUMER.CREATE.{stream}.{consumer}.{names.queue_filter('lost')}",
        {"stream_name": stream, "config": config},
    )
    async with naq.Queue("lost", connection=connection) as lost:
        job = await lost.enqueue(add, 2, 3)
        taken = []
        pull = connection.pull(stream, consumer, on_jobs=taken.extend, on_lost=lambda _: None)
        pull.request(
            2
        )  # the first one is taken and forgotten; the server finds nothing for the second

        async def given_up():
            info = await connection.streams.api(f"$JS.API.CONSUMER.INFO.{stream}.{consumer}")
            return info["delivered"]["consumer_seq"] and info["num_ack_pending"] == 0

        await eventually(given_up)
        await pull.stop()
        await Sweep(connection, advance).run()
        async with run_worker("lost"):
            assert await job.result(5) == 5


# ------------------------------------------------------------------ delayed jobs


@pytest.mark.cluster
async def test_delayed_jobs_are_listed_moved_and_cancelled(queue, connection, run_worker):
    later = await queue.enqueue_in(3600, add, 1, 2)
    much_later = await queue.enqueue_in(7200, add, 3, 4)

    listed = await delayed.list_delayed(connection)
    assert [job.id for job in listed] == [later.id, much_later.id]
    assert listed[0].function == "examples.tasks:add"
    assert abs(listed[0].due_at - later.due_at.timestamp()) < 0.001

    moved = await delayed.move(connection, much_later.id, time.time() + 60)
    assert moved.id == much_later.id
    info = await much_later.refresh()
    assert info.status is JobStatus.SCHEDULED
    assert info.due_at - datetime.now(UTC) < timedelta(seconds=61)
    listed = await delayed.list_delayed(connection, "default")
    assert [job.id for job in listed] == [much_later.id, later.id]

    async with run_worker():
        await delayed.move(connection, much_later.id, time.time())
        assert await much_later.result(5) == 7
    assert await later.cancel()
    assert await delayed.list_delayed(connection) == []
    with pytest.raises(JobNotFoundError):
        await delayed.move(connection, later.id, time.time())


async def test_one_rule_for_a_schedule_and_a_delayed_job(queue, connection, run_worker):
    await queue.schedule(add, 1, 2, interval=3600, schedule_id="hourly")
    paused = await delayed.control(connection, "hourly", "pause")
    assert (paused.kind, paused.id, paused.status, paused.next_run) == (
        "schedule",
        "hourly",
        "paused",
        None,
    )
    ran = await delayed.control(connection, "hourly", "run-now")
    assert ran.run.startswith("hourly-")
    assert (await queue.job(ran.run).status()) is JobStatus.PENDING

    job = await queue.enqueue_in(3600, add, 1, 2)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    moved = await delayed.control(connection, job.id, "reschedule", next_run=tomorrow, cron=None)
    assert (moved.kind, moved.status) == ("job", "scheduled")
    assert moved.next_run == tomorrow.timestamp()
    for action, changes, said in [
        ("pause", {}, "is a delayed job"),
        ("resume", {}, "is a delayed job"),
        ("reschedule", {}, "give next_run"),
        ("reschedule", {"cron": "@daily", "next_run": tomorrow}, "cron: .* runs once"),
        ("reschedule", {"next_run": 5}, "give a datetime"),
    ]:
        with pytest.raises(ConfigurationError, match=said):
            await delayed.control(connection, job.id, action, **changes)
    assert (await delayed.control(connection, job.id, "run-now")).run == job.id
    async with run_worker():
        assert await job.result(5) == 3


async def test_control_leaves_other_jobs_alone(queue, connection):
    job = await queue.enqueue_in(3600, add, 1, 2)
    assert (await delayed.control(connection, job.id, "cancel")).status == "cancelled"
    queued = await queue.enqueue(add, 1, 2)
    for name in (job.id, queued.id, "nobody"):
        with pytest.raises(JobNotFoundError, match="no schedule or delayed job"):
            await delayed.control(connection, name, "cancel")
    assert (await queued.status()) is JobStatus.PENDING


async def test_long_retries_are_listed(queue, connection, run_worker, eventually):
    job = await queue.enqueue(add, 1, "x", max_retries=1, retry_delay=600)
    async with run_worker():

        async def waits():
            return await delayed.find_delayed(connection, job.id)

        found = await eventually(waits)
    assert (found.attempt, found.function) == (2, "examples.tasks:add")
    await job.cancel()


# ------------------------------------------------------------------ the other ways in


async def test_module_functions(connection, settings):
    use_connection(connection)
    made = await naq.schedule(add, 1, 2, interval=60, schedule_id="m")
    assert [s.id for s in await naq.list_schedules()] == ["m"]
    assert (await naq.pause_scheduled_job("m")).status is ScheduleStatus.PAUSED
    assert (await naq.resume_scheduled_job("m")).status is ScheduleStatus.ACTIVE
    assert (await naq.modify_scheduled_job("m", cron="0 0 * * *")).record.interval is None
    assert (await naq.get_schedule("m")).record.cron == "0 0 * * *"
    assert (await naq.cancel_scheduled_job("m")).status is ScheduleStatus.CANCELLED
    assert made.id == "m"


def test_sync_twins(settings, monkeypatch):
    monkeypatch.setenv("NAQ_NATS_URL", settings.nats_url)
    monkeypatch.setenv("NAQ_PREFIX", settings.prefix)
    made = naq.schedule_sync(add, 1, 2, interval=60, schedule_id="s")
    assert made.pause_sync().status is ScheduleStatus.PAUSED
    assert made.resume_sync().status is ScheduleStatus.ACTIVE
    assert made.reschedule_sync(cron="0 0 * * *").record.cron == "0 0 * * *"
    assert naq.get_schedule_sync("s").id == "s"
    assert [s.id for s in naq.list_schedules_sync()] == ["s"]
    assert made.run_now_sync().function_name == "examples.tasks:add"
    assert naq.pause_scheduled_job_sync("s").status is ScheduleStatus.PAUSED
    assert naq.resume_scheduled_job_sync("s").status is ScheduleStatus.ACTIVE
    assert naq.modify_scheduled_job_sync("s", interval=5).record.interval == 5
    assert naq.cancel_scheduled_job_sync("s").status is ScheduleStatus.CANCELLED
    assert made.refresh_sync().status is ScheduleStatus.CANCELLED


async def test_a_scheduler_that_is_stopped_before_it_runs_ends_at_once(connection):
    scheduler = Scheduler(connection=connection)
    scheduler.stop()
    with anyio.fail_after(20):
        await scheduler.run()
