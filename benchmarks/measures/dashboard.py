"""What the dashboard costs, and how fast it is: ``python -m benchmarks.measures.dashboard``.

A server with 100 queues, 1,000 announced workers and 100,000 dead letters; then a worker that
shares process and event loop with the dashboard; then 1,000 pages that nobody reads.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial

import anyio
import psutil

import naq
from benchmarks.measures import scene
from benchmarks.measures.jobs import noop
from naq.dashboard.app import STATIC
from naq.jobs.coding.codec import Codec
from naq.jobs.job import DeadLetter, Failure
from naq.jobs.presence import WorkerInfo, announce

QUEUES, WORKERS, LETTERS = 100, 1_000, 100_000
IN_FLIGHT = 128
LOOKS, EVENTS, ROUNDS = 50, 30, 3
JOBS = 80_000
PAGES, CROWD = 20, 1_000
TOKEN = "benchmark"
UVLOOP = {"backend": "asyncio", "backend_options": {"use_uvloop": True}}


# ------------------------------------------------------------------ what is looked at


async def fill(connection):
    """Put queues, workers and dead letters on the server."""
    for number in range(QUEUES):
        async with naq.Queue(f"queue-{number:03}", connection=connection) as queue:
            await queue.enqueue(noop)
    now = time.time()
    workers = [partial(announce, connection, _worker(n, now), ttl=3_600) for n in range(WORKERS)]
    codec = Codec.from_settings(connection.settings)
    letters = (partial(_bury, connection, codec, n, now) for n in range(LETTERS))
    await _all(iter(workers))
    await _all(letters)


def _worker(number, now):
    return WorkerInfo(
        id=f"worker-{number}",
        host="host",
        pid=number,
        status="busy",
        queues=["queue-000", "queue-001"],
        concurrency=10,
        backend="asyncio",
        started_at=now,
        seen_at=now,
        running=4,
        jobs=[f"job-{number}-{n}" for n in range(4)],
    )


async def _bury(connection, codec, number, now):
    letter = DeadLetter(
        id=f"job-{number}",
        queue=f"queue-{number % QUEUES:03}",
        reason="attempts spent",
        failed_at=now - number,
        body=b"x" * 200,
        function="shop.tasks:send",
        error=Failure("builtins.ValueError", "no such address", "Traceback: " + "line\n" * 20),
        attempts=4,
    )
    body, headers = codec.seal(letter)
    await connection.store(connection.names.dead_letter(letter.queue, letter.id), body, headers)


async def _all(calls):
    """Do all of an iterator's calls, some at a time."""

    async def some():
        for call in calls:
            await call()

    async with anyio.create_task_group() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.start_soon(some)


# -------------------------------------------------------------------------- clients


@contextmanager
def dashboard(url, *more):
    """Run a dashboard (or what is named instead) in a process; yield its port and pid."""
    env = {**os.environ, "NAQ_NATS_URL": url, "NAQ_DASHBOARD_TOKEN": TOKEN}
    env["PYTHONPATH"] = str(scene.ROOT)
    command = [sys.executable, "-m", *(more or ("naq", "dashboard", "--port", "0"))]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    try:
        while (
            found := re.search(r"dashboard at http://[^:]+:(\d+)", process.stderr.readline())
        ) is None:
            pass
        port = int(found[1])
        while _get(port, "/readyz")[0] != 200:
            time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


