"""Calls that are given no connection share one per event loop, whoever opened it."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading

import anyio
import pytest
import trio

import naq
from naq.exceptions import NaqConnectionError
from naq.nats.connection import open_here
from naq.nats.link import client


def add(a, b):
    return a + b


@naq.task(queue="mail")
def send(number):
    return number


def on_uvloop(main, *args):
    uvloop = pytest.importorskip("uvloop")
    return uvloop.run(main(*args))


def on_asyncio(main, *args):
    return asyncio.run(main(*args))


LOOPS = [on_asyncio, on_uvloop, trio.run]
pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def environment(settings, monkeypatch):
    monkeypatch.setenv("NAQ_NATS_URL", settings.nats_url)
    monkeypatch.setenv("NAQ_PREFIX", settings.prefix)


@pytest.fixture
def opened(monkeypatch):
    """The clients that were started, each of which is a connection to the server."""
    clients = []
    run = client.Client.run

    async def counted(self, **options):
        clients.append(self)
        await run(self, **options)

    monkeypatch.setattr(client.Client, "run", counted)
    return clients


async def requests(number=20):
    """As a web server does it: each request is a task that was not started by the lifespan."""
    jobs = []

    async def request(index):
        jobs.append(await send.enqueue(index))
        assert isinstance(await naq.list_workers(), list)

    async with anyio.create_task_group() as tasks:
        for index in range(number):
            tasks.start_soon(request, index)
    assert len({job.id for job in jobs}) == number


@pytest.mark.parametrize("run", LOOPS)
def test_one_connection_for_all_calls_until_the_loop_ends(opened, run):
    async def main():
        await requests()
        await requests()
        (connection,) = open_here()
        assert connection.connected

    run(main)
    gc.collect()  # what was not closed would warn, and a warning is an error here
    assert len(opened) == 1
    assert not opened[0].connected
    run(main)
    assert len(opened) == 2


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("named", [False, True])
def test_requests_use_the_connection_of_the_lifespan(opened, settings, run, named):
    async def main():
        async with anyio.create_task_group() as tasks:
            down = anyio.Event()

            async def lifespan(*, task_status):  # noqa: ASYNC114
                async with naq.connect(settings.nats_url if named else None):
                    task_status.started()
                    await down.wait()

            await tasks.start(lifespan)
            await requests()
            assert len(opened) == 1
            down.set()
        assert open_here() == []
        await naq.enqueue(add, 1, 2)

    run(main)
    assert len(opened) == 2


def test_where_only_a_block_says_where_the_server_is(opened, settings, monkeypatch, tmp_path):
    monkeypatch.delenv("NAQ_NATS_URL")
    monkeypatch.chdir(tmp_path)

    async def main():
        up, down = asyncio.Event(), asyncio.Event()

        async def lifespan():
            async with naq.connect(settings.nats_url):
                up.set()
                await down.wait()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(lifespan())
            await up.wait()
            await requests()
            down.set()

    asyncio.run(main())
    assert len(opened) == 1


@pytest.mark.parametrize("run", LOOPS)
def test_a_block_that_ends_waits_for_calls_that_use_its_connection(opened, run):
    async def main():
        ready, go = anyio.Event(), anyio.Event()

        async def borrower():
            async with naq.Queue() as queue:
                ready.set()
                await go.wait()
                await queue.enqueue(add, 1, 2)

        async with anyio.create_task_group() as tasks:

            async def lifespan(*, task_status):  # noqa: ASYNC114
                async with naq.connect():
                    task_status.started()
                    await ready.wait()
                    tasks.start_soon(leave)

            async def leave():
                await anyio.lowlevel.checkpoint()
                go.set()

            await tasks.start(lifespan)
            tasks.start_soon(borrower)

    run(main)
    assert len(opened) == 1


def test_other_places_have_others(opened, settings, monkeypatch):
    async def main():
        await naq.enqueue(add, 1, 2)
        monkeypatch.setenv("NAQ_PREFIX", f"{settings.prefix}b")
        await naq.enqueue(add, 1, 2)
        await naq.enqueue(add, 1, 2, nats_url=settings.nats_url)
        assert len(opened) == 2

    asyncio.run(main())


def test_each_loop_has_its_own(opened):
    def program():
        asyncio.run(requests(3))

    threads = [threading.Thread(target=program) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 3


@pytest.mark.parametrize("run", LOOPS)
def test_all_who_wait_hear_that_there_is_no_server(settings, monkeypatch, run):
    async def main():
        monkeypatch.setenv("NAQ_NATS_URL", "nats://127.0.0.1:1")
        problems = []

        async def call():
            with pytest.raises(NaqConnectionError, match="no NATS server answers") as caught:
                await naq.enqueue(add, 1, 2)
            problems.append(caught.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(call)
        assert len(set(map(id, problems))) == 3
        monkeypatch.setenv("NAQ_NATS_URL", settings.nats_url)
        await naq.enqueue(add, 1, 2)

    run(main)


@pytest.mark.parametrize("run", LOOPS)
def test_a_call_that_is_cancelled_ends_nothing_for_the_others(opened, run):
    async def main():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(requests, 2)
            with anyio.move_on_after(0) as scope:
                await naq.enqueue(add, 1, 2)
        assert scope.cancelled_caught
        await requests(2)

    run(main)
    assert len(opened) == 1


def test_a_handle_that_outlives_its_loop(opened):
    """It asks through the shared connection of the loop it is used in."""
    job = asyncio.run(naq.enqueue(add, 1, 2))

    async def main():
        for _ in range(3):
            assert await job.status() == "pending"
        assert await job.cancel()

    asyncio.run(main())
    assert len(opened) == 2


@pytest.mark.parametrize("run", LOOPS)
def test_a_loop_may_end_while_a_connection_is_being_opened(monkeypatch, run):
    """Nothing is left behind, and nobody waits."""
    listener = socket.create_server(("127.0.0.1", 0))  # takes the connection and says nothing
    monkeypatch.setenv("NAQ_NATS_URL", f"nats://127.0.0.1:{listener.getsockname()[1]}")

    async def main():
        with anyio.move_on_after(0.05) as scope:
            await naq.enqueue(add, 1, 2)
        assert scope.cancelled_caught

    with listener:
        run(main)
    gc.collect()


def test_a_child_opens_its_own():
    """As under ``gunicorn --preload``: the application has used naq before the fork."""

    async def main():
        await naq.enqueue(add, 1, 2)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                from naq.jobs import shared

                code = 2 if open_here() or shared._shared else 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
        assert os.waitstatus_to_exitcode(status) == 0
        await naq.enqueue(add, 1, 2)

    asyncio.run(main())
