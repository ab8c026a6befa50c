"""``naq worker``, ``naq scheduler``, ``naq dashboard``: the programs that serve until stopped.

Each command describes what it serves; :func:`_serve` runs that as a well-behaved process: it obeys
signals, tells a supervisor that it is ready and alive, and stops when the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import logging
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import anyio
from cyclopts import Parameter

from naq.base import backoff
from naq.base.fork import undone_in_children
from naq.base.imports import let_import
from naq.cli import boundary, render
from naq.cli.common import Common, Duration, Flag, import_problem, settings
from naq.exceptions import EnvironmentProblemError, NaqException, NoServerError
from naq.supervisor.notify import lifeline_lost, notify, watchdog_pings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from anyio.abc import TaskStatus

    from naq.settings import Settings

    Handlers = Mapping[signal.Signals, Callable[[], None]]
    """What to do at which signal."""

__all__ = ["dashboard", "scheduler", "worker"]

THREADS_TIMEOUT = 0.5
"""Seconds the threads of a program that has ended get to end as well."""

Backend = Literal["asyncio", "trio"]


class Program(Protocol):
    """What can be served."""

    async def run(self, *, task_status: Any) -> None:
        """Run until stopped; ``task_status.started()`` says that it is ready."""

    def stop(self) -> None:
        """Ask it to end; the second time, to end at once."""


def worker(
    *queues: str,
    concurrency: Annotated[int, Parameter(name=["--concurrency", "-c"])] = 10,
    name: Annotated[str | None, Parameter(name=["--name", "-n"])] = None,
    backend: Backend = "asyncio",
    modules: Annotated[tuple[str, ...], Parameter(name=["--import", "-m"])] = (),
    allow: tuple[str, ...] = (),
    burst: Flag = False,
    drain_timeout: Duration = Duration(30),  # noqa: B008 - a number
    crash_limit: int = 3,
    stall_timeout: Duration = Duration(300),  # noqa: B008 - a number
    metrics: str | None = None,
    common: Common | None = None,
) -> int:
    """Run jobs of queues.

    The first Ctrl-C or SIGTERM lets running jobs finish, the second hands them back at once.
    After SIGUSR1 it takes no more jobs until SIGUSR2.

    Args:
        queues: Names of queues, all served alike. Default: NAQ_DEFAULT_QUEUE.
        concurrency: How many jobs run at the same time.
        name: Unique name of this worker. Default: made of host, process id and a random part.
        backend: Event loop: asyncio (uvloop if it is installed) or trio.
        modules: Modules with tasks, imported before the first job.
        allow: Modules whose functions may run in JSON mode, or globs of whole names.
        burst: Stop when the queues are empty.
        drain_timeout: Time that running jobs get when the worker is stopped: 30, 2m.
        crash_limit: How many workers a job may take down before it becomes a dead letter.
        stall_timeout: Time that a job may block the event loop before the worker ends: 30, 5m.
            0: any.
        metrics: HOST:PORT at which to serve /healthz, /readyz and /metrics. Default: nowhere.
    """
    from naq.worker.life.guardian import ledger_or_guardian
    from naq.worker.worker import Worker

    current = _prepare(common)
    _import(modules)
    described = Worker(
        queues,
        nats_url=common.nats_url if common else None,
        concurrency=concurrency,
        name=name,
        drain_timeout=drain_timeout,
        burst=burst,
        crash_limit=crash_limit,
        stall_timeout=stall_timeout or None,
        allow=allow,
        settings=current,
    )
    with ExitStack() as stack:
        url = common.nats_url if common else None
        described.ledger = stack.enter_context(ledger_or_guardian(url))
        described.on_stranded = partial(_leave_functions, stack)
        _serve(
            described,
            backend,
            log=logging.getLogger("naq.worker"),
            stopping="stopping when running jobs are done",
            handlers={signal.SIGUSR1: described.pause, signal.SIGUSR2: described.resume},
            monitor=_monitor(metrics, described),
        )
    return _leave(0)


def scheduler(
    *,
    poll_interval: Annotated[Duration, Parameter(name=["--poll-interval", "-p"])] = Duration(10),  # noqa: B008 - a number
    instance_id: Annotated[str | None, Parameter(name=["--instance-id", "-i"])] = None,
    disable_ha: Flag = False,
    backend: Backend = "asyncio",
    metrics: str | None = None,
    common: Common | None = None,
) -> int:
    """Run schedules that need more than the server does. Any number may run, without a leader.

    Args:
        poll_interval: How often to look for missed runs: 10, 30s, 1m.
        instance_id: Unique name of this scheduler. Default: made of host, process id and a random
            part.
        disable_ha: Look for missed runs every time, even if another scheduler just has.
        backend: Event loop: asyncio (uvloop if it is installed) or trio.
        metrics: HOST:PORT at which to serve /healthz, /readyz and /metrics. Default: nowhere.
    """
    from naq.schedules.scheduler import Scheduler

    current = _prepare(common)
    described = Scheduler(
        nats_url=common.nats_url if common else None,
        poll_interval=poll_interval,
        instance_id=instance_id,
        enable_ha=not disable_ha,
        settings=current,
    )
    _serve(
        described,
        backend,
        log=logging.getLogger("naq.scheduler"),
        stopping="stopping",
        monitor=_monitor(metrics, described),
    )
    return _leave(0)


def dashboard(
    *,
    host: str | None = None,
    port: int | None = None,
    token: str | None = None,
    proxy_header: str | None = None,
    readonly: Flag = False,
    common: Common | None = None,
) -> int:
    """Serve the dashboard.

    Args:
        host: Address to listen on. Default: NAQ_DASHBOARD_HOST, or 127.0.0.1.
        port: Port to listen on; 0: any free one. Default: NAQ_DASHBOARD_PORT, or 8080.
        token: What people log in with. Default: NAQ_DASHBOARD_TOKEN, or one is made up and printed.
        proxy_header: Header in which a reverse proxy names the user it has authenticated.
        readonly: Show everything, change nothing.
    """
    from naq.dashboard.serve import Dashboard

    current = _prepare(common)
    described = Dashboard(
        host=host or os.environ.get("NAQ_DASHBOARD_HOST") or "127.0.0.1",
        port=_dashboard_port() if port is None else port,
        token=token or os.environ.get("NAQ_DASHBOARD_TOKEN") or None,
        proxy_header=proxy_header,
        readonly=readonly,
        nats_url=common.nats_url if common else None,
        settings=current,
    )

    def say_where() -> None:
        if described.generated:
            render.line(f"dashboard: {described.login_url}")

    log = logging.getLogger("naq.dashboard")
    _serve(described, "trio", log=log, stopping="stopping", ready=say_where)
    return _leave(0)


def _dashboard_port() -> int:
    text = os.environ.get("NAQ_DASHBOARD_PORT") or "8080"
    if not text.isdecimal():
        raise EnvironmentProblemError(f"NAQ_DASHBOARD_PORT={text!r}: must be a port")
    return int(text)


# ------------------------------------------------------------------ before


def _prepare(common: Common | None) -> Settings:
    """Read the settings, and set up the log and what shows where a process hangs."""
    from naq.cli import logs

    current = settings()
    logs.configure((common and common.log_level) or current.log_level, current.log_format)
    faulthandler.enable()  # at SIGABRT, which the supervisor sends to a process that hangs
    return current


def _import(modules: tuple[str, ...]) -> None:
    """Import modules with tasks, from the current directory too."""
    let_import()
    for module in modules:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as exc:
            raise EnvironmentProblemError(f"--import: {import_problem(module, exc)}") from exc


def _monitor(where: str | None, watched: Any) -> Callable[..., Coroutine[Any, Any, None]] | None:
    if where is None:
        return None
    from naq.worker.monitor import serve_monitor

    return partial(serve_monitor, where, watched)


# ------------------------------------------------------------------ while it runs


def _serve(
    program: Program,
    backend: Backend,
    *,
    log: logging.Logger,
    stopping: str,
    handlers: Handlers | None = None,
    monitor: Callable[..., Coroutine[Any, Any, None]] | None = None,
    ready: Callable[[], None] | None = None,
) -> None:
    """Run a program to its end.

    Args:
        program: what is run.
        backend: on which event loop.
        log: of the program.
        stopping: what to log at the first signal to stop.
        handlers: what to do at further signals.
        monitor: a task that listens before the program begins, for as long as it runs.
        ready: called when the program is ready.

    Raises:
        NaqException: the program cannot be run.
    """
    ended = False

    async def main() -> None:
        nonlocal ended
        problem: NaqException | None = None
        stopped = anyio.Event()

        def stop() -> None:
            program.stop()
            stopped.set()

        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(_obey_signals, stop, handlers or {}, log, stopping))
            tasks.start_soon(_stop_when_alone, stop, log)
            tasks.start_soon(watchdog_pings)
            try:
                if monitor is not None:
                    await tasks.start(monitor)
                await _run(program, _Ready(ready), log, stopped)
                ended = True
            except NaqException as exc:
                problem = exc  # raised outside the group, which would wrap it
            notify("STOPPING=1")
            tasks.cancel_scope.cancel()
        if problem is not None:
            raise problem

    options = {"loop_factory": _loop_factory()} if backend == "asyncio" else {}
    anyio.run(main, backend=backend, backend_options=options)
    if not ended:
        raise RuntimeError("a task of this program was cancelled, though nobody stopped it")


async def _run(program: Program, status: _Ready, log: logging.Logger, stopped: anyio.Event) -> None:
    """Run a program once there is a server; it is looked for until somebody stops the program."""
    attempt = 0
    while True:
        try:
            await program.run(task_status=status)
        except NoServerError as exc:
            if status.told or stopped.is_set():
                raise
            if not attempt:
                log.warning("%s; waiting for it", exc)
        else:
            return
        pause = backoff.exponential(attempt, initial=0.1, maximum=2.0, jitter=0.3)
        attempt += 1
        with anyio.move_on_after(pause):
            await stopped.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops that a task cannot end.

    A ``SystemExit`` or ``KeyboardInterrupt`` of a task ends asyncio's loops at once, whosever task
    it is: one that a job has started, too. The task has it as its exception all the same, and so
    has the job that waits for it. (Ctrl-C raises nothing here: it is a signal that is obeyed.)
    """
    base: Any = asyncio.SelectorEventLoop
    if find_spec("uvloop") is not None:
        import uvloop

        base = uvloop.Loop

    class Loop(base):  # type: ignore[misc]
        def run_until_complete(self, future: Any) -> Any:
            waited = asyncio.ensure_future(future, loop=self)
            while True:
                try:
                    return super().run_until_complete(waited)
                except (SystemExit, KeyboardInterrupt):
                    if waited.done():
                        raise
                    logging.getLogger("naq").exception("a task ends the event loop: it goes on")

    return Loop