def _get(port, path):
    """Return status, seconds to the first byte and size of a page."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        began = time.perf_counter()
        link.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = link.getresponse()
        first = time.perf_counter() - began
        return answer.status, first, len(answer.read())
    finally:
        link.close()


def _open(port, path="/"):
    """Open the events of a page; return the socket."""
    link = socket.create_connection(("127.0.0.1", port), timeout=30)
    head = f"GET /events?page={path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}"
    link.sendall(f"{head}\r\n\r\n".encode())
    return link


class Reader(threading.Thread):
    """Reads the events of a page, and knows when the last one came."""

    def __init__(self, port, path="/"):
        super().__init__(daemon=True)
        self.link = _open(port, path)
        self.heard = threading.Event()
        self.bytes = 0
        self.start()

    def run(self):
        while chunk := self._some():
            self.bytes += len(chunk)
            if b"event: update" in chunk:
                self.heard.set()

    def _some(self):
        try:
            return self.link.recv(1 << 20)
        except OSError:
            return b""

    def close(self):
        self.link.shutdown(socket.SHUT_RDWR)
        self.join()
        self.link.close()


# --------------------------------------------------------------------- measurements


def pages(port):
    """Return first bytes and weights of the overview and of others."""
    files = sum(path.stat().st_size for path in STATIC.iterdir())
    found = {}
    for name, path in (
        ("overview", "/"),
        ("dead letters", "/dead"),
        ("failed jobs", "/jobs?state=failed"),
        ("workers", "/workers"),
    ):
        looks = []
        for _ in range(LOOKS):
            status, first, size = _get(port, path)
            assert status == 200, (path, status)
            looks.append(first * 1000)
            time.sleep(0.5 if path == "/" else 0)  # no answer is reused
        found[f"{name}: first byte"] = (looks, "ms")
        found[f"{name}: weight"] = ([(size + files) / 1000], "KB with scripts and styles")
    return found


async def events(port, queue):
    """Return how long after an enqueue an open page hears of it."""
    reader = Reader(port)
    await anyio.sleep(2)
    late = []
    for _ in range(EVENTS):
        await anyio.sleep(random.uniform(0.3, 1.5))
        reader.heard.clear()
        began = time.perf_counter()
        await queue.enqueue(noop)
        await anyio.to_thread.run_sync(partial(reader.heard.wait, 10))
        late.append((time.perf_counter() - began) * 1000)
    reader.close()
    return {"from an enqueue to the page": (late, "ms")}


async def _drained(queue):
    """Wait until a resumed queue is empty; return the seconds from its first delivery on."""
    names, connection = queue._connection.names, queue._connection  # noqa: SLF001
    which = names.jobs_stream, names.consumer(queue.name)
    before = (await connection.streams.consumer_info(*which)).delivered.consumer_seq
    await queue.resume()
    began = None
    while True:
        info = await connection.streams.consumer_info(*which)
        now = anyio.current_time()
        if began is None and info.delivered.consumer_seq > before:
            began = now
        if not info.num_pending and not info.num_ack_pending and began is not None:
            return now - began
        await anyio.sleep(0.002)


async def drains(stage):
    """Return throughput of a worker on the dashboard's own loop, with no page and with 20."""
    rates: dict[int, list[float]] = {0: [], PAGES: []}
    for _ in range(ROUNDS):
        for count, measured in rates.items():
            async with naq.Queue("drain", nats_url=stage.url) as queue:
                await queue.pause()
                await queue.enqueue_many([naq.call(noop) for _ in range(JOBS)])
                with dashboard(stage.url, "benchmarks.measures.with_dashboard") as (port, _):
                    readers = [Reader(port) for _ in range(count)]
                    await anyio.sleep(2)
                    measured.append(JOBS / await _drained(queue))
                    for reader in readers:
                        reader.close()
    return {
        f"drain beside a dashboard, {count} pages open": (v, "/s") for count, v in rates.items()
    }


async def crowd(port, pid, queue):
    """Return the memory that 1,000 pages cost which nobody reads while things go on."""
    process = psutil.Process(pid)
    before = process.memory_info().rss
    links = [await anyio.to_thread.run_sync(_open, port) for _ in range(CROWD)]
    await anyio.sleep(5)
    extra = await anyio.to_thread.run_sync(_get, port, "/events?page=/")
    samples = []
    for _ in range(30):
        await queue.enqueue(noop)
        await anyio.sleep(1)
        samples.append((process.memory_info().rss - before) / 1e6)
    for link in links:
        link.close()
    return {
        f"memory of {CROWD:,} pages nobody reads, in the middle": (
            [samples[len(samples) // 2]],
            "MB",
        ),
        f"memory of {CROWD:,} pages nobody reads, at the end": ([samples[-1]], "MB"),
        "what one page more gets": ([float(extra[0])], "HTTP status"),
    }


async def measure():
    """Measure everything."""
    found = {}
    async with scene.server() as stage, naq.connect(stage.url) as connection:
        began = time.perf_counter()
        async with naq.Queue("queue-000", connection=connection) as queue:
            await queue.enqueue(noop)
            await fill(connection)
            print(f"filled in {time.perf_counter() - began:.1f} s", file=sys.stderr)
            with dashboard(stage.url) as (port, pid):
                found |= await anyio.to_thread.run_sync(pages, port)
                found |= await events(port, queue)
                found |= await crowd(port, pid, queue)
    async with scene.server() as stage:
        found |= await drains(stage)
    return found


def main():
    """Print a table, and JSON with ``--json``."""
    found = anyio.run(measure, **UVLOOP)
    if "--json" in sys.argv:
        print(json.dumps({name: values for name, (values, _) in found.items()}, indent=1))
        return
    for name, (values, unit) in found.items():
        spread = f"{min(values):,.1f} to {max(values):,.1f}" if len(values) > 1 else ""
        print(f"{name:<56} {statistics.median(values):>10,.1f} {unit:<8} {spread}")


if __name__ == "__main__":
    main()
