"""A loop over nats-py and nothing else: take, publish a result that is acknowledged, ack."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING

import nats

from benchmarks.peers.programs import jobs
from benchmarks.peers.programs.driver import URL
from naq.base.names import Names
from naq.jobs.coding.codec import Codec
from naq.jobs.job import JobRecord, JobStatus
from naq.settings import Settings

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

CONCURRENCY = int(os.environ["BENCH_CONCURRENCY"])
GATE = os.environ["BENCH_GATE"]
HEADERS = {"Nats-TTL": "604800", "Nats-Expected-Last-Subject-Sequence": "0"}


def record() -> bytes:
    """Return a final record, as naq writes one."""
    now = time.time()
    codec = Codec.from_settings(Settings())
    value, encoding = codec.encode_value(None)
    made = JobRecord(
        id="0" * 22,
        queue="default",
        function="benchmarks.peers.programs.jobs:noop",
        status=JobStatus.COMPLETED,
        enqueued_at=now,
        started_at=now,
        finished_at=now,
        attempts=1,
        worker="w" * 22,
        seq=1,
        delivered=1,
        value=value,
        encoding=encoding,
    )
    return codec.seal(made)[0]


async def fetch(js: JetStreamContext, names: Names, messages: asyncio.Queue[Msg]) -> None:
    """Keep the loops busy: ask for as many jobs again as there are slots."""
    consumer, stream = names.consumer("default"), names.jobs_stream
    subscription = await js.pull_subscribe_bind(consumer=consumer, stream=stream)
    while True:
        try:
            got = await subscription.fetch(CONCURRENCY, timeout=5)
        except nats.errors.TimeoutError:
            continue
        for message in got:
            await messages.put(message)


async def handle(js: JetStreamContext, names: Names, messages: asyncio.Queue[Msg]) -> None:
    """Handle one job after the other."""
    body = record()
    while True:
        message = await messages.get()
        if b":gate" in message.data:
            await jobs.gate(GATE, 0.005)
        job = message.subject.rpartition(".")[2]
        await js.publish(names.result(job), body, headers=HEADERS)
        await message.ack()


class Pipelined:
    """The fastest loop we know: publish without waiting, ack when the answer comes.

    Jobs are asked for by standing requests, as naq does: ``fetch`` holds back what it has got
    while it waits for the rest of its batch.
    """

    def __init__(self, link: Client, names: Names) -> None:
        self._link = link
        self._names = names
        self._body = record()
        self._inbox = link.new_inbox()
        self._jobs = link.new_inbox()
        self._asked = 0
        self._waiting: dict[str, Msg] = {}

    async def run(self) -> None:
        """Have up to twice CONCURRENCY jobs between delivery and ack, until killed."""
        await self._link.subscribe(f"{self._inbox}.*", cb=self._answered)
        await self._link.subscribe(self._jobs, cb=self._delivered)
        await self._ask()
        await asyncio.Event().wait()

    async def _ask(self) -> None:
        consumer, stream = self._names.consumer("default"), self._names.jobs_stream
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        while self._asked <= CONCURRENCY:
            self._asked += CONCURRENCY
            request = {"batch": CONCURRENCY, "expires": 30_000_000_000}
            await self._link.publish(subject, json.dumps(request).encode(), self._jobs)

    async def _delivered(self, message: Msg) -> None:
        if not message.reply:  # a request has ended; it says how much of it was left
            self._asked -= int((message.headers or {}).get("Nats-Pending-Messages", "0"))
        else:
            self._asked -= 1
            if b":gate" in message.data:
                await jobs.gate(GATE, 0.005)
            job = message.subject.rpartition(".")[2]
            self._waiting[job] = message
            reply = f"{self._inbox}.{job}"
            await self._link.publish(self._names.result(job), self._body, reply, HEADERS)
        await self._ask()

    async def _answered(self, answer: Msg) -> None:
        message = self._waiting.pop(answer.subject.rpartition(".")[2])
        await self._link.publish(message.reply, b"+ACK")


async def main() -> None:
    """Run until killed."""
    link = await nats.connect(URL)
    js, names = link.jetstream(), Names()
    messages: asyncio.Queue[Msg] = asyncio.Queue(CONCURRENCY)
    # The queue is made by naq's producer, which may be later than this.
    while True:
        try:
            await js.consumer_info(names.jobs_stream, names.consumer("default"))
            break
        except nats.js.errors.NotFoundError:
            await asyncio.sleep(0.02)
    if os.environ["BENCH_VARIANT"] == "pipelined":
        await Pipelined(link, names).run()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fetch(js, names, messages))
        for _ in range(CONCURRENCY):
            tasks.create_task(handle(js, names, messages))


if __name__ == "__main__":
    asyncio.run(main())