class _Ready:
    """A task status that tells the supervisor."""

    def __init__(self, ready: Callable[[], None] | None) -> None:
        self.told = False
        self._ready = ready

    def started(self, value: object = None) -> None:  # noqa: ARG002 - a task status has it
        """Send READY=1."""
        self.told = True
        notify("READY=1")
        if self._ready is not None:
            self._ready()


async def _obey_signals(
    stop: Callable[[], None],
    handlers: Handlers,
    log: logging.Logger,
    stopping: str,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Stop the program at SIGTERM or SIGINT; at the third, end the process as it is."""
    ending = (signal.SIGTERM, signal.SIGINT)
    receiver = anyio.open_signal_receiver(*ending, *handlers)
    undo = partial(_forget_signals, *ending, *handlers)
    with undone_in_children(undo), receiver as signals:
        task_status.started()
        count = 0
        async for received in signals:
            if received not in ending:
                handlers[received]()
                continue
            count += 1
            if count > 2:
                # By the signal itself: whoever sees that does not take it for the fault of a job.
                signal.signal(received, signal.SIG_DFL)
                os.kill(os.getpid(), received)
            if count == 1:
                log.info("%s: %s", received.name, stopping)
            stop()


def _forget_signals(*numbers: signal.Signals) -> None:
    """Let signals do in a forked child what they do in any program."""
    signal.set_wakeup_fd(-1)
    for number in numbers:
        python = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if python else signal.SIG_DFL)


async def _stop_when_alone(stop: Callable[[], None], log: logging.Logger) -> None:
    await lifeline_lost()
    log.warning("the supervisor is gone: stopping")
    stop()


# ------------------------------------------------------------------ after


def _leave(code: int) -> int:
    """Return ``code``, unless a thread of a job never returns: then end the process with it.

    Functions registered with ``atexit``, such as one that sends the last traces, run unless a
    thread is stuck; threads that have nothing left to do get time to end.
    """
    until = time.monotonic() + THREADS_TIMEOUT
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                _exit(code)
    return code


def _leave_functions(stack: ExitStack, problem: Exception | None) -> None:
    """End the process without the functions that ignore that they are stopped."""
    notify("STOPPING=1")
    stack.close()  # says that this is no death
    _exit(0 if problem is None else boundary.say(problem))


def _exit(code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
