"""``naq dashboard``."""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from naq.cli import render
from naq.cli._common import Common, settings

if TYPE_CHECKING:
    from naq.dashboard.serve import Dashboard

__all__ = ["dashboard"]

log = logging.getLogger("naq.dashboard")


def dashboard(
    *,
    host: str | None = None,
    port: int | None = None,
    token: str | None = None,
    proxy_header: str | None = None,
    readonly: Annotated[bool, Parameter(negative=())] = False,
    common: Common | None = None,
) -> int:
    """Serve the dashboard.

    Args:
        host: Address to listen at. Default: NAQ_DASHBOARD_HOST, or 127.0.0.1.
        port: Default: NAQ_DASHBOARD_PORT, or 8080; 0 is any free one.
        token: What one logs in with. Default: NAQ_DASHBOARD_TOKEN; else one is made and printed.
        proxy_header: Header in which a reverse proxy names who it has let through.
        readonly: Show only.
    """
    import trio

    from naq.cli import _logs
    from naq.dashboard.serve import Dashboard

    common = common or Common()
    current = settings()
    _logs.configure(common.log_level or current.log_level, current.log_format)
    described = Dashboard(
        host=host or os.environ.get("NAQ_DASHBOARD_HOST") or "127.0.0.1",
        port=_port(port),
        token=token or os.environ.get("NAQ_DASHBOARD_TOKEN") or None,
        proxy_header=proxy_header,
        readonly=readonly,
        nats_url=common.nats_url,
        settings=current,
    )
    problem = trio.run(partial(_serve, described))
    if problem is not None:
        raise problem
    return 0


def _port(given: int | None) -> int:
    from naq.exceptions import EnvironmentProblemError

    if given is not None:
        return given
    text = os.environ.get("NAQ_DASHBOARD_PORT") or "8080"
    if not text.isdecimal():
        raise EnvironmentProblemError(f"NAQ_DASHBOARD_PORT={text!r}: must be a port")
    return int(text)


async def _serve(described: Dashboard) -> Exception | None:
    """Serve, with what surrounds it in a process of its own: signals, a supervisor."""
    import trio

    from naq.exceptions import NaqException
    from naq.supervisor.notify import lifeline_lost, notify, watchdog_pings

    async def stop_when_alone() -> None:
        await lifeline_lost()
        log.warning("the supervisor is gone: stopping")
        described.stop()

    async def obey(*, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            count = 0
            async for received in signals:
                count += 1
                if count > 2:
                    os._exit(128 + received)
                described.stop()

    class Ready:
        def started(self, value: object = None, /) -> None:
            del value
            notify("READY=1")
            if described.generated:
                render.line(f"dashboard: {described.login_url}")

    problem: Exception | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(obey)
        nursery.start_soon(stop_when_alone)
        nursery.start_soon(watchdog_pings)
        try:
            await described.run(task_status=Ready())
        except NaqException as exc:
            problem = exc
        notify("STOPPING=1")
        nursery.cancel_scope.cancel()
    return problem
