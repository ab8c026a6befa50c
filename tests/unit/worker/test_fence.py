"""Which deliveries are not believed to be the first, and how their records are read."""

from __future__ import annotations

from types import SimpleNamespace

import anyio
import pytest

from naq.base.names import Names
from naq.exceptions import NaqConnectionError, SerializationError
from naq.jobs.coding.codec import Codec
from naq.jobs.job import JobRecord, JobStatus
from naq.nats.jetstream import EXPECTED_SEQUENCE, Raft
from naq.worker.held import Held
from naq.worker.intake.demand import Demand
from naq.worker.intake.fence import EVERYTHING, Fence, Mark
from naq.worker.intake.intake import Intake
from naq.worker.intake.lookups import TOGETHER, Lookups
from naq.worker.life.deaths import Delivery

NAMES = Names("naq")
CODEC = Codec()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


class Server:
    """What a fence asks a server, and leaves there."""

    def __init__(self, *, life="S1", last=0, delivered=0, clustered=False, since="t1"):
        self.names = NAMES
        self.streams = self
        self.server_id = life
        self.clustered = clustered
        self.since = since
        self.last = last
        self.delivered = delivered
        self.marks = {}
        self.away = 0
        self.asked = []
        self.meanwhile = None

    async def stream_info(self, stream):
        self.asked.append("stream")
        if self.away:
            self.away -= 1
            raise NaqConnectionError("no answer in time")
        if self.meanwhile is not None:
            self.meanwhile, then = None, self.meanwhile
            then()
        return SimpleNamespace(state=SimpleNamespace(last_seq=self.last))

    async def consumer_info(self, stream, consumer):
        self.asked.append(consumer)
        raft = Raft("n1", self.since) if self.clustered else None
        return SimpleNamespace(delivered=SimpleNamespace(consumer_seq=self.delivered), cluster=raft)

    async def last_of(self, stream, filters):
        return [
            SimpleNamespace(subject=subject, data=body, headers={}, seq=seq)
            for subject, (body, seq) in self.marks.items()
            if subject in filters
        ]

    def store_soon(self, done, subject, body, headers):
        assert int(headers[EXPECTED_SEQUENCE]) == self.marks.get(subject, (b"", 0))[1]
        self.marks[subject] = body, self.last + 1

    def mark(self, queue, life, seq):
        self.marks[NAMES.fence(queue)] = CODEC.seal(Mark(life, seq))[0], 7

    def left(self, queue):
        body, _ = self.marks[NAMES.fence(queue)]
        return CODEC.open(Mark, body, {})


async def found(server, *queues):
    fence = Fence(server, CODEC, queues or ("default",))
    assert fence.seq == EVERYTHING
    await fence.find()
    return fence.seq


class TestFind:
    """Where the fence is."""

    async def test_a_queue_of_which_nothing_was_delivered_has_none(self, anyio_backend):
        server = Server(last=1000)
        assert await found(server) == 0
        assert server.left("default") == Mark("S1", 0)

    async def test_without_a_mark_it_is_the_end_of_the_stream(self, anyio_backend):
        server = Server(last=1000, delivered=1)
        assert await found(server) == 1000
        assert server.left("default") == Mark("S1", 1000)

    async def test_in_the_same_life_it_is_where_others_have_found_it(self, anyio_backend):
        server = Server(last=1000, delivered=500)
        server.mark("default", "S1", 700)
        assert await found(server) == 700
        assert server.asked == []

    async def test_in_another_life_it_is_the_end_of_the_stream(self, anyio_backend):
        server = Server(life="S2", last=1000)
        server.mark("default", "S1", 700)
        assert await found(server) == 1000
        assert server.left("default") == Mark("S2", 1000)

    async def test_what_is_no_mark_is_not_believed(self, anyio_backend):
        server = Server(last=1000)
        server.marks[NAMES.fence("default")] = b"?", 7
        assert await found(server) == 1000
        assert server.left("default") == Mark("S1", 1000)

    async def test_of_several_queues_it_is_the_furthest(self, anyio_backend):
        server = Server(life="S2", last=1000)
        server.mark("mail", "S2", 800)
        server.mark("default", "S2", 900)
        assert await found(server, "mail", "default") == 900
        server.mark("default", "S1", 900)
        assert await found(server, "mail", "default") == 1000
        assert server.left("mail") == Mark("S2", 800)

    async def test_in_a_cluster_a_term_of_the_leader_is_a_life(self, anyio_backend):
        server = Server(last=1000, clustered=True, delivered=1)
        assert await found(server) == 1000
        assert server.left("default") == Mark("n1 t1", 1000)
        server.last = 2000
        assert await found(server) == 1000
        server.since = "t2"
        assert await found(server) == 2000

    async def test_what_has_no_terms_in_a_cluster_is_never_believed(self, anyio_backend):
        server = Server(last=1000, clustered=True, since="", delivered=1)
        assert await found(server) == 1000
        server.last = 2000
        assert await found(server) == 2000
        assert server.marks == {}


