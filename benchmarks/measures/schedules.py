"""How fast schedules are made and listed, what they cost at rest, how late their runs are."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import anyio
import psutil

import naq
from benchmarks.measures import scene
from benchmarks.measures.jobs import began, noop
from naq.jobs.results import Results
from naq.schedules.schedule import run_id

SCHEDULES = 10_000
IN_FLIGHT = 64
REST = 30.0
"""Seconds a scheduler is watched at rest: three looks for missed runs."""
SPARSE = 40
AT_ONCE = 5_000
CRON_SECONDS = 30
UVLOOP = {"backend": "asyncio"}


async def at_rest(runs):
    """Make 10,000 schedules, list them, and watch a scheduler that has nothing to do."""
    made, listed, cpu = [], [], []
    for _ in range(runs):
        async with scene.server() as stage, naq.Queue("default", nats_url=stage.url) as queue:
            await queue.schedule(noop, cron="0 0 1 1 *")  # the streams are there
            made.append(SCHEDULES / await _make(queue))
            listed.append(await anyio.to_thread.run_sync(_list, stage.url))
            with stage.scheduler() as pid:
                await anyio.sleep(5)  # it has read them all
                before = sum(psutil.Process(pid).cpu_times()[:2])
                await anyio.sleep(REST)
                spent = sum(psutil.Process(pid).cpu_times()[:2]) - before
            cpu.append(100 * spent / REST)
    return {
        f"schedules made, {IN_FLIGHT} in flight": (made, "/s"),
        f"list-scheduled --json of {SCHEDULES:,}": (listed, "s"),
        f"a scheduler at rest with {SCHEDULES:,}": (cpu, "% CPU"),
    }


async def _make(queue):
    """Make schedules, each second one with a policy; return the seconds that took."""
    numbers = iter(range(SCHEDULES))

    async def caller():
        for number in numbers:
            policy = {"misfire": "once"} if number % 2 else {}
            # At night, in another part of the year than this one: nothing is due meanwhile.
            far = (datetime.now(UTC) + timedelta(days=90)).month
            cron = f"{number % 60} {number // 60 % 24} {number % 28 + 1} {far} *"
            await queue.schedule(noop, cron=cron, schedule_id=f"s{number}", **policy)

    start = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.start_soon(caller)
    return time.perf_counter() - start


def _list(url):
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "naq", "list-scheduled", "--json"],
        env={**os.environ, "NAQ_NATS_URL": url},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - start


async def lateness(runs):
    """How late runs begin: few at a time, each second by cron, and 5,000 at one instant."""
    found = {}
    for _ in range(runs):
        async with scene.server() as stage, naq.Queue("default", nats_url=stage.url) as queue:
            with stage.worker(**UVLOOP), stage.scheduler():
                await anyio.sleep(1)
                for name, late in (
                    ("delayed jobs, sparse", await _sparse(queue)),
                    ("cron, plain", await _cron(queue)),
                    ("cron, with a policy", await _cron(queue, misfire="once")),
                    (f"{AT_ONCE:,} jobs at one instant", await _at_once(queue)),
                ):
                    cuts = statistics.quantiles(late, n=100)
                    for percent in (50, 99):
                        key = f"late: {name}, p{percent}"
                        found.setdefault(key, ([], "ms"))[0].append(cuts[percent - 1] * 1000)
    return found


async def _sparse(queue):
    """Delayed jobs one after another: closer than a second the server looks every 250 ms."""
    start = time.time() + 1
    jobs = []
    for number in range(SPARSE):
        due = start + number * 1.017
        jobs.append((due, await queue.enqueue_at(datetime.fromtimestamp(due, UTC), began)))
    return [await job.result(timeout=90) - due for due, job in jobs]


async def _cron(queue, **policy):
    schedule = await queue.schedule(
        began,
        cron="* * * * * *",
        schedule_id=f"c{policy}".translate({ord(c): "-" for c in "{}:' "}),
        **policy,
    )
    # One that is made less than 250 ms before it is due is that late, the first time.
    first = schedule.next_run.timestamp() + 1
    await anyio.sleep(CRON_SECONDS + 2.5)
    await schedule.cancel()
    dues = [first + number for number in range(CRON_SECONDS)]
    return [await queue.job(run_id(schedule.id, due)).result(timeout=10) - due for due in dues]


async def _at_once(queue):
    """As many jobs as possible at the same instant; all of them must run."""
    due = time.time() + 5
    when = datetime.fromtimestamp(due, UTC)
    limiter = anyio.CapacityLimiter(IN_FLIGHT)
    ids = []

    async def send():
        async with limiter:
            ids.append((await queue.enqueue_at(when, began)).id)

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(send)
    results = Results(queue._connection)  # noqa: SLF001
    await anyio.sleep(max(0.0, due - time.time()) + 5)
    return [await results.fetch(job_id) - due for job_id in ids]
