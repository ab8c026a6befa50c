"""Whoever waits is woken: on a connection that hears nothing, without a server, in a cluster."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import anyio
import anyio.to_thread
import pytest
import trio

from examples.tasks import add, nap
from naq.dashboard.pages import live
from naq.dashboard.state import Changes
from naq.exceptions import JobCancelledError, JobExecutionError, JobExpiredError, NaqConnectionError
from naq.jobs import presence
from naq.jobs.inspect.backend import Backend
from naq.jobs.job import Job, JobRecord, JobStatus
from naq.jobs.results import Results
from naq.jobs.runtime import runtime
from naq.nats import watch
from naq.nats.connection import Connection, connect
from naq.nats.streams import REQUEST_TIMEOUT
from naq.queue.queue import Queue
from naq.worker.worker import Worker


def fail():
    raise ValueError("no luck")


# ------------------------------------------------------------------ nothing is heard


@pytest.fixture
def deaf(monkeypatch):
    """No connection hears an event or a reconnect; a look may come soon."""
    monkeypatch.setattr(Connection, "subscription", lambda *_: nullcontext())
    monkeypatch.setattr(Connection, "link_listener", lambda *_: nullcontext())
    monkeypatch.setattr(watch, "FIRST_ALONE", 0.01)
    monkeypatch.setattr(live, "LOOK", 0.01)


async def a_result(queue):
    job = await queue.enqueue(nap, 0.2)
    return partial(job.result, timeout=30)


async def an_error(queue):
    job = await queue.enqueue(fail)

    async def wait():
        with pytest.raises(JobExecutionError):
            await job.result()

    return wait


async def the_result_of_what_may_expire(queue):
    job = await queue.enqueue(nap, 0.2, expires=60)
    return partial(job.result, timeout=30)


async def an_expiry_that_nobody_records(queue):
    async with Queue("nobody-serves-it", connection=queue._connection) as other:
        job = await other.enqueue(add, 1, 1, expires=0.1)

    async def wait():
        with pytest.raises(JobExpiredError):
            await job.result()

    return wait


async def a_cancelled_job(queue):
    job = await queue.enqueue_in(3600, add, 1, 1)

    async def cancel():
        await anyio.sleep(0.1)
        assert await job.cancel()

    async def wait():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel)
            with pytest.raises(JobCancelledError):
                await job.result()

    return wait


async def a_result_without_an_event_loop(queue):
    job = await queue.enqueue(nap, 0.2)
    return partial(anyio.to_thread.run_sync, job.result_sync, 30)


async def a_delayed_job(queue):
    job = await queue.enqueue_in(0.3, add, 1, 1)
    return partial(job.result, timeout=30)


async def a_run_of_a_schedule(queue):
    schedule = await queue.schedule(add, 1, 1, interval=1)

    async def wait():
        await (await schedule.run_now()).result(timeout=30)

    return wait


@pytest.fixture
def place(monkeypatch):
    """``place(settings)``: what programs without a connection of their own find."""

    def found(settings):
        monkeypatch.setenv("NAQ_NATS_URL", settings.nats_url)
        monkeypatch.setenv("NAQ_PREFIX", settings.prefix)

    yield found
    runtime().close()


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize(
    "what",
    [
        a_result,
        an_error,
        the_result_of_what_may_expire,
        an_expiry_that_nobody_records,
        a_cancelled_job,
        a_result_without_an_event_loop,
        a_delayed_job,
        a_run_of_a_schedule,
    ],
)
async def test_whoever_hears_nothing_is_woken(what, queue, run_worker, settings, place):
    place(settings)
    async with run_worker():
        wait = await what(queue)
        with anyio.fail_after(30):
            await wait()


@pytest.mark.usefixtures("deaf")
async def test_a_worker_that_hears_nothing_is_announced_again(connection, settings, eventually):
    quick = replace(settings, worker_heartbeat_interval=0.05)
    async with anyio.create_task_group() as tasks:
        worker = Worker(["default"], name="ada", settings=quick, connection=connection)
        await tasks.start(worker.run)
        names = connection.names
        await connection.streams.purge(names.workers_stream, names.presence(">"))  # as in a restart

        async def is_announced():
            return "ada" in await presence.announced(connection)

        await eventually(is_announced)
        worker.stop()
        worker.stop()


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("anyio_backend", [("trio", {})])
async def test_a_page_that_hears_nothing_is_current(connection):
    changes = Changes()
    shown = trio.Event()

    async def render(_path):
        number = await connection.streams.count(connection.names.jobs_stream, "*.j.>")
        if number:
            shown.set()
        return {"live_jobs": str(number)}

    async with Queue("default", connection=connection) as queue, trio.open_nursery() as tasks:
        hub = live.Hub(render, changes)
        reading = hub.open("/")
        tasks.start_soon(hub.run)
        tasks.start_soon(hub.listen, connection)
        await queue.enqueue(add, 1, 1)
        with trio.fail_after(30):
            await shown.wait()
        hub.close(reading)
        tasks.cancel_scope.cancel()


# ------------------------------------------------------------------ nobody answers


@pytest.fixture
def unanswered(monkeypatch):
    """The first question without an answer waits for a moment only, and sets an event."""
    ask, failed = Connection.request, anyio.Event()

    async def request(self, subject, data=b"", *, timeout=REQUEST_TIMEOUT):  # noqa: ASYNC109
        try:
            return await ask(self, subject, data, timeout=timeout if failed.is_set() else 0.2)
        except NaqConnectionError:
            failed.set()
            raise

    monkeypatch.setattr(Connection, "request", request)
    return failed


@pytest.mark.parametrize("what", [a_result, the_result_of_what_may_expire])
async def test_a_wait_goes_on_while_the_server_is_away(server, own, what, unanswered):
    async with (
        connect(settings=own) as connection,
        anyio.create_task_group() as tasks,
        Queue("default", connection=connection) as queue,
    ):
        wait = await what(queue)
        server.kill()
        tasks.start_soon(wait)
        await unanswered.wait()
        await server.start()
        await tasks.start(Worker(["default"], burst=True, connection=connection).run)


async def test_the_caller_says_how_long(server, own, unanswered):
    async with (
        connect(settings=own) as connection,
        Queue("default", connection=connection) as queue,
    ):
        job = await queue.enqueue(add, 1, 1)
        server.kill()
        with pytest.raises(TimeoutError):
            await job.result(timeout=0.5)
        assert unanswered.is_set()


async def test_no_wait_outlives_its_connection(settings, anyio_backend):
    ended = []

    async def wait(job):
        with pytest.raises(NaqConnectionError, match="was closed"):
            await job.result()
        ended.append(job.id)

    async with (
        anyio.create_task_group() as tasks,
        connect(settings=settings) as connection,
        Queue("default", connection=connection) as queue,
    ):
        job = await queue.enqueue(add, 1, 1)
        tasks.start_soon(wait, job)
        await anyio.wait_all_tasks_blocked()
    assert ended == [job.id]


# ------------------------------------------------------------------ a cluster


class Cut:
    """A waiter on a node that is cut off, and a result that is stored on the other side."""

    def __init__(self, cluster, monkeypatch):
        self.cluster = cluster
        self.settings = cluster.settings()
        self.looked = anyio.Event()
        get = Results.get

        async def seen(results, job_id, **options):
            found = await get(results, job_id, **options)
            self.looked.set()
            return found

        monkeypatch.setattr(Results, "get", seen)

    def on(self, *nodes):
        return connect(settings=self.cluster.settings(*nodes, prefix=self.settings.prefix))

    async def run(self, cut):
        """Wait on a follower while ``cut(follower)`` is in force and the result is stored."""
        async with self.on() as connection, Queue("default", connection=connection) as queue:
            job = await queue.enqueue(add, 1, 2)
            leader = await self.cluster.leader(connection.names.results_stream)
            follower, third = self.cluster.others(leader)
        async with (
            self.on(follower) as far,
            self.on(leader, third) as near,
            anyio.create_task_group() as tasks,
        ):
            with cut(follower):
                tasks.start_soon(self.wait, Job(job.message, Backend(far)))
                await self.looked.wait()
                record = JobRecord(
                    id=job.id,
                    queue="default",
                    function="f",
                    status=JobStatus.COMPLETED,
                    value=b"3",
                    encoding="json",
                )
                assert await Results(near).put(record, ttl=None, expected=0)

    async def wait(self, job):
        assert await job.result(timeout=50) == 3


@pytest.fixture
def on_a_follower(cluster, monkeypatch):
    return Cut(cluster, monkeypatch)


async def test_a_follower_that_is_behind(cluster, on_a_follower, anyio_backend):
    """It answers the look from what it has, and the leader hears of the waiter too late."""
    await on_a_follower.run(cluster.stalled)


async def test_a_follower_whose_routes_were_gone(cluster, on_a_follower, anyio_backend):
    """The client's own link is whole all the time."""
    await on_a_follower.run(cluster.cut)
