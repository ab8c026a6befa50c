"""The stage of a measurement: a fresh nats-server, worker processes, the wait for the end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from naq.services.server import EmbeddedServer, find_binary, run_server

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def server():
    """Run a nats-server with its data in a new directory; yield its url."""
    with tempfile.TemporaryDirectory(prefix="naq-bench-") as home:
        config = EmbeddedServer(
            binary=find_binary(), run_dir=Path(home, "run"), store_dir=Path(home, "jetstream")
        )
        async with run_server(config) as pid:
            yield Stage(config.url_with_token, pid)


class Stage:
    """A running server."""

    def __init__(self, url, pid):
        self.url = url
        self.pid = pid

    def worker(self, *, backend, concurrency=32, uvloop=True):
        """Run a worker in a process of its own; yield its pid once it takes jobs."""
        command = ["worker", "default", "--backend", backend, "--concurrency", str(concurrency)]
        return self.program(*command, uvloop=uvloop)

    def scheduler(self):
        """Run a scheduler in a process of its own; yield its pid once it takes ticks."""
        return self.program("scheduler")

    @contextmanager
    def program(self, *arguments, uvloop=True):
        """Run a naq command that serves; yield its pid once it is ready."""
        with (
            tempfile.TemporaryDirectory() as home,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready,
        ):
            ready.bind(f"{home}/notify")
            ready.settimeout(30)
            env = {
                **os.environ,
                "NAQ_NATS_URL": self.url,
                "NOTIFY_SOCKET": f"{home}/notify",
                "PYTHONPATH": str(ROOT),
            }
            command = [sys.executable, "-m", "naq", *arguments, "--log-level", "error"]
            if not uvloop:
                command[2] = "benchmarks.measures.no_uvloop"
            process = subprocess.Popen(command, env=env)
            try:
                while b"READY=1" not in ready.recv(4096):
                    pass
                yield process.pid
            finally:
                process.terminate()
                process.wait(30)
