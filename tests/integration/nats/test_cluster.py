"""A cluster of three nodes, and what tests may do to it: what other tests of clusters stand on."""

from __future__ import annotations

import anyio.to_thread
import pytest

from examples.tasks import add
from naq.nats.connection import connect
from naq.queue.queue import Queue


@pytest.fixture(params=[("asyncio", {})], ids=["asyncio"])
def anyio_backend(request):
    """What is true of the servers does not depend on the event loop; a marked test has its own."""
    return request.param


@pytest.mark.cluster
async def test_a_job_from_enqueue_to_its_end(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(add, 2, 3)

        assert await job.result(timeout=20) == 5


@pytest.fixture
async def link(cluster, anyio_backend):
    """A connection to any node; streams with three replicas."""
    async with connect(settings=cluster.settings()) as opened:
        yield opened


async def test_whoever_is_asked_to_leads(cluster, link):
    async with Queue("default", connection=link):
        stream, consumer = link.names.jobs_stream, link.names.consumer("default")
        for node in cluster.nodes:
            await cluster.lead(link, node, stream)
            assert await cluster.leader(stream) is node
        for node in cluster.nodes:
            await cluster.lead(link, node, stream, consumer)
            assert await cluster.leader(stream, consumer) is node


async def test_a_node_whose_routes_are_cut_sees_nobody(cluster, eventually, anyio_backend):
    alone, *others = cluster.nodes

    def seen():
        return {one["remote_name"] for one in alone.monitor("routez")["routes"]}

    async def sees(*names):
        return await anyio.to_thread.run_sync(seen) == set(names)

    with cluster.cut(alone):
        await eventually(sees)
    await eventually(lambda: sees(*(node.name for node in others)))


async def test_a_lame_duck_hands_over_what_it_leads(cluster, link):
    async with Queue("default", connection=link) as queue:
        stream = link.names.jobs_stream
        leader = await cluster.leader(stream)

        leader.lame_duck()
        job = await queue.enqueue(add, 1, 2)

        assert await cluster.leader(stream) is not leader
        assert (await queue.job(job.id).status()) == "pending"
