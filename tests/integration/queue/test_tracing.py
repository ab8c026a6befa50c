"""Traces through queues: who is whose parent, on every loop, and where a header must survive."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import naq
from examples.tasks import add
from naq.exceptions import JobExecutionError, PayloadTooLargeError
from naq.jobs.deadletters import DeadLetters
from naq.jobs.runtime import runtime
from naq.nats.connection import BATCH
from naq.queue import delayed as _delayed
from naq.queue import send as _send
from naq.queue.tracing import Tracing
from naq.schedules.sweep import Sweep
from naq.worker import handler


class Spans:
    """What was made; spans of workers are ended a moment after the result is there."""

    def __init__(self, exporter, eventually):
        self.exporter = exporter
        self._eventually = eventually

    async def get(self, number):
        async def enough():
            return len(self.exporter.get_finished_spans()) >= number

        await self._eventually(enough)
        found = self.exporter.get_finished_spans()
        assert len(found) == number
        return sorted(found, key=lambda span: span.start_time)


@pytest.fixture
def provider():
    made = TracerProvider()
    yield made
    made.shutdown()


@pytest.fixture
def spans(monkeypatch, provider, eventually):
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(provider)
    for module in (_send, handler):
        monkeypatch.setattr(module, "tracing", lambda: tracing)
    return Spans(exporter, eventually)


@pytest.fixture
async def queue(spans, connection):
    """As everywhere, but opened when traces are made already."""
    async with naq.Queue("default", connection=connection) as opened:
        yield opened


def is_child(span, parent):
    return (span.parent.span_id, span.context.trace_id) == (
        parent.context.span_id,
        parent.context.trace_id,
    )


def current():
    return f"{trace.get_current_span().get_span_context().span_id:x}"


async def current_on_the_loop():
    await anyio.lowlevel.checkpoint()
    return current()


def fail():
    raise ValueError("no luck")


async def enqueue_another():
    await (await naq.enqueue(add, 1, 2)).result(10)


async def enqueue_for_another_worker():
    return (await naq.enqueue(add, 1, 2, queue_name="other")).id


def enqueue_another_from_its_thread():
    naq.enqueue_sync(add, 1, 2).result_sync(10)


async def test_an_attempt_is_a_child_of_its_enqueue(queue, run_worker, spans):
    async with run_worker():
        job = await queue.enqueue(add, 2, 3)
        assert await job.result(10) == 5
        sent, ran = await spans.get(2)

    assert (sent.name, sent.kind) == ("enqueue default", SpanKind.PRODUCER)
    assert dict(sent.attributes) == {
        "messaging.system": "nats",
        "messaging.destination.name": "default",
        "messaging.operation.type": "send",
        "messaging.operation.name": "enqueue",
        "messaging.message.id": job.id,
        "naq.job.function": "examples.tasks:add",
    }
    assert sent.parent is None
    assert (ran.name, ran.kind) == ("process default", SpanKind.CONSUMER)
    assert dict(ran.attributes) == {
        "messaging.system": "nats",
        "messaging.destination.name": "default",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.message.id": job.id,
        "naq.job.function": "examples.tasks:add",
        "naq.job.attempt": 1,
        "naq.job.outcome": "completed",
    }
    assert is_child(ran, sent)
    assert [link.context.span_id for link in ran.links] == [sent.context.span_id]
    assert {sent.status.status_code, ran.status.status_code} == {StatusCode.UNSET}


@pytest.mark.parametrize("function", [current, current_on_the_loop])
async def test_the_span_is_current_in_the_job_and_nowhere_else(queue, run_worker, spans, function):
    async with run_worker(concurrency=1):
        seen = [await (await queue.enqueue(function)).result(10) for _ in range(2)]
        found = await spans.get(4)

    ran = [span for span in found if span.kind is SpanKind.CONSUMER]
    assert seen == [f"{span.context.span_id:x}" for span in ran]
    assert ran[0].context.trace_id != ran[1].context.trace_id
    assert current() == "0"


@pytest.mark.parametrize("function", [enqueue_another, enqueue_another_from_its_thread])
async def test_what_a_job_enqueues_is_below_it(  # noqa: PLR0917
    queue, run_worker, spans, function, settings, monkeypatch
):
    monkeypatch.setenv("NAQ_NATS_URL", settings.nats_url)
    monkeypatch.setenv("NAQ_PREFIX", settings.prefix)
    async with run_worker():
        await (await queue.enqueue(function)).result(10)
        found = await spans.get(4)
    await anyio.to_thread.run_sync(runtime().close)

    of = {(one.kind, one.attributes["naq.job.function"].split(":")[1]): one for one in found}
    outer = of[SpanKind.CONSUMER, function.__name__]
    assert is_child(outer, of[SpanKind.PRODUCER, function.__name__])
    assert is_child(of[SpanKind.PRODUCER, "add"], outer)
    assert is_child(of[SpanKind.CONSUMER, "add"], of[SpanKind.PRODUCER, "add"])


@pytest.mark.parametrize("waits_in_the_stream", [False, True])
async def test_retries_a_dead_letter_and_its_requeueing_keep_the_parent(
    queue, run_worker, spans, connection, waits_in_the_stream
):
    delay = 0.3 if waits_in_the_stream else 0
    async with run_worker(short_delay=0.1):
        job = await queue.enqueue(fail, max_retries=1, retry_delay=delay)
        with pytest.raises(JobExecutionError):
            await job.result(10)
        await spans.get(3)
        await DeadLetters(connection).requeue(job.id)
        sent, *ran = await spans.get(5)

    assert all(is_child(span, sent) for span in ran)
    described = [(s.attributes["naq.job.attempt"], s.attributes["naq.job.outcome"]) for s in ran]
    assert described == [(1, "retrying"), (2, "failed"), (1, "retrying"), (2, "failed")]
    for span in ran:
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no luck")
        assert span.attributes["error.type"] == "builtins.ValueError"
        (event,) = span.events
        assert event.name == "exception"
        assert event.attributes["exception.type"] == "builtins.ValueError"
        assert event.attributes["exception.message"] == "no luck"
        assert "in fail" in event.attributes["exception.stacktrace"]
        assert span.start_time <= event.timestamp == span.end_time
    assert sent.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("number", [3, BATCH + 1])
async def test_a_bulk_is_one_span(queue, run_worker, spans, number):
    await queue.enqueue_many([naq.call(add, n, 1) for n in range(number)])
    async with run_worker(burst=True):
        pass
    sent, *ran = await spans.get(number + 1)

    assert (sent.name, sent.kind) == ("enqueue_many default", SpanKind.PRODUCER)
    assert sent.attributes["messaging.batch.message_count"] == number
    assert "messaging.message.id" not in sent.attributes
    assert all(is_child(span, sent) for span in ran)
    assert len({span.attributes["messaging.message.id"] for span in ran}) == number
    assert await queue.enqueue_many([]) == []


async def test_a_delayed_job_and_one_that_was_moved(queue, run_worker, spans, connection):
    soon = await queue.enqueue_in(0.3, add, 1, 2)
    moved = await queue.enqueue_in(3600, add, 3, 4)
    await _delayed.move(connection, moved.id, (datetime.now(UTC) + timedelta(0.3)).timestamp())
    await _delayed.move(connection, moved.id, datetime.now(UTC).timestamp() + 0.3)
    async with run_worker():
        assert (await soon.result(10), await moved.result(10)) == (3, 7)
        first, second, *ran = await spans.get(4)

    by_id = {span.attributes["messaging.message.id"]: span for span in ran}
    assert is_child(by_id[soon.id], first)
    assert is_child(by_id[moved.id], second)


async def test_a_message_the_sweep_stores_again(queue, run_worker, spans, connection, advance):
    job = await queue.enqueue(add, 1, 2)
    names = connection.names
    stored = await connection.streams.get(names.jobs_stream, names.job("default", job.id))
    assert await Sweep(connection, advance)._store_again(stored)
    async with run_worker():
        await job.result(10)
        sent, ran = await spans.get(2)

    assert is_child(ran, sent)


async def test_each_run_of_a_schedule_begins_a_trace(queue, run_worker, spans, provider):
    with provider.get_tracer("test").start_as_current_span("around"):
        schedule = await queue.schedule(add, 1, 2, interval=3600)
        async with run_worker():
            for _ in range(2):
                await (await schedule.run_now()).result(10)
            first, second = await spans.get(2)

    assert first.parent is second.parent is None
    assert first.links == second.links == ()
    assert first.context.trace_id != second.context.trace_id


async def test_a_job_that_is_handed_to_another_worker(queue, run_worker, spans):
    job = await queue.enqueue(anyio.sleep, 60)
    async with run_worker(drain_timeout=0) as worker:
        while worker.running == 0 or worker.held(job.id).scope is None:  # noqa: ASYNC110
            await anyio.lowlevel.checkpoint()
    async with run_worker() as worker:
        while worker.running == 0 or worker.held(job.id).scope is None:  # noqa: ASYNC110
            await anyio.lowlevel.checkpoint()
        assert await job.cancel()
        sent, handed, cancelled = await spans.get(3)

    assert handed.attributes["naq.job.outcome"] == "pending"
    assert cancelled.attributes["naq.job.outcome"] == "cancelled"
    assert is_child(handed, sent)
    assert is_child(cancelled, sent)


async def test_an_enqueue_that_fails(queue, spans, connection):
    with pytest.raises(PayloadTooLargeError):
        await queue.enqueue(len, bytes(connection.max_payload))

    (sent,) = await spans.get(1)
    assert sent.status.status_code is StatusCode.ERROR
    assert sent.attributes["error.type"] == "naq.exceptions.PayloadTooLargeError"
    assert [event.name for event in sent.events] == ["exception"]


async def test_a_job_as_large_as_can_be_carries_no_trace(queue, run_worker, spans, connection):
    size = connection.max_payload - 2048
    async with run_worker():
        job = await queue.enqueue(len, bytes(size))
        assert await job.result(10) == size
        _, ran = await spans.get(2)

    assert ran.parent is None


@pytest.mark.parametrize(
    "parent", ["", "nonsense", "00-" + "0" * 32 + "-0123456789abcdef-01", "00-" * 200, "\xe9\xe8"]
)
async def test_a_header_that_says_nothing(queue, run_worker, spans, monkeypatch, parent):
    with monkeypatch.context() as patch:
        patch.setattr(
            "opentelemetry.propagate.inject",
            lambda carrier, **_: carrier.update(traceparent=parent, baggage="user=1"),
        )
        job = await queue.enqueue(add, 1, 2)
    async with run_worker():
        assert await job.result(10) == 3
        _, ran = await spans.get(2)

    assert ran.parent is None


async def test_a_process_without_an_sdk_hands_on_what_comes(queue, run_worker, spans, monkeypatch):
    """The worker has the API alone; whoever enqueues and whoever runs the second job has an SDK."""
    with_sdk = handler.tracing
    monkeypatch.setattr(handler, "tracing", Tracing)
    async with run_worker():
        monkeypatch.setattr(_send, "tracing", Tracing)
        quiet = await naq.enqueue(add, 1, 2)
        await quiet.result(10)
        job = await queue.enqueue(enqueue_for_another_worker)
        other = await job.result(10)
    monkeypatch.setattr(handler, "tracing", with_sdk)
    async with run_worker("other"):
        await queue.job(other).result(10)
        sent, ran = await spans.get(2)

    assert (sent.name, ran.name) == ("enqueue default", "process other")
    assert is_child(ran, sent)


def test_without_the_package_nothing_is_made(settings):
    program = """
import sys
sys.modules["opentelemetry"] = None
import anyio, naq
from naq.worker.worker import Worker
from naq.queue.tracing import tracing

async def main():
    async with naq.connect() as connection:
        async with naq.Queue("default") as queue:
            job = await queue.enqueue(len, "abc", max_retries=1)
            await queue.enqueue_many([naq.call(len, "ab")])
            names = connection.names
            stored = await connection.streams.get(names.jobs_stream, names.job("default", job.id))
        await Worker(["default"], burst=True, connection=connection).run()
        print(await job.result(), [name for name in stored.headers if name[0] != "N"], tracing())

anyio.run(main)
print([name for name in sys.modules if name.startswith("opentelemetry.")])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"NAQ_NATS_URL": settings.nats_url, "NAQ_PREFIX": settings.prefix},
        capture_output=True,
        check=False,
        text=True,
    )

    assert (done.stdout, done.stderr) == ("3 [] None\n[]\n", "")
