"""An id that somebody chose is known while its job is there or its end is recorded, not longer."""

from __future__ import annotations

import anyio
import hypothesis
import pytest
from hypothesis import strategies as st

import naq
from naq.exceptions import JobNotFoundError, NaqConnectionError
from naq.jobs.deadletters import DeadLetters
from naq.jobs.job import JobRecord, JobStatus
from naq.jobs.results import Results
from naq.nats.connection import connect
from naq.queue.queue import Queue
from naq.worker.worker import Worker

ran: list[str] = []


async def note(tag):
    ran.append(tag)
    return tag


async def fail(tag):
    ran.append(tag)
    raise ValueError(tag)


async def run_all(connection):
    """Run what is queued."""
    with anyio.fail_after(30):
        await Worker(["default"], connection=connection, burst=True).run()


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


# What may become of a job, and whether its id is known then.


async def nothing(queue, job):
    pass


async def purge(queue, job):
    await queue.purge()


async def cancel(queue, job):
    assert await job.cancel()


async def end(queue, job):
    await run_all(queue._connection)


async def cancel_and_forget(queue, job):
    await job.cancel()
    assert await queue.forget(job.id)


async def end_and_forget(queue, job):
    await end(queue, job)
    assert await queue.forget(job.id)


async def end_and_expire(queue, job):
    """As the server does when a record's time is up."""
    await end(queue, job)
    assert await Results(queue._connection).delete(job.id)


async def end_and_delete_the_letter(queue, job):
    await end(queue, job)
    await DeadLetters(queue._connection).delete(job.id)


async def purge_between_attempts(queue, job):
    """Its record says that it has failed once, and no message of it is there."""
    record = JobRecord(
        id=job.id,
        queue="default",
        function="?",
        status=JobStatus.RETRYING,
        attempts=1,
        failures=1,
        enqueued_at=1.0,
    )
    assert await Results(queue._connection).put(record, ttl=None, expected=0)
    await queue.purge()


@pytest.mark.parametrize("delay", [None, 600])
@pytest.mark.parametrize(
    ("then", "known"),
    [
        (nothing, True),
        (purge, False),
        (purge_between_attempts, False),
        (cancel, True),
        (cancel_and_forget, False),
    ],
)
async def test_an_id_of_a_job_that_waits(connection, queue, delay, then, known):
    first = (
        await queue.enqueue(note, "first", job_id="a")
        if delay is None
        else await queue.enqueue_in(delay, note, "first", job_id="a")
    )
    assert not first.duplicate
    await then(queue, first)

    second = await queue.enqueue(note, "second", job_id="a")
    assert second.duplicate is known
    await run_all(connection)
    assert ("second" in ran) is not known
    if not known:
        assert await second.result(5) == "second"
        assert (await second.refresh()).attempts == 1


@pytest.mark.parametrize(
    ("function", "then", "known"),
    [
        (note, end, True),
        (note, end_and_forget, False),
        (note, end_and_expire, False),
        (fail, end, True),
        (fail, end_and_forget, False),
        (fail, end_and_delete_the_letter, False),
    ],
)
async def test_an_id_of_a_job_that_has_ended(connection, queue, function, then, known):
    first = await queue.enqueue(function, "first", job_id="a")
    await then(queue, first)

    later = await queue.enqueue_in(0, note, "second", job_id="a")
    assert later.duplicate is known
    many = await queue.enqueue_many([naq.call(note, "third").with_options(job_id="a")])
    assert many[0].duplicate
    await run_all(connection)
    assert ran == (["first"] if known else ["first", "second"])


async def test_an_id_is_one_for_all_queues_and_times(connection, queue):
    """Whether it is delayed or not, and in whichever queue."""
    async with Queue("other", connection=connection) as other:
        assert not (await other.enqueue_in(600, note, "x", job_id="late")).duplicate
        assert not (await other.enqueue(note, "x", job_id="now")).duplicate
        for job_id in ("late", "now"):
            assert (await queue.enqueue(note, "y", job_id=job_id)).duplicate
            assert (await queue.enqueue_in(600, note, "y", job_id=job_id)).duplicate


@pytest.mark.cluster
async def test_many_calls_with_one_id_at_once(connection, queue):
    jobs = []

    async def one(number):
        jobs.append(await queue.enqueue(note, f"call {number}", job_id="a"))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(one, number)
    await run_all(connection)
    assert sum(not job.duplicate for job in jobs) == len(ran) == 1
    (queued,) = (job for job in jobs if not job.duplicate)
    assert await queued.result(5) == ran[0]


