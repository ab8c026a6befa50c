"""How long naq's command line takes, and a whole project until it is ready."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.staging import venvs

if TYPE_CHECKING:
    from benchmarks.staging.contestants import Contestant

__all__ = ["measure"]

COMMANDS = 5  # of each, in a round; their median counts
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


def measure(contestant: Contestant) -> dict[str, float]:
    """Return the figures of a round: ``naq --version``, ``naq up`` and, beside it, ``naq ps``."""
    with tempfile.TemporaryDirectory(prefix="naq-bench-") as home:
        Path(home, "supervisor.toml").write_text(TOPOLOGY)
        naq = _Naq(contestant, home)
        version_ms = naq.milliseconds("--version")
        began = time.perf_counter()
        with naq.start("up") as up:
            try:
                _wait_ready(up)
                up_s = time.perf_counter() - began
                ps_ms = naq.milliseconds("ps")
            finally:
                up.terminate()
                up.communicate(timeout=60)
    return {"version_ms": version_ms, "ps_ms": ps_ms, "up_s": up_s}


class _Naq:
    """The command line of a contestant, in a project's directory."""

    def __init__(self, contestant: Contestant, home: str) -> None:
        self._command = [venvs.python(contestant), "-m", "naq"]
        self._home = home
        self._env = {**os.environ, "PYTHONPATH": str(venvs.tree(contestant))}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command; standard error goes where its output goes."""
        return subprocess.Popen(
            [*self._command, *arguments],
            cwd=self._home,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def milliseconds(self, *arguments: str) -> float:
        """Run a command some times; return the median of how long it took."""
        times = []
        for _ in range(COMMANDS):
            began = time.perf_counter()
            with self.start(*arguments) as process:
                output, _ = process.communicate(timeout=60)
            if process.returncode:
                raise RuntimeError(f"naq {' '.join(arguments)} has failed:\n{output.decode()}")
            times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)


def _wait_ready(up: subprocess.Popen[bytes]) -> None:
    assert up.stdout is not None
    said = b""
    while b"all services are up" not in said:
        line = up.stdout.readline()
        if not line:
            raise RuntimeError(f"naq up has ended:\n{said.decode()}")
        said += line
