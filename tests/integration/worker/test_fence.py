"""Where the fence is after a server, or a leader, has begun another life."""

from __future__ import annotations

import msgspec
import pytest

from examples.tasks import add
from naq.jobs.coding.codec import Codec
from naq.jobs.job import JobMessage, JobRecord, JobStatus
from naq.jobs.results import Results
from naq.nats.connection import connect
from naq.queue.queue import Queue
from naq.worker.intake.fence import Fence, Mark

CODEC = Codec()


async def found(connection):
    fence = Fence(connection, CODEC, ["default"])
    await fence.find()
    return fence.seq


async def last_seq(connection):
    return (await connection.streams.stream_info(connection.names.jobs_stream)).state.last_seq


@pytest.mark.cluster
async def test_workers_find_the_same_until_somebody_begins_another_life(queue, connection):
    await queue.enqueue(add, 1, 2)
    assert await found(connection) == 0
    await queue.enqueue(add, 1, 2)
    assert await found(connection) == 0

    subject = connection.names.fence("default")
    stored = await connection.streams.get(connection.names.jobs_stream, subject)
    body, headers = CODEC.seal(Mark("another life", 1))
    await connection.streams.put_if(subject, body, headers, expected=stored.seq)
    last = await last_seq(connection)
    assert await found(connection) == last
    await queue.enqueue(add, 1, 2)
    assert await found(connection) == last


async def test_a_term_of_a_consumers_leader_is_a_life(cluster, anyio_backend):
    async with (
        connect(settings=cluster.settings()) as connection,
        Queue("default", connection=connection) as queue,
    ):
        names = connection.names
        await queue.enqueue(add, 1, 2)
        assert await found(connection) == 0
        leader = await cluster.leader(names.jobs_stream, names.consumer("default"))
        follower = cluster.others(leader)[0]
        await cluster.lead(connection, follower, names.jobs_stream, names.consumer("default"))
        last = await last_seq(connection)

        assert await found(connection) == last
        await queue.enqueue(add, 1, 2)
        assert await found(connection) == last


async def test_a_job_that_has_ended_and_comes_for_the_first_time_is_only_acknowledged(
    queue, connection, run_worker, eventually, monkeypatch
):
    """As from a consumer that has forgotten it: the record is there before the message."""
    results = Results(connection)
    for job_id in ("ended", "broken"):
        ended = JobRecord(
            id=job_id, queue="default", function="f", status=JobStatus.COMPLETED, worker="before"
        )
        assert await results.put(ended, ttl=None, expected=0)
    body, headers = CODEC.seal(Mark("another life", 0))
    await connection.streams.put_if(connection.names.fence("default"), body, headers, expected=0)
    job = await queue.enqueue(add, 1, 2)
    message = await connection.streams.get(
        connection.names.jobs_stream, connection.names.job("default", job.id)
    )
    same = msgspec.structs.replace(CODEC.open(JobMessage, message.data, {}), id="ended")
    for subject, body in (("ended", CODEC.seal(same)[0]), ("broken", b"?")):
        await connection.store(
            connection.names.job("default", subject), body, {"Nats-Msg-Id": subject}
        )
    async with run_worker() as worker:
        assert await job.result(timeout=10) == 3

        async def is_empty():
            stats = await queue.stats()
            return not (stats.depth or stats.running)

        await eventually(is_empty)
        assert worker.processed == 1
    for job_id in ("ended", "broken"):
        assert (await results.get(job_id))[0].worker == "before"