async def test_one_id_twice_in_a_batch(connection, queue):
    call = naq.call(note, "x").with_options(job_id="a")
    jobs = await queue.enqueue_many([call, naq.call(note, "y"), call])
    assert [job.duplicate for job in jobs] == [False, False, True]
    assert "nothing queued" in repr(jobs[2])
    assert "nothing queued" not in repr(jobs[0])


@pytest.mark.cluster
async def test_forgetting(queue):
    waiting = await queue.enqueue(note, "x", job_id="a")
    assert not await queue.forget("a")
    assert await waiting.status() == "pending"
    with pytest.raises(JobNotFoundError, match="its id is new"):
        await queue.forget("nobody")
    await queue.purge()
    await (await queue.enqueue_in(600, note, "x", job_id="b")).cancel()
    assert await naq.forget("b")
    with pytest.raises(JobNotFoundError):
        await naq.forget("b")


async def test_no_answer_says_what_to_do(connection, queue, monkeypatch):
    """The call may be repeated with the id that the message names, chosen or not."""

    async def silent(*args, **kwargs):
        await store(*args, **kwargs)
        raise NaqConnectionError("no answer in time")

    store = connection.store
    monkeypatch.setattr(connection, "store", silent)
    with pytest.raises(NaqConnectionError, match="not known whether it is queued") as caught:
        await queue.enqueue(note, "x")
    monkeypatch.undo()
    job_id = str(caught.value).partition("job_id='")[2].partition("'")[0]

    assert (await queue.enqueue(note, "x", job_id=job_id)).duplicate
    await run_all(connection)
    assert (await queue.enqueue(note, "x", job_id=job_id)).duplicate
    assert ran == ["x"]


# A model of one id: what the documentation says, over any sequence of what may happen to it.

STEPS = st.lists(
    st.sampled_from(
        ["now", "later", "many", "purge", "run", "cancel", "forget", "expire", "delete"]
    ),
    min_size=2,
    max_size=10,
)


def test_whatever_happens_to_an_id(settings, anyio_backend):
    name, options = anyio_backend

    @hypothesis.settings(
        max_examples=12,
        suppress_health_check=list(hypothesis.HealthCheck),
        database=None,
    )
    @hypothesis.given(steps=STEPS, failing=st.booleans())
    def check(steps, failing):
        anyio.run(follow, settings, steps, failing, backend=name, backend_options=options)

    check()


class Model:
    """One id, and what naq is asked to do with it; each step is compared with the documentation."""

    def __init__(self, connection, queue, function):
        self.connection, self.queue, self.function = connection, queue, function
        self.state, self.expected, self.tag, self.count = "new", [], 0, 0

    async def enqueue(self, how):
        self.count += 1
        if how == "later":
            job = await self.queue.enqueue_in(600, self.function, self.count, job_id="a")
        elif how == "now":
            job = await self.queue.enqueue(self.function, self.count, job_id="a")
        else:
            call = naq.call(self.function, self.count).with_options(job_id="a")
            (job,) = await self.queue.enqueue_many([call])
        assert job.duplicate is (self.state != "new"), self.state
        if self.state == "new":
            self.state, self.tag = ("delayed" if how == "later" else "queued"), self.count

    async def now(self):
        await self.enqueue("now")

    async def later(self):
        await self.enqueue("later")

    async def many(self):
        await self.enqueue("many")

    async def purge(self):
        await self.queue.purge()
        if self.state in {"queued", "delayed"}:
            self.state = "new"

    async def run(self):
        await run_all(self.connection)
        if self.state == "queued":
            self.expected.append(self.tag)
            self.state = "ended"

    async def cancel(self):
        if self.state in {"queued", "delayed"}:
            assert await self.queue.cancel("a")
            self.state = "cancelled"

    async def forget(self):
        if self.state == "new":
            with pytest.raises(JobNotFoundError):
                await self.queue.forget("a")
            return
        ended = self.state in {"ended", "cancelled"}
        assert await self.queue.forget("a") is ended
        if ended:
            self.state = "new"

    async def expire(self):
        if self.state == "cancelled" or (self.state == "ended" and self.function is note):
            assert await Results(self.connection).delete("a")
            self.state = "new"

    async def delete(self):
        if self.state == "ended" and self.function is fail:
            await DeadLetters(self.connection).delete("a")
            self.state = "new"


async def follow(settings, steps, failing):
    ran.clear()
    async with connect(settings=settings) as connection, Queue(connection=connection) as queue:
        await queue.purge()
        names = connection.names
        for left in (names.result("a"), names.dead_letter("*", "a")):
            await connection.streams.purge(names.results_stream, left)
        model = Model(connection, queue, fail if failing else note)
        for step in steps:
            await getattr(model, step)()
            assert ran == model.expected, (step, model.state)
