"""How long the command line takes, and a whole tree until it is ready."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._stage import ROOT

TOPOLOGY = """
version = 1
[services.nats]
type = "nats"
port = 0
[services.worker]
type = "worker"
replicas = 2
depends_on = ["nats"]
"""


def version(runs):
    """Milliseconds of ``naq --version``."""
    times = []
    for _ in range(5 * runs):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "naq", "--version"], check=True, capture_output=True)
        times.append((time.perf_counter() - began) * 1000)
    return {"version_ms": (times, "ms")}


def up(runs):
    """Seconds from typing ``naq up`` until nats and two workers are ready; then ``naq ps``."""
    times, lists = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="naq-bench-") as home:
            Path(home, "supervisor.toml").write_text(TOPOLOGY)
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            began = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "naq", "up"],
                cwd=home,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            said = b""
            while b"all services are up" not in said:
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError(f"naq up has ended:\n{said.decode()}")
                said += line
            times.append(time.perf_counter() - began)
            lists += [_ps(home, env) for _ in range(5)]
            process.terminate()
            process.communicate(timeout=60)
    return {"up_s": (times, "s"), "ps_ms": (lists, "ms")}


def _ps(home, env):
    """Return the milliseconds of ``naq ps`` beside that tree."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "naq", "ps"]
    subprocess.run(command, cwd=home, env=env, check=True, capture_output=True)
    return (time.perf_counter() - began) * 1000
