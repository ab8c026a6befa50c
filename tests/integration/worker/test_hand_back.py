"""Jobs that are handed back without having run: nothing is counted, nothing is lost, at once."""

from __future__ import annotations

import time

import anyio
import msgspec
import pytest

import naq
from examples.tasks import nap
from naq.exceptions import JobExpiredError
from naq.jobs.coding.codec import Codec
from naq.jobs.job import Attempt, JobRecord, JobStatus
from naq.jobs.results import Results
from naq.nats.jetstream import ACK, NAK, nak
from naq.worker.execute import Outcome
from naq.worker.held import Held, Running
from naq.worker.life.deaths import Death, Delivery, Note, Stage, on_death
from naq.worker.life.leases import Leases
from naq.worker.settle import Settler

TIMES = 5
"""More often than a job may take workers down."""


async def tell():
    return naq.current_job().attempt


async def is_running(job):
    return await job.status() == JobStatus.RUNNING


def held_by(worker, job):
    async def look():
        return worker.held(job.id) is not None

    return look


async def record_of(connection, job):
    record, _ = await Results(connection).get(job.id)
    return record


async def is_pending(connection, job):
    record, _ = await Results(connection).get(job.id)
    return record is not None and record.status is JobStatus.PENDING


@pytest.mark.parametrize("chosen", [False, True])
@pytest.mark.parametrize("way", ["waits too long", "pause", "stop"])
async def test_a_job_that_waited_in_vain_was_not_tried(
    connection, run_worker, eventually, way, chosen
):
    """However often, and by whatever path it comes back."""
    async with (
        naq.Queue("busy", connection=connection) as busy,
        naq.Queue("other", connection=connection) as other,
    ):
        options = {"job_id": "mine"} if chosen else {}
        job = await other.enqueue(tell, **options)
        hold = 0.01 if way == "waits too long" else 60
        for _ in range(TIMES):
            await other.pause()
            delivered = getattr(await record_of(connection, job), "delivered", 0)
            async with run_worker("busy", "other", concurrency=1, hold=hold) as full:
                long = await busy.enqueue(nap, 60)
                await eventually(lambda long=long: is_running(long))
                await other.resume()
                if way != "waits too long":
                    await eventually(held_by(full, job))
                    getattr(full, way)()

                async def comes_back(before=delivered):
                    return getattr(await record_of(connection, job), "delivered", 0) > before

                await eventually(comes_back)
                await long.cancel()
            waited = await record_of(connection, job)
            assert (waited.attempts, waited.crashes, waited.lost) == (0, 0, 0)
        async with run_worker("other"):
            assert await job.result(timeout=10) == 1
    ran = await record_of(connection, job)
    assert (ran.attempts, ran.crashes, ran.lost, ran.history) == (1, 0, 0, ())


async def test_many_queues_and_one_slot(connection, run_worker):
    """Each quiet queue keeps a request standing, so that jobs come for which there is no slot."""
    queues = [naq.Queue(f"q{number}", connection=connection) for number in range(16)]
    jobs = []
    for queue in queues:
        async with queue:
            jobs.append(await queue.enqueue(nap, 0.05))
    async with run_worker(*(queue.name for queue in queues), concurrency=1, hold=0.01):
        for job in jobs:
            await job.result(timeout=50)
    for job in jobs:
        record, _ = await Results(connection).get(job.id)
        assert (record.attempts, record.crashes, record.lost, record.history) == (1, 0, 0, ())


async def test_a_job_that_was_handed_back_expires_like_any_other(
    connection, run_worker, eventually
):
    async with (
        naq.Queue("busy", connection=connection) as busy,
        naq.Queue("other", connection=connection) as other,
        run_worker("busy", "other", concurrency=1, hold=0.01),
    ):
        long = await busy.enqueue(nap, 60)
        await eventually(lambda: is_running(long))
        job = await other.enqueue(tell, expires=0.5)
        await eventually(lambda: is_pending(connection, job))
        await anyio.sleep(0.5)
        await long.cancel()
        with pytest.raises(JobExpiredError):
            await job.result(timeout=10)

        async def is_recorded():
            record, _ = await Results(connection).get(job.id)
            return record.status is JobStatus.EXPIRED

        await eventually(is_recorded)


# ------------------------------------------------------- the record was changed meanwhile


@pytest.fixture
def settlements(connection, monkeypatch):
    sent = []
    monkeypatch.setattr(connection, "ack", lambda _reply, data=ACK: sent.append(data))
    return sent


@pytest.fixture
def leases():
    return Leases(30, time.monotonic() - 1)


@pytest.fixture
def settler(connection, leases):
    codec = Codec.from_settings(connection.settings)
    results = Results(connection, codec=codec)
    return Settler(connection, results=results, codec=codec, worker="w", leases=leases)


@pytest.fixture
async def held(queue):
    """A job in hand, in its second delivery, that nothing is known of."""
    job = (await queue.enqueue(tell, max_retries=3)).message
    taken = Held(job.id, job.queue, b"", {}, "reply", Delivery(7, 2), time.monotonic())
    taken.job = job
    return taken


def record(held, status=JobStatus.PENDING, **fields):
    fields = {"seq": 7, "worker": "other"} | fields
    return JobRecord(id=held.id, queue=held.queue, function="f", status=status, **fields)


