"""What is measured, and how. All times are seconds, all sizes bytes."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.supervisors.peers import stop

LOOK = 0.001  # between two looks at the process table
PATIENCE = 60.0
IDLE = 5.0  # how long idleness is watched
SETTLE = 3.0  # after the start, before it counts as idle


def marker() -> str:
    """Return a number of seconds for sleep(1) that no other process sleeps."""
    return str(100_000 + os.getpid() % 100_000) + f".{time.monotonic_ns() % 10_000}"


def sleepers(mark: str) -> set[int]:
    """Return the processes that sleep for ``mark``."""
    wanted = b"sleep\0" + mark.encode() + b"\0"
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"/proc/{entry.name}/cmdline", "rb") as file:  # noqa: PTH123
                    if file.read() == wanted:
                        found.add(int(entry.name))
            except OSError:
                continue
    return found


def until(condition, patience=PATIENCE):
    """Wait for ``condition()``; return how long it took."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > patience:
            raise TimeoutError
        time.sleep(LOOK)
    return time.perf_counter() - began


@contextmanager
def running(peer, number):
    """Run ``peer`` with ``number`` sleepers; give process, mark and the time until all run."""
    mark = marker()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        peer.write(directory, ["sleep", mark], number)
        began = time.perf_counter()
        process = peer.start(directory, number)
        try:
            until(lambda: len(sleepers(mark)) == number)
            yield process, mark, time.perf_counter() - began, directory
        finally:
            if process.poll() is None:
                stop(process)
            for pid in sleepers(mark):  # honcho and the like may leave some
                os.kill(pid, signal.SIGKILL)


def own(process):
    """Return the manager's own processes: it and its helpers, not what it runs."""
    leader = psutil.Process(process.pid)
    helpers = [p for p in leader.children() if "guardian" in " ".join(p.cmdline())]
    return [leader, *helpers]


def rss(process) -> int:
    return sum(p.memory_info().rss for p in own(process))


def cpu(process) -> float:
    return sum(sum(p.cpu_times()[:2]) for p in own(process))


def start_and_stop(peer, runs):
    """Time until 50 run, from typing the command; time to stop them."""
    starts, stops = [], []
    for _ in range(runs):
        with running(peer, 50) as (process, _, took, _):
            starts.append(took)
            time.sleep(SETTLE)
            began = time.perf_counter()
            stop(process)
            stops.append(time.perf_counter() - began)
    return {"start_50_s": statistics.median(starts), "stop_50_s": statistics.median(stops)}


def idle(peer):
    """Processor time and memory with 50, memory per further child."""
    with running(peer, 50) as (process, *_):
        time.sleep(SETTLE)
        before, size = cpu(process), rss(process)
        time.sleep(IDLE)
        used = cpu(process) - before
    with running(peer, 200) as (process, *_):
        time.sleep(SETTLE)
        grown = (rss(process) - size) / 150
    return {
        "idle_cpu_percent": 100 * used / IDLE,
        "rss_50_bytes": size,
        "rss_per_child_bytes": grown,
    }


def restart(peer, kills):
    """Time from kill -9 of a child to its successor."""
    if not peer.restarts:
        return {}
    took = []
    with running(peer, 1) as (_, mark, *_):
        time.sleep(SETTLE)
        for _ in range(kills):
            (pid,) = sleepers(mark)
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: sleepers(mark) - {pid})
            took.append(time.perf_counter() - began)
            time.sleep(peer.settles)
    took.sort()
    p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
    return {"restart_p50_s": statistics.median(took), "restart_p99_s": p99}


# ------------------------------------------------------------------ naq alone


def restarts_growth(peer, number=500):
    """What 500 restarts leave behind in the manager: bytes, descriptors, threads, zombies."""
    with running(peer, 5) as (process, mark, *_):
        time.sleep(SETTLE)
        found = []
        for rounds in (1500, number):  # the first ones fill what is kept: 2,000 lines, events
            for _ in range(rounds):
                victim = min(sleepers(mark))
                os.kill(victim, signal.SIGKILL)
                until(lambda victim=victim: len(sleepers(mark) - {victim}) == 5)
            time.sleep(1)
            leader = psutil.Process(process.pid)
            zombies = [p for p in leader.children() if p.status() == psutil.STATUS_ZOMBIE]
            found.append((rss(process), leader.num_fds(), leader.num_threads(), len(zombies)))
    names = ("rss_bytes", "descriptors", "threads", "zombies")
    grown = (b - a for a, b in zip(*found, strict=True))
    return {f"after_500_restarts_{name}": n for name, n in zip(names, grown, strict=True)}


def ps_time(peer, runs=15):
    """How long ``naq ps`` takes with 50 children."""
    took = []
    with running(peer, 50) as (*_, directory):
        for _ in range(runs):
            began = time.perf_counter()
            subprocess.run(
                [peer.bin / "naq", "ps"], cwd=directory, stdout=subprocess.DEVNULL, check=False
            )
            took.append(time.perf_counter() - began)
    return {"ps_s": statistics.median(took)}


# Prints 20 lines a second for some seconds, then says what each print took.
TALKER = """
import os, sys, time
took, end = [], time.monotonic() + 6
while time.monotonic() < end:
    began = time.monotonic()
    os.write(1, b"x" * 200 + b"\\n")
    took.append(time.monotonic() - began)
    time.sleep(0.05)
name = f"took.{os.environ['NAQ_REPLICA']}"
with open(name + ".new", "w") as file:
    file.write("\\n".join(map(str, took)))
os.rename(name + ".new", name)
time.sleep(1000)
"""


def stalled_client(peer, number=200):
    """What a print costs 200 children (p99.9), with and without a ``logs -f`` that does not read.

    Not the slowest one of all: that is 200 processes on a few processors, whoever reads them.
    """
    return {
        "print_s": print_time(peer, number, stalled=False),
        "print_with_a_stalled_client_s": print_time(peer, number, stalled=True),
    }


def print_time(peer, number, *, stalled):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "talk.py").write_text(TALKER)
        peer.write(directory, ["python3", "-I", "-S", "talk.py"], number)
        process = peer.start(directory, number)
        try:
            path = directory / ".naq" / "run" / "control.sock"
            until(path.exists)
            with socket.socket(socket.AF_UNIX) as link:
                if stalled:
                    link.connect(str(path))
                    request = {"v": 1, "id": 1, "cmd": "logs", "args": {"follow": True}}
                    link.sendall(json.dumps(request).encode() + b"\n")
                until(lambda: len(list(directory.glob("took.*[0-9]"))) == number)
            took = [
                float(line)
                for file in directory.glob("took.*[0-9]")
                for line in file.read_text().splitlines()
            ]
            return sorted(took)[int(len(took) * 0.999)]
        finally:
            stop(process)
