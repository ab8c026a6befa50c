"""``naq worker``, ``naq scheduler``: the programs that serve.

``naq dashboard``.
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
from cyclopts import Parameter

from naq.cli import render
from naq.cli.common import Common, seconds, settings
from naq.exceptions import EnvironmentProblemError, NaqException

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from anyio.abc import TaskStatus

    from naq.dashboard.serve import Dashboard
    from naq.schedules.scheduler import Scheduler
    from naq.worker.worker import Worker

    Intake = Mapping[signal.Signals, Callable[[], None]]

__all__ = ["dashboard", "scheduler", "worker"]

log = logging.getLogger("naq.worker")

THREADS_TIMEOUT = 0.5
"""Seconds the threads of a program that has ended get to end too."""


def worker(
    *queues: str,
    concurrency: Annotated[int, Parameter(name=["--concurrency", "-c"])] = 10,
    name: Annotated[str | None, Parameter(name=["--name", "-n"])] = None,
    backend: Literal["asyncio", "trio"] = "asyncio",
    modules: Annotated[tuple[str, ...], Parameter(name=["--import", "-m"])] = (),
    allow: tuple[str, ...] = (),
    burst: Annotated[bool, Parameter(negative=())] = False,
    drain_timeout: str = "30",
    crash_limit: int = 3,
    metrics: str | None = None,
    common: Common | None = None,
) -> int:
    """Run jobs of queues.

    The first Ctrl-C or SIGTERM lets running jobs finish, the second hands them back at once.
    SIGUSR1: take no more jobs until SIGUSR2.

    Args:
        queues: Names of queues, all served alike. Default: NAQ_DEFAULT_QUEUE.
        concurrency: How many jobs run at the same time.
        name: Unique name of this worker. Default: made of host, pid and chance.
        backend: Event loop: asyncio (uvloop where there is one) or trio.
        modules: Modules with tasks, imported before the first job.
        allow: Modules whose functions may run in json mode.
        burst: Stop when the queues are empty.
        drain_timeout: Seconds running jobs get when the worker is stopped.
        crash_limit: How many workers a job may take down before it is dead-lettered.
        metrics: HOST:PORT to answer /healthz, /readyz and /metrics at. Default: nowhere.
    """
    from naq.cli import logs as _logs
    from naq.worker.worker import Worker

    common = common or Common()
    current = settings()
    _logs.configure(common.log_level or current.log_level, current.log_format)
    faulthandler.enable()  # SIGABRT, which a watchdog sends, shows where it hangs
    _import(modules)
    described = Worker(
        queues,
        nats_url=common.nats_url,
        concurrency=concurrency,
        name=name,
        drain_timeout=seconds(drain_timeout, "--drain-timeout"),
        burst=burst,
        crash_limit=crash_limit,
        allow=allow,
        settings=current,
    )
    pausing = {signal.SIGUSR1: described.pause, signal.SIGUSR2: described.resume}
    _run(described, backend, pausing, metrics)
    return _leave(0)


def scheduler(
    *,
    poll_interval: Annotated[str, Parameter(name=["--poll-interval", "-p"])] = "10",
    instance_id: Annotated[str | None, Parameter(name=["--instance-id", "-i"])] = None,
    disable_ha: Annotated[bool, Parameter(negative=())] = False,
    backend: Literal["asyncio", "trio"] = "asyncio",
    metrics: str | None = None,
    common: Common | None = None,
) -> int:
    """Do for schedules with a policy what the server cannot. Any number may run, without a leader.

    Args:
        poll_interval: How often missed runs are looked for: 10, 30s, 1m.
        instance_id: Unique name of this scheduler. Default: made of host, pid and chance.
        disable_ha: Look for missed runs each time, whether or not another scheduler just has.
        backend: Event loop: asyncio (uvloop where there is one) or trio.
        metrics: HOST:PORT to answer /healthz, /readyz and /metrics at. Default: nowhere.
    """
    from naq.cli import logs as _logs
    from naq.schedules.scheduler import Scheduler

    common = common or Common()
    current = settings()
    _logs.configure(common.log_level or current.log_level, current.log_format)
    faulthandler.enable()
    described = Scheduler(
        nats_url=common.nats_url,
        poll_interval=seconds(poll_interval, "--poll-interval"),
        instance_id=instance_id,
        enable_ha=not disable_ha,
        settings=current,
    )
    _run(described, backend, {}, metrics)
    return _leave(0)


def _run(described: Worker | Scheduler, backend: str, intake: Intake, metrics: str | None) -> None:
    use_uvloop = backend == "asyncio" and importlib.util.find_spec("uvloop") is not None
    options = {"use_uvloop": True} if use_uvloop else {}
    anyio.run(partial(_serve, described, intake, metrics), backend=backend, backend_options=options)


def _import(modules: tuple[str, ...]) -> None:
    """Import modules with tasks, from the current directory too, as ``python -m`` does."""
    sys.path.insert(0, str(Path.cwd()))
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as exc:
            raise EnvironmentProblemError(
                f"--import {module}: {type(exc).__name__}: {exc}"
            ) from exc


async def _serve(described: Worker | Scheduler, intake: Intake, metrics: str | None) -> None:
    """Run one of these with what surrounds it in a process of its own: signals, a supervisor."""
    from naq.supervisor.notify import lifeline_lost, notify, watchdog_pings

    async def stop_when_alone() -> None:
        await lifeline_lost()
        log.warning("the supervisor is gone: stopping")
        described.stop()

    problem: NaqException | None = None
    async with anyio.create_task_group() as tasks:
        await tasks.start(_obey_signals, described, intake)
        tasks.start_soon(stop_when_alone)
        tasks.start_soon(watchdog_pings)
        try:
            if metrics is not None:
                from naq.worker.monitor import serve_monitor

                await tasks.start(serve_monitor, metrics, described)
            await described.run(task_status=_Ready())
        except NaqException as exc:
            problem = exc  # raised outside of the group, which would wrap it
        notify("STOPPING=1")
        tasks.cancel_scope.cancel()
    if problem is not None:
        raise problem


class _Ready:
    """Tells the supervisor that it takes jobs, or ticks."""

    def started(self, value: object = None) -> None:  # noqa: ARG002 - a task status has it
        """Send READY=1."""
        from naq.supervisor.notify import notify

        notify("READY=1")


async def _obey_signals(
    described: Worker | Scheduler,
    intake: Intake,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    stopping = (signal.SIGTERM, signal.SIGINT)
    with anyio.open_signal_receiver(*stopping, *intake) as signals:
        task_status.started()
        count = 0
        async for received in signals:
            if received not in stopping:
                intake[received]()
                continue
            count += 1
            if count > 2:
                os._exit(128 + received)
            if count == 1:
                log.info("%s: stopping when running jobs are done", received.name)
            described.stop()


def _leave(code: int) -> int:
    """End the process even if a thread of a job never returns.

    What was registered with ``atexit`` (somebody's traces are still to be sent) runs unless one is
    stuck: threads that have nothing to do any more get the time to end.
    """
    until = time.monotonic() + THREADS_TIMEOUT
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                _end_now(code)
    return code


def _end_now(code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


_dashboard_log = logging.getLogger("naq.dashboard")


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

    from naq.cli import logs as _logs
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
    problem = trio.run(partial(_serve_dashboard, described))
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


async def _serve_dashboard(described: Dashboard) -> Exception | None:
    """Serve, with what surrounds it in a process of its own: signals, a supervisor."""
    import trio

    from naq.exceptions import NaqException
    from naq.supervisor.notify import lifeline_lost, notify, watchdog_pings

    async def stop_when_alone() -> None:
        await lifeline_lost()
        _dashboard_log.warning("the supervisor is gone: stopping")
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
