"""nats-server and Redis for one run: a free port on loopback, a new directory, stopped by pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.staging.processes import running
from naq.base.local import free_port
from naq.services.server import EmbeddedServer, find_binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["DURABILITY", "Broker", "missing", "serve", "version"]

READY = 20.0
DURABILITY = {
    "nats": "file storage; written before each acknowledgement, synced to disk every 2 minutes",
    "redis": "appendonly no, no snapshots: in memory, nothing survives the end of Redis",
    "redis-everysec": "appendonly yes, appendfsync everysec",
}


@dataclass(frozen=True)
class Broker:
    """A running server."""

    url: str
    pid: int


def missing(kind: str) -> str:
    """Return what to do when there is no such server on this machine, or nothing."""
    if kind == "redis" and shutil.which("redis-server") is None:
        return "there is no redis-server: apt-get install redis-server"
    return ""


def version(kind: str) -> str:
    """Return the version of a server."""
    command = ["redis-server", "--version"] if kind == "redis" else [find_binary(), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def serve(kind: str, home: Path, *, everysec: bool = False) -> Iterator[Broker]:
    """Run a server with its data under ``home``."""
    log, env = home / f"{kind}.log", dict(os.environ)
    if kind == "redis":
        port = free_port()
        keeps = ("yes" if everysec else "no", "everysec")
        command = [
            *("redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(home)),
            *("--save", "", "--appendonly", keeps[0], "--appendfsync", keeps[1]),
        ]
        url = f"redis://127.0.0.1:{port}/0"
        ready = partial(_pong, port)
    else:
        server = EmbeddedServer(
            binary=find_binary(), run_dir=home / "run", store_dir=home / "jetstream"
        )
        command, url = server.configure(), server.url_with_token
        env |= server.environment(env)
        ready = partial(_healthy, server.health_url)
    with running(command, cwd=home, env=env, log=log) as process:
        until = time.monotonic() + READY
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{kind} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.02)
        yield Broker(url, process.pid)


def _pong(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(b"PING\r\n")
            return link.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
