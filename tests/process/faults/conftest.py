"""Real workers as processes, and servers that may be killed."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from naq.services.server import EmbeddedServer, find_binary
from naq.settings import Settings

SUPPORT = Path(__file__).parents[2] / "support" / "faults"
ACK_WAIT = 2


class Program:
    """A process that says READY=1 as systemd wants it, so that nobody has to guess when."""

    def __init__(self, command, env, home, pass_fds=()):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = home / f"{secrets.token_hex(4)}.sock"
        self.socket.bind(str(address))
        self.socket.settimeout(20)
        self.log = home / f"{secrets.token_hex(4)}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **env, "NOTIFY_SOCKET": str(address)},
                stdout=log,
                stderr=log,
                cwd=SUPPORT,
                pass_fds=pass_fds,
            )

    def wait_ready(self):
        while b"READY=1" not in self.socket.recv(4096):
            pass
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=20):
        return self.process.wait(timeout)

    @property
    def output(self):
        return self.log.read_text(errors="replace")

    def close(self):
        self.socket.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)


class Broker:
    """A nats-server that a test may kill and start again."""

    def __init__(self, home):
        self.config = EmbeddedServer(
            binary=find_binary(), run_dir=home / "run", store_dir=home / "jetstream"
        )
        self.log = home / "nats.log"

    def start(self, change=None):
        command = self.config.configure()
        if change is not None:
            change(self.config.run_dir / "nats.conf")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        anyio.run(self.config.wait_healthy)

    def kill(self):
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def settings(broker):
    return Settings(
        nats_url=broker.config.url_with_token, prefix="t1", default_ack_wait=float(ACK_WAIT)
    )


@pytest.fixture
def env(settings):
    return {
        "NAQ_NATS_URL": settings.nats_url,
        "NAQ_PREFIX": settings.prefix,
        "NAQ_DEFAULT_ACK_WAIT": str(ACK_WAIT),
        "PYTHONPATH": str(SUPPORT),
    }


@pytest.fixture
def start_worker(env, tmp_path):
    """``start_worker("--concurrency", "2")``: a worker process that takes jobs.

    ``backend``: asyncio (with uvloop), plain asyncio, trio.
    """
    started = []

    def start(*arguments, backend="asyncio", step=None, pass_fds=(), wait=True, **more):
        if step is None:
            module = {"plain asyncio": "benchmarks.measures.no_uvloop"}.get(backend, "naq")
            loop = backend.removeprefix("plain ")
            command = [sys.executable, "-m", module, "worker", "default", "--backend", loop]
            command += arguments
        else:
            command = [sys.executable, str(SUPPORT / "fault_worker.py"), step]
        program = Program(command, {**env, **more}, tmp_path, pass_fds)
        started.append(program)
        return program.wait_ready() if wait else program

    yield start
    for program in started:
        program.close()


@pytest.fixture
def start_scheduler(env, tmp_path):
    """``start_scheduler("--instance-id", "a")``: a scheduler process that takes ticks."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "naq", "scheduler", "--poll-interval", "1", *arguments]
        program = Program(command, env, tmp_path)
        started.append(program)
        return program

    yield start
    for program in started:
        program.close()


@pytest.fixture
def notes(tmp_path):
    """Where jobs leave a line per run; ``notes.lines()`` reads them."""

    class Notes:
        path = str(tmp_path / "notes")

        def lines(self):
            file = Path(self.path)
            return file.read_text().splitlines() if file.exists() else []

    return Notes()
