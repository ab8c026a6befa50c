"""The workloads: a function each, the same for every contestant.

A function gets a stage and returns figures. Done is a job whose result is stored and can be read
by the producer. Where workers are measured they are warm: each of their slots holds a job that
waits for a gate, the work is queued behind those, and the clock starts when the gate opens.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.staging.stage import CannotError

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.staging.stage import Stage

    Figures = dict[str, float]

__all__ = ["WORKLOADS", "Workload", "quick"]

JOBS = 20_000


@dataclass(frozen=True)
class Workload:
    """What is done, by whom.

    Attributes:
        name: on the command line.
        title: in tables.
        run: measures one run.
        short: whether a short run has it.
        rounds: of a full run, at most.
        results: whether it must read results.
        only: contestants that are asked at all; empty for all.
    """

    name: str
    title: str
    run: Callable[[Stage], Figures]
    short: bool = True
    rounds: int = 99
    results: bool = False
    only: tuple[str, ...] = ()


def _drain(stage: Stage, job: str, count: int, *, workers: int, concurrency: int = 32) -> Figures:
    """Queue jobs behind the gate and open it."""
    with stage.workers(workers, concurrency=concurrency) as pids:
        stage.fill(job, _ARGUMENTS.get(job, []), count)
        began = stage.release()
        seconds = stage.finished(count) - began
        cpu, idle = stage.broker_cpu_then(), stage.idle_then()
        sizes = [stage.rss(pid) for pid in pids]
    return {
        "jobs": count,
        "seconds": seconds,
        "rate": count / seconds,
        "broker_cpu_s": cpu,
        "broker_cpu_percent": 100 * cpu / seconds,
        "busy_percent": 100 * (1 - idle / seconds / (os.cpu_count() or 1)),
        "rss_mb": max(size for size, _ in sizes),
        "rss_tree_mb": sum(size for _, size in sizes),
    }


_ARGUMENTS: dict[str, list[float]] = {"sleep": [1.0]}


def noop(stage: Stage) -> Figures:
    """No-op jobs, one worker process with 32 at a time."""
    return _drain(stage, "noop", stage.count(JOBS), workers=1)


def noop2(stage: Stage) -> Figures:
    """No-op jobs, two worker processes with 32 each."""
    return _drain(stage, "noop", stage.count(JOBS), workers=2)


def sync(stage: Stage) -> Figures:
    """No-op functions that are not coroutines, in 32 threads."""
    job = "noop" if stage.facts["suffix"] else "noop_sync"
    return _drain(stage, job, stage.count(JOBS, weight=2), workers=1)


def cpu(stage: Stage) -> Figures:
    """Jobs of 1,000 SHA-256 each, in one process."""
    return _drain(stage, "sha", 1000 if stage.options.full else 300, workers=1, concurrency=10)


def sleep(stage: Stage) -> Figures:
    """Jobs that sleep a second, 640 at a time in two processes; 100 % is the ideal."""
    count = JOBS if stage.options.full else 1280
    figures = _drain(stage, "sleep", count, workers=2, concurrency=320)
    return figures | {"ideal_percent": 100 * (count / 640) / figures["seconds"]}


def sleep100(stage: Stage) -> Figures:
    """Jobs that sleep 100 ms, 10 at a time in one process: 100/s is the ideal."""
    count = 1000 if stage.options.full else 200
    with stage.workers(1, concurrency=10) as (pid,):
        stage.fill("sleep", [0.1], count)
        began = stage.release()
        seconds = stage.finished(count) - began
        size, all_of_it = stage.rss(pid)
        cpu_s = stage.broker_cpu_then()
    return {
        "jobs": count,
        "seconds": seconds,
        "rate": count / seconds,
        "rss_mb": size,
        "rss_tree_mb": all_of_it,
        "broker_cpu_s": cpu_s,
    }


def enqueue(stage: Stage) -> Figures:
    """Into an empty queue with nobody to take: one by one, 32 in flight, and in bulk."""
    figures: Figures = {}
    limit = 20_000.0 if stage.options.full else 2_000.0
    stage.ask("fill", job="noop", args=[], count=40, how="flight", watch=False)  # it is warm
    stage.count_cpu()
    bulk = limit / 4 if stage.contestant.name == "rq" else JOBS
    for how, number in (("one", limit / 4), ("flight", limit), ("bulk", bulk)):
        if how in stage.facts["cannot"]:
            continue
        args = {"job": "noop", "args": [], "count": int(number), "how": how}
        seconds = float(stage.ask("fill", **args, watch=False)["seconds"])
        figures[f"{how}_rate"] = int(number) / seconds
    return figures | {"broker_cpu_s": stage.broker_cpu()}


def latency(stage: Stage) -> Figures:
    """From enqueue to having the result, an idle worker, one job at a time."""
    with stage.workers(1):
        stage.fill("noop", [], 10)
        stage.release()
        stage.finished(10)
        return _round_trips(stage)


def _round_trips(stage: Stage) -> Figures:
    full = stage.options.full
    count = 1000 if full else 200
    if stage.contestant.speed < 1000:
        count = 100 if full else 15
    stage.ask("latency", count=2, gap=0.005)  # warm
    stage.count_cpu()
    times = stage.ask("latency", count=count, gap=0.005)["ms"]
    return _percentiles(times) | {"jobs": count, "broker_cpu_s": stage.broker_cpu()}


def _percentiles(times: list[float]) -> Figures:
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98]}


def delayed(stage: Stage) -> Figures:
    """How late jobs begin that were enqueued to begin later."""
    count = 30 if stage.options.full else 10
    with stage.helpers(), stage.workers(1):
        stage.release()
        stage.count_cpu()
        times = stage.ask("delayed", count=count, seconds=3.0, gap=0.317)["ms"]
    return _percentiles(times) | {"jobs": count, "broker_cpu_s": stage.broker_cpu()}


def quick(stage: Stage) -> dict[str, Figures]:
    """Four workloads on one stage, with few jobs: what a short run can afford."""
    found = {}
    with stage.workers(1) as (pid,):
        count = stage.count(10_000, seconds=0.7)
        stage.fill("noop", [], count)
        began = stage.release()
        seconds = stage.finished(count) - began
        found["noop"] = {
            "jobs": count,
            "rate": count / seconds,
            "broker_cpu_s": stage.broker_cpu_then(),
        }
        if stage.facts["stores"] and "latency" not in stage.facts["cannot"]:
            found["latency"] = _round_trips(stage)
        if "memory" not in stage.facts["cannot"]:
            size, all_of_it = stage.rss(pid)
            found["memory"] = {"rss_mb": size, "rss_tree_mb": all_of_it}
    found["enqueue"] = enqueue(stage)
    return found


def memory(stage: Stage) -> Figures:
    """A worker with nothing to do, after its first jobs."""
    with stage.workers(1) as (pid,):
        stage.release()
        time.sleep(3 if stage.options.full else 1.5)
        stage.count_cpu()
        size, all_of_it = stage.rss(pid)
    return {"rss_mb": size, "rss_tree_mb": all_of_it}


def crash(stage: Stage) -> Figures:
    """``kill -9`` a worker with its slots full; another starts at once. All else is default."""
    log = stage.home / "marks"
    slots = stage.slots(32)
    with stage.workers(1) as (pid,):
        stage.release()
        args = [str(log), "#", 2.0]
        stage.ask("fill", job="mark", args=args, count=slots, how="flight", watch=False)
        while len(_marks(log, "begin")) < slots:
            time.sleep(0.01)
        killed = time.monotonic()
        stage.destroy(pid)
    patience = 240.0 if stage.options.full else 90.0
    with stage.worker(32):
        while time.monotonic() < killed + patience:
            if len(set(_marks(log, "end"))) == slots:
                break
            time.sleep(0.05)
        time.sleep(3)  # for those that run a second time
    ends = _marks(log, "end")
    lost = slots - len(set(ends))
    figures = {"in_flight": float(slots), "lost": float(lost), "doubled": len(ends) + lost - slots}
    if lost:
        return figures | {"patience_s": patience}
    last = max(float(line.split()[3]) for line in log.read_text().splitlines())
    return figures | {"recovered_s": last - killed}


def _marks(log: object, kind: str) -> list[str]:
    try:
        lines = log.read_text().splitlines()  # type: ignore[attr-defined]
    except FileNotFoundError:
        return []
    return [line.split()[1] for line in lines if line.startswith(kind)]


def flat(stage: Stage) -> Figures:
    """What a job costs behind 1,000 queued ones and behind a million."""
    deep = 1_000_000 if stage.options.full else 100_000
    if "bulk" in stage.facts["cannot"]:
        raise CannotError("it has no bulk enqueue: queueing a million takes too long")
    seconds = []
    for _ in range(5):
        with stage.workers():
            stage.fill("noop", [], 1000)
            began = stage.release()
            seconds.append(stage.finished(1000) - began)
    with stage.workers():
        filled = stage.fill("noop", [], deep)
        began = stage.release()
        took = stage.finished(JOBS) - began
        cpu_s = stage.broker_cpu_then()
    shallow = 1000 / statistics.median(seconds)
    return {
        "queued": deep,
        "shallow_rate": shallow,
        "rate": JOBS / took,
        "slower_percent": 100 * (shallow / (JOBS / took) - 1),
        "fill_rate": deep / filled,
        "broker_cpu_s": cpu_s,
    }


WORKLOADS = (
    Workload("noop", "no-op, 1 worker process", noop),
    Workload("noop2", "no-op, 2 worker processes", noop2, short=False),
    Workload("enqueue", "enqueue", enqueue),
    Workload("latency", "enqueue to result, idle", latency, results=True),
    Workload("memory", "idle worker", memory, rounds=3),
    Workload("sync", "no-op in threads", sync, short=False),
    Workload("sleep", "sleep(1), 640 at a time", sleep, short=False),
    Workload("sleep100", "100 ms sleeps, 10 at a time", sleep100, short=False),
    Workload("cpu", "1,000 SHA-256", cpu, short=False),
    Workload("delayed", "delayed jobs begin late", delayed, short=False, results=True),
    Workload("crash", "kill -9 with 32 in flight", crash, short=False, rounds=1),
    Workload(
        "flat",
        "1,000,000 queued",
        flat,
        short=False,
        only=("naq", "naq-uvloop", "naq-trio", "streaq"),
    ),
)
