"""What is declared on a server, and making it what the settings ask for while jobs flow."""

from __future__ import annotations

import logging
from dataclasses import replace

import anyio
import pytest

from examples.tasks import add
from naq.exceptions import ServerRefusedError
from naq.jobs.layout import ensure_counters, ensure_streams
from naq.nats.connection import connect
from naq.queue import topology
from naq.queue.queue import Queue
from naq.worker.worker import Worker


async def test_what_is_not_there_is_made(connection):
    before = await topology.topology(connection)
    await topology.apply(connection)
    after = await topology.topology(connection)

    assert [one.exists for one in before] == [False] * 5
    assert [(one.exists, one.replicas, one.changes) for one in after] == [(True, 1, {})] * 5
    await ensure_streams(connection)
    await ensure_counters(connection)


async def test_limits_are_given_and_taken_away(connection, settings):
    await topology.apply(connection)
    limited = replace(settings, max_bytes=100_000_000, max_consumers=50, max_ack_pending=7)
    async with connect(settings=limited) as asking:
        wanted = await topology.topology(asking)
        await topology.apply(asking)
        assert not any(one.changes for one in await topology.topology(asking))
        info = await asking.streams.stream_info(asking.names.jobs_stream)
        assert info.config["max_bytes"] == 100_000_000
        async with Queue("default", connection=asking) as queue:
            await queue.enqueue(add, 1, 1)
            consumer = asking.names.consumer("default")
            answer = await asking.streams.api(
                f"$JS.API.CONSUMER.INFO.{asking.names.jobs_stream}.{consumer}"
            )
            assert answer["config"]["max_ack_pending"] == 7
    assert wanted[0].changes["max_bytes"] == (-1, 100_000_000)
    await topology.apply(connection)
    assert not any(one.changes for one in await topology.topology(connection))


async def test_more_copies_than_nodes_are_refused_with_the_servers_words(connection, settings):
    await topology.apply(connection)
    async with connect(settings=replace(settings, replicas=3)) as asking:
        with pytest.raises(ServerRefusedError, match="replicas"):
            await topology.apply(asking)


async def test_fewer_copies_than_asked_for_are_said(connection, settings, caplog):
    await topology.apply(connection)
    async with connect(settings=replace(settings, replicas=3)) as asking:
        with caplog.at_level(logging.WARNING, "naq.connection"):
            await ensure_streams(asking)
    assert "has 1 of the 3 replicas that NAQ_REPLICAS asks for" in caplog.text


@pytest.mark.parametrize("limit", [{"max_bytes": 10**7}, {"max_age": 10**12}, {"max_msgs": 1000}])
@pytest.mark.parametrize(("at", "lost"), [(0, "jobs that wait"), (1, "dead letters")])
async def test_a_stream_that_drops_what_was_acknowledged_is_named(  # noqa: PLR0917
    connection, settings, limit, at, lost, caplog
):
    await topology.apply(connection)
    stream = (await topology.topology(connection))[at].stream
    info = await connection.streams.stream_info(stream)
    await connection.streams.update_stream({**info.config, **limit})
    said = [one.warning for one in await topology.topology(connection)]
    assert [bool(text) for text in said] == [at == 0, at == 1, False, False, False]
    async with connect(settings=settings) as asking:
        with caplog.at_level(logging.WARNING, "naq.connection"):
            await ensure_streams(asking)
    assert f"the stream {stream} is limited by {next(iter(limit))}" in caplog.text
    assert lost in caplog.text


async def test_from_one_copy_to_three_and_back_while_jobs_flow(cluster, anyio_backend):
    one = cluster.settings(replicas=1)
    async with (
        connect(settings=one) as connection,
        Queue("default", connection=connection) as queue,
        anyio.create_task_group() as tasks,
    ):
        worker = Worker(["default"], connection=connection)
        await tasks.start(worker.run)
        jobs = []

        async def flow():
            for n in range(200):
                jobs.append(await queue.enqueue(add, n, 1))
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as flowing:
            flowing.start_soon(flow)
            for replicas in (3, 1):
                async with connect(settings=replace(one, replicas=replicas)) as asking:
                    await topology.apply(asking)
                    found = await topology.topology(asking)
                    assert {stream.replicas for stream in found} == {replicas}
        for n, job in enumerate(jobs):
            assert await job.result(timeout=30) == n + 1
        worker.stop()