FAILED_BEFORE = {"attempts": 1, "failures": 1, "delivered": 1, "history": (Attempt(1, error="E"),)}
THERE = {
    "nothing": (None, nak(), (1, 0, 0, 1)),
    "of the delivery before": (FAILED_BEFORE, nak(), (1, 1, 0, 0)),
    "of this delivery": ({"attempts": 1, "delivered": 2}, nak(), (1, 0, 0, 0)),
    "of a later delivery": ({"attempts": 9, "delivered": 3}, None, (9, 0, 0, 0)),
    "of an end": ({"attempts": 1, "status": JobStatus.COMPLETED}, ACK, (1, 0, 0, 0)),
}


@pytest.mark.parametrize("there", THERE)
async def test_what_is_there_is_read_before_a_job_is_handed_back(
    connection, settler, settlements, held, there
):
    known, settlement, counts = THERE[there]
    if known is not None:
        await Results(connection).put(record(held, **known), ttl=None, expected=0)

    await settler.hand_back(held)

    assert settlements == ([] if settlement is None else [settlement])
    now, _ = await Results(connection).get(held.id)
    assert (now.attempts, now.failures, now.crashes, now.lost) == counts
    if settlement == nak():
        assert (now.status, now.seq, now.delivered) == (JobStatus.PENDING, 7, 2)


@pytest.mark.parametrize("there", THERE)
async def test_what_is_there_is_read_before_a_failure_is_settled(
    connection, settler, settlements, held, there
):
    known, settlement, counts = THERE[there]
    held.running = Running(held.job, None, 0.0)
    if known is not None:
        await Results(connection).put(record(held, **known), ttl=None, expected=0)
    failure = naq.jobs.job.Failure("E", "text")

    await settler.settle(held, held.running, Outcome(failure=failure, raised=("builtins:E",)))

    assert settlements == ([] if settlement is None else [settlement])
    now, _ = await Results(connection).get(held.id)
    if there in {"nothing", "of the delivery before"}:
        assert (now.status, now.seq, now.delivered) == (JobStatus.RETRYING, 7, 2)
        attempts, failures, crashes, lost = counts
        counts = (attempts + 1, failures + 1, crashes, lost)
        assert now.history[-1].error == "E: text"
        assert len(now.history) == now.attempts
    assert (now.attempts, now.failures, now.crashes, now.lost) == counts


async def test_a_job_that_has_ended_well_elsewhere_gets_no_dead_letter(
    connection, settler, settlements, held, queue
):
    held.running = Running(held.job, None, 0.0)
    there = record(held, JobStatus.COMPLETED, attempts=1)
    await Results(connection).put(there, ttl=None, expected=0)
    failure = naq.jobs.job.Failure("E", "text")
    held.job = msgspec.structs.replace(held.job, max_retries=0)
    held.running.job = held.job

    await settler.settle(held, held.running, Outcome(failure=failure, raised=("builtins:E",)))

    assert (await queue.stats()).dead == 0
    now, _ = await Results(connection).get(held.id)
    assert now.status is JobStatus.COMPLETED
    assert settlements == [b"+TERM failed"]


async def test_a_note_that_comes_late_is_counted_once(connection, settler, settlements, held):
    """The worker of the first delivery died, and this is written down after the second began."""
    await settler.read(held)
    death = Death(status=-11, started=2, worker="dead")
    note = on_death(None, Delivery(7, 1), Stage.STARTED, death, job_id=held.id, queue=held.queue)
    assert isinstance(note, Note)
    assert await Results(connection).put(note.record, ttl=None, expected=0)

    await settler.hand_back(held)

    now, _ = await Results(connection).get(held.id)
    assert (now.attempts, now.crashes, now.lost) == (1, 1, 0)
    assert [attempt.death for attempt in now.history] == ["crash"]
    assert settlements == [nak()]


async def test_a_record_that_cannot_be_read_is_replaced(connection, settler, settlements, held):
    await connection.store(connection.names.result(held.id), b"\xc1 no record")

    await settler.hand_back(held)

    now, _ = await Results(connection).get(held.id)
    assert now.status is JobStatus.PENDING
    assert settlements == [nak()]


async def test_a_job_that_is_delivered_again_while_it_is_held_was_not_lost(
    connection, settler, settlements, held
):
    held.delivery = Delivery(7, 1)
    held.again("newer", Delivery(7, 3), time.monotonic())

    await settler.hand_back(held)

    now, _ = await Results(connection).get(held.id)
    assert (now.attempts, now.lost, now.delivered) == (0, 0, 3)


# ------------------------------------------------------------------ a lease in doubt


async def test_a_job_that_may_be_with_another_worker_is_not_taken_from_it(
    connection, settler, settlements, leases, held
):
    leases.doubt(time.monotonic())

    await settler.hand_back(held)

    assert settlements == []
    now, _ = await Results(connection).get(held.id)
    assert now.status is JobStatus.PENDING


async def test_a_retry_whose_lease_is_in_doubt_is_scheduled(
    connection, settler, settlements, leases, held
):
    leases.doubt(time.monotonic())
    held.running = Running(held.job, None, 0.0)
    failure = naq.jobs.job.Failure("E", "text")

    await settler.settle(held, held.running, Outcome(failure=failure, raised=("builtins:E",)))

    assert settlements == [ACK]
    names = connection.names
    delayed = names.delayed(held.queue, held.id)
    queued = names.job(held.queue, held.id)
    found = [await connection.streams.get(names.jobs_stream, name) for name in (delayed, queued)]
    assert any(found)


def test_every_hand_back_has_a_delay_that_outlives_a_restart_of_the_server():
    assert nak() == nak(0) == nak(-1) == b'-NAK {"delay": 1000000}'
    assert nak(2.5) == b'-NAK {"delay": 2500000000}'
    assert nak().startswith(NAK)
    assert msgspec.json.decode(nak(0.25).removeprefix(b"-NAK ")) == {"delay": 250_000_000}
