"""How fast jobs get in, through and back: throughput, enqueueing, latency, memory."""

from __future__ import annotations

import statistics
import time

import anyio
import psutil

import naq
from benchmarks import _stage
from benchmarks.jobs import noop

JOBS = 20_000
BULK = 50_000
IN_FLIGHT = 32
LATENCIES = 2_000

LOOPS = {
    "asyncio": {"backend": "asyncio", "uvloop": False},
    "uvloop": {"backend": "asyncio"},
    "trio": {"backend": "trio"},
}


async def drain(loop, runs):
    """No-op jobs per second through one worker process, concurrency 32, results acknowledged."""
    rates, memory = [], []
    for _ in range(runs):
        async with _stage.server() as stage, naq.Queue("default", nats_url=stage.url) as queue:
            await _stage.fill(queue, noop, JOBS)
            with stage.worker(**LOOPS[loop]) as pid:
                seconds = await stage.drained(queue)
                memory.append(psutil.Process(pid).memory_info().rss / 2**20)
            rates.append(JOBS / seconds)
    return {
        f"no-op jobs drained, {loop}": (rates, "/s"),
        f"worker RSS after that, {loop}": (memory, "MB"),
    }


async def enqueue(runs):
    """Jobs stored and acknowledged per second, in bulk and with 32 callers."""
    bulk, callers = [], []
    for _ in range(runs):
        async with _stage.server() as stage, naq.Queue("default", nats_url=stage.url) as queue:
            calls = [naq.call(noop) for _ in range(BULK)]
            began = time.perf_counter()
            await queue.enqueue_many(calls)
            bulk.append(BULK / (time.perf_counter() - began))

            async def caller(queue):
                for _ in range(JOBS // IN_FLIGHT):
                    await queue.enqueue(noop)

            began = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                for _ in range(IN_FLIGHT):
                    tasks.start_soon(caller, queue)
            callers.append(JOBS / (time.perf_counter() - began))
    return {
        "enqueue_many": (bulk, "/s"),
        f"enqueue, {IN_FLIGHT} in flight": (callers, "/s"),
    }


async def latency(runs):
    """Enqueue to result, one job at a time, an idle worker in another process."""
    percentiles = {50: [], 95: [], 99: []}
    for _ in range(runs):
        async with _stage.server() as stage, naq.Queue("default", nats_url=stage.url) as queue:
            with stage.worker(**LOOPS["uvloop"]):
                times = []
                for _ in range(LATENCIES):
                    began = time.perf_counter()
                    await (await queue.enqueue(noop)).result(timeout=10)
                    times.append((time.perf_counter() - began) * 1000)
        cuts = statistics.quantiles(times, n=100)
        for percent, values in percentiles.items():
            values.append(cuts[percent - 1])
    return {f"enqueue to result, p{p}": (values, "ms") for p, values in percentiles.items()}
