"""One look at a service from outside: does its port, its url, or a command answer well."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from naq.supervisor.spec import Readiness

__all__ = ["probe_for"]

_MAX_ANSWER = 4096  # the status line is at its beginning


def probe_for(
    spec: Readiness, target: tuple[str, ...], *, env: Mapping[str, str], cwd: Path
) -> Callable[[], Awaitable[bool]]:
    """Return the probe of ``spec``: True is a success; an OSError is as good as False.

    Args:
        spec: with ``probe`` one of http, tcp, exec.
        target: its target with templates filled in.
        env: environment of a command.
        cwd: directory of a command.
    """
    match spec.probe:
        case "tcp":
            host, _, port = target[0].rpartition(":")
            return partial(_tcp, host.strip("[]"), int(port))
        case "http":
            return partial(_http, target[0], spec.status)
        case _:
            return partial(_exec, target, env, cwd)


async def _tcp(host: str, port: int) -> bool:
    stream = await trio.open_tcp_stream(host, port)
    await stream.aclose()
    return True


async def _http(url: str, status: tuple[int, int]) -> bool:
    """GET ``url`` with HTTP/1.1 and look at the status line. Redirects are not followed."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        "User-Agent: naq\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    if secure:
        stream = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=host)
    async with stream:
        await stream.send_all(request.encode("ascii", "replace"))
        answer = b""
        while b"\n" not in answer and len(answer) < _MAX_ANSWER:
            chunk = await stream.receive_some(_MAX_ANSWER)
            if not chunk:
                break
            answer += chunk
    words = answer.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return False
    return status[0] <= int(words[1]) <= status[1]


async def _exec(argv: tuple[str, ...], env: Mapping[str, str], cwd: Path) -> bool:
    """Run a command; success is exit code 0. When time is up the whole of it is killed."""
    done = await trio.run_process(
        argv,
        env=dict(env),
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        start_new_session=True,
        deliver_cancel=_kill_group,
    )
    return done.returncode == 0


async def _kill_group(process: trio.Process) -> None:
    os.killpg(process.pid, signal.SIGKILL)