class TestKeep:
    """Doubts that come later."""

    async def test_all_is_in_doubt_until_the_server_has_answered(self, anyio_backend, eventually):
        server = Server(last=1000, delivered=1)
        fence = Fence(server, CODEC, ["default"])
        await fence.find()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fence.keep)
            server.server_id, server.last, server.away = "S2", 2000, 2
            fence.doubt()
            assert fence.seq == EVERYTHING
            await eventually(lambda: is_true(fence.seq == 2000))
            tasks.cancel_scope.cancel()

    async def test_a_doubt_while_it_is_found_begins_it_again(self, anyio_backend, eventually):
        server = Server(last=1000, delivered=1)
        fence = Fence(server, CODEC, ["default"])

        def another_life():
            server.server_id, server.last = "S2", 2000
            fence.doubt()

        server.meanwhile = another_life
        await fence.find()
        assert fence.seq == EVERYTHING
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fence.keep)
            await eventually(lambda: is_true(fence.seq == 2000))
            tasks.cancel_scope.cancel()


async def is_true(value):
    return value


def reply(seq, delivered=1):
    return SimpleNamespace(reply=f"$JS.ACK.NAQ.q_default_normal.{delivered}.{seq}.{seq}.1.5")


def test_a_delivery_is_doubted_up_to_the_fence_and_behind_what_has_come_already():
    fence = SimpleNamespace(seq=10, doubt=lambda: None)
    intake = Intake(SimpleNamespace(), ["default"], fence)
    demand, taken = Demand("default"), []

    def take(queue, message, delivery, doubted):
        taken.append((delivery.seq, delivery.delivered, doubted))

    intake._on_jobs(demand, take, [reply(9), reply(10), reply(11), reply(12)])
    intake._on_jobs(demand, take, [reply(13), reply(11), reply(8, 2)])
    assert taken == [
        *[(9, 1, True), (10, 1, True), (11, 1, False), (12, 1, False)],
        *[(13, 1, False), (11, 1, True), (8, 2, True)],
    ]
    intake._on_break(demand)  # the sequences may begin anew
    fence.seq = 0
    intake._on_jobs(demand, take, [reply(1)])
    assert taken[-1] == (1, 1, False)


class Results:
    """Records, as they are looked up."""

    def __init__(self, records, *, away=0):
        self.records = records
        self.away = away
        self.asked = []
        self.go_on = None

    async def look_up(self, ids):
        self.asked.append(len(ids))
        if self.go_on is not None:
            await self.go_on.wait()
        if self.away:
            self.away -= 1
            raise NaqConnectionError("no answer in time")
        return {job_id: self.records[job_id] for job_id in ids if job_id in self.records}


def job(name):
    return Held(name, "default", b"", {}, f"ack.{name}", Delivery(1, 1), 0.0)


ENDED = JobRecord(id="b", queue="default", function="f", status=JobStatus.COMPLETED)


class TestLookups:
    """Records that are read when jobs arrive."""

    async def test_each_job_gets_its_record_in_the_order_in_which_they_came(
        self, anyio_backend, eventually
    ):
        broken = SerializationError("it is not signed")
        results = Results({"b": (ENDED, 5), "c": (broken, 6)}, away=1)
        known = []
        lookups = Lookups(results, known=known.append)
        for name in "abc":
            lookups.add(job(name))
        assert len(lookups) == 3
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lookups.run)
            await eventually(lambda: is_true(len(known) == 3))
            tasks.cancel_scope.cancel()

        assert [(one.id, one.record, one.expected, one.plain, one.known) for one in known] == [
            ("a", None, 0, True, True),
            ("b", ENDED, 5, False, True),
            ("c", None, 6, False, True),
        ]
        assert results.asked == [3, 3]
        assert len(lookups) == 0

    async def test_many_are_read_by_few_requests(self, anyio_backend, eventually):
        results, known = Results({}), []
        lookups = Lookups(results, known=known.append)
        for number in range(2 * TOGETHER + 1):
            lookups.add(job(str(number)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lookups.run)
            await eventually(lambda: is_true(len(known) == 2 * TOGETHER + 1))
            tasks.cancel_scope.cancel()
        assert results.asked == [TOGETHER, TOGETHER, 1]

    async def test_who_stops_gets_all_back_and_may_go_on(self, anyio_backend, eventually):
        results, known = Results({}), []
        results.go_on = anyio.Event()
        lookups = Lookups(results, known=known.append)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lookups.run)
            for number in range(TOGETHER + 1):
                lookups.add(job(str(number)))
            await eventually(lambda: is_true(bool(results.asked)))
            assert [one.id for one in lookups.drain()] == [str(n) for n in range(TOGETHER + 1)]
            assert len(lookups) == 0
            results.go_on.set()
            lookups.add(job("later"))
            await eventually(lambda: is_true(bool(known)))
            tasks.cancel_scope.cancel()
        assert [one.id for one in known] == ["later"]
