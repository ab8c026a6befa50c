"""Open one connection to NATS, or say in one line why there is none.

The first connection fails at once where nobody listens; nats-py by itself would try for ever. Later
ones, for a client that was closed for good, are opened here as well, by whoever keeps trying.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import anyio

from naq._locate import redact
from naq._nats import NatsClient, nats_errors
from naq.exceptions import ConfigurationError, NaqConnectionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq._locate import Target
    from naq._subscription import Subscription

__all__ = ["CONNECT_TIMEOUT", "dial"]

log = logging.getLogger("naq.connection")

CONNECT_TIMEOUT = 5.0
"""Seconds for all servers of the list together."""
DISPOSE_TIMEOUT = 2.0
PING_INTERVAL = 2
"""Seconds between pings; two unanswered ones mean the link is dead. Two and not one: a loop that
user code blocks for a while sends one late ping when it comes back, and must not lose its link."""
MINIMUM_SERVER = (2, 14)


async def dial(
    target: Target, *, name: str, routes: Mapping[bytes, Subscription], **callbacks: Any
) -> tuple[NatsClient, str]:
    """Return a connected client and the version of its server.

    Every server of the list is tried once; then the last error counts.

    Args:
        target: where, and with which credentials.
        name: shown in the server's monitoring.
        routes: who gets which messages.
        callbacks: nats-py's, for what happens later.

    Raises:
        NaqConnectionError: nobody there, credentials refused, too old.
        ConfigurationError: the credentials need a package that is not installed.
    """
    nc = NatsClient(routes)
    problems: list[Exception] = []
    scope = anyio.CancelScope()
    connected = False

    async def on_error(exc: Exception) -> None:
        if connected:
            log.warning("NATS: %s", str(exc).removeprefix("nats: ") or type(exc).__name__)
            return
        problems.append(exc)
        if len(problems) >= len(target.servers):
            scope.cancel()

    try:
        with anyio.move_on_after(CONNECT_TIMEOUT), scope:
            await nc.connect(
                target.servers,
                name=name,
                error_cb=on_error,
                max_reconnect_attempts=-1,
                connect_timeout=2,
                ping_interval=PING_INTERVAL,
                token=target.token,
                user=target.user,
                password=target.password,
                user_credentials=target.creds,
                nkeys_seed=target.nkey_seed,
                tls=target.tls,
                **callbacks,
            )
            connected = True
    except ImportError as exc:
        raise ConfigurationError(
            "credentials with nkeys need one more package: pip install 'naq[nkeys]'"
        ) from exc
    except (nats_errors.Error, OSError, ValueError) as exc:
        problems.append(exc)
    problem: NaqConnectionError | None
    if connected:
        version = nc.connected_server_version
        problem = _too_old(target, version.major, version.minor)
        if problem is None:
            return nc, f"{version.major}.{version.minor}.{version.patch}"
    else:
        problem = _cannot_connect(target, problems[-1] if problems else None)
    with anyio.move_on_after(DISPOSE_TIMEOUT, shield=True):
        await nc.dispose()
    raise problem


def _too_old(target: Target, major: int, minor: int) -> NaqConnectionError | None:
    if (major, minor) >= MINIMUM_SERVER:
        return None
    need = ".".join(map(str, MINIMUM_SERVER))
    return NaqConnectionError(
        f"nats-server {major}.{minor} at {redact(target.url)} is too old: naq needs {need} or newer"
    )


def _cannot_connect(target: Target, problem: Exception | None) -> NaqConnectionError:
    url = ",".join(redact(server) for server in target.servers)
    where = f"{url} (from {target.source})"
    text = "" if problem is None else str(problem) or type(problem).__name__
    if isinstance(problem, OSError) and problem.errno:
        text = os.strerror(problem.errno).lower()
    if "authorization" in text.lower() or "authentication" in text.lower():
        error = NaqConnectionError(f"the NATS server at {where} refuses these credentials")
    else:
        said = f": {text}" if text else ""
        error = NaqConnectionError(f"no NATS server answers at {where}{said}; `naq up` starts one")
    error.__cause__ = problem
    return error
