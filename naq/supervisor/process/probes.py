"""One look at a service from outside: does its port, its URL or a command answer well?"""

from __future__ import annotations

import errno
import ssl
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from naq.base.text import address
from naq.supervisor.process.process import run_helper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from naq.supervisor.model.spec import Readiness

__all__ = ["look", "probe_for"]

_CHUNK = 4096
_LONGEST = 3600.0  # the caller's timeout is what counts

# No descriptor, no memory, no such command: a probe that cannot be made is no reason to restart
# anything. Kubernetes has the same rule.
_OUR_FAULT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOENT, errno.EACCES}
)


class _AtOnce:
    """How many probes may run a command at the same time, per event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("probes")

    def get(self) -> trio.CapacityLimiter:
        try:
            return self._limiter.get()
        except LookupError:
            self._limiter.set(trio.CapacityLimiter(self._limit))
            return self._limiter.get()


_AT_ONCE = _AtOnce(4)


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
            return partial(_tcp, *address(target[0]))
        case "http":
            return partial(_http, target[0], spec.status)
        case _:
            return partial(_exec, target, env, cwd)


async def _tcp(host: str, port: int) -> bool:
    stream = await trio.open_tcp_stream(host, port)
    await stream.aclose()
    return True


async def _http(url: str, status: tuple[int, int]) -> bool:
    """GET ``url`` and look at the status of the answer. Redirects are not followed."""
    from naq.base.http import ClientExchange  # noqa: PLC0415 - most projects have no such probe

    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    stream: trio.abc.Stream = await trio.open_tcp_stream(
        host, parts.port or (443 if secure else 80)
    )
    if secure:
        stream = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=host)
    async with stream:
        try:
            exchange = ClientExchange(parts.netloc.rpartition("@")[2], target)
            await stream.send_all(exchange.request)
            while (answer := exchange.receive(bytes(await stream.receive_some(_CHUNK)))) is None:
                pass
        except ValueError:
            return False
    return status[0] <= answer.code <= status[1]


async def _exec(argv: tuple[str, ...], env: Mapping[str, str], cwd: Path) -> bool:
    """Run a command; success is exit code 0. When time is up the whole of it is killed."""
    async with _AT_ONCE.get():
        done = await run_helper(argv, env=env, cwd=cwd, timeout=_LONGEST)
    return done.code == 0


async def look(probe: Callable[[], Awaitable[bool]], timeout: float) -> bool | None:
    """Probe once: True, False, or None if the fault is ours and says nothing about the service.

    Args:
        probe: from :func:`probe_for`.
        timeout: seconds; longer is a failure.
    """
    with trio.move_on_after(timeout):
        try:
            return await probe()
        except OSError as exc:
            return None if exc.errno in _OUR_FAULT else False
        except trio.BrokenResourceError:
            return False
    return False
