"""A supervisor in the foreground of a terminal or of systemd: signals, output, exit code."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import trio

from naq.base.exits import Exit
from naq.exceptions import NaqException
from naq.supervisor.model.errors import Refused, leaves
from naq.supervisor.output.lines import Line
from naq.supervisor.output.writer import choose_renderer, open_writer
from naq.supervisor.process.system import become_subreaper, reap_orphans, reset_signals
from naq.supervisor.project.reload import prepare_reload
from naq.supervisor.supervisor import Supervisor
from naq.supervisor.up.background import Systemd, is_detached, log_to_file, tell_parent
from naq.supervisor.up.diagnose import dump, watching_stalls
from naq.supervisor.up.signals import Signals
from naq.supervisor.up.terminal import StatusBar, quiet_terminal, wants_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.supervisor.kinds.kind import Kinds
    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.output.writer import QueueSink

__all__ = ["run_in_foreground"]

# Zombies that nobody claimed for this long are orphans of services, seconds. Code in tasks that
# starts processes of its own has that long to collect them.
_UNCLAIMED = 1.0


def run_in_foreground(
    topology: Topology,
    *,
    kinds: Kinds | None = None,
    exit_on: str | None = None,
    reread: Callable[[], Topology] | None = None,
) -> int:
    """Run ``topology`` until it is over; return the exit code of the program.

    Args:
        topology: what to run.
        kinds: the types it may name; None: those it was read with.
        exit_on: a service whose end is the end of everything.
        reread: how to read the topology again.

    Raises:
        NaqException: it could not be started.
    """
    reset_signals()
    become_subreaper()
    supervisor = Supervisor(topology, kinds=kinds, on_stuck=_leave, reread=reread, exit_on=exit_on)
    signals = Signals(supervisor)
    detached = is_detached()
    try:
        code = trio.run(partial(_main, supervisor, signals, detached=detached))
    except BaseExceptionGroup as group:
        errors = list(leaves(group))
        if len(errors) == 1 and isinstance(errors[0], NaqException):
            raise errors[0] from group
        traceback.print_exception(group)
        return Exit.INTERNAL
    return Exit.FORCED if signals.count > 1 else code


async def _main(supervisor: Supervisor, signals: Signals, *, detached: bool) -> int:
    format_ = supervisor.topology.logging.format
    terminal = sys.stdout.isatty()
    render = choose_renderer(format_, _names(supervisor.topology), os.environ, terminal=terminal)
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(open_writer(sys.stdout.fileno(), render))
        if detached:
            await stack.enter_async_context(log_to_file(supervisor))
        else:
            supervisor.hub.attach(sink)
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.enter_context(
            watching_stalls(partial(_report_stall, supervisor), supervisor.project.warn)
        )
        jobs = _Jobs(supervisor, nursery)
        restore: Callable[[], None] | None = None
        if wants_bar(format_) and not detached:
            restore = stack.enter_context(quiet_terminal())
            jobs.show_bar(sink)
        signals.connect(trio.lowlevel.current_trio_token(), jobs.actions, before_end=restore)
        nursery.start_soon(_collect_orphans, supervisor, signals)
        nursery.start_soon(jobs.systemd.run)
        nursery.start_soon(jobs.tell_of_begin_and_end)
        code = await supervisor.run()
        nursery.cancel_scope.cancel()
    return code


class _Jobs:
    """What signals ask for besides stopping."""

    def __init__(self, supervisor: Supervisor, nursery: trio.Nursery) -> None:
        self._supervisor = supervisor
        self._nursery = nursery
        self.systemd = Systemd(supervisor)
        self.actions: dict[int, Callable[[], None]] = {
            signal.SIGHUP: self._reload,
            signal.SIGUSR1: self._reopen,
            signal.SIGUSR2: self._dump,
        }

    def show_bar(self, sink: QueueSink) -> None:
        """Have a status bar on the terminal."""
        bar = StatusBar(self._supervisor, sink)
        self._nursery.start_soon(bar.run)
        self.actions[signal.SIGWINCH] = bar.repaint
        self.actions[signal.SIGCONT] = bar.repaint

    async def tell_of_begin_and_end(self) -> None:
        """Tell a waiting parent that the socket answers, and systemd that the end has begun."""
        await self._supervisor.serving.wait()
        tell_parent()
        await self._supervisor.wait_stopping()
        self.systemd.stopping()

    def _reload(self) -> None:
        if self._supervisor.stopping or self._supervisor.crew is None:
            self._supervisor.project.warn("not reloading: the project is being started or stopped")
        else:
            self._nursery.start_soon(self._reload_now)

    async def _reload_now(self) -> None:
        crew = self._supervisor.crew
        assert crew is not None, "looked at one call up"
        say = self._supervisor.hub.say
        self.systemd.reloading()
        try:
            reload = prepare_reload(crew)
            for line in reload.plan.lines():
                say(f"reload: {line}")
            for name, problem in (await crew.perform(reload.run)).items():
                say(f"reload: {name}: {problem}", level="error")
        except Refused as refused:
            say(f"not reloaded, nothing was changed: {refused}", level="error")
        except Exception as exc:  # noqa: BLE001 - reported; the services are not to suffer from it
            say(f"reload: {''.join(traceback.format_exception(exc))}", level="error")
        self.systemd.reloaded()

    def _reopen(self) -> None:
        self._supervisor.project.files.reopen()
        self._supervisor.hub.say("log files have been reopened")

    def _dump(self) -> None:
        self._supervisor.hub.say(dump(self._supervisor), level="warning")


def _report_stall(supervisor: Supervisor, text: str) -> None:
    """Show a stack while the loop is stuck. Called in another thread."""
    lines = [Line(time.time(), "naq", 0, part, "error") for part in text.splitlines()]
    supervisor.hub.put_from_thread(lines)


def _leave(exit_code: int) -> None:
    """End the process although a task still runs: it has had its time to be cancelled."""
    os.write(2, b"naq: a task does not let itself be cancelled; leaving without it\n")
    os._exit(exit_code)  # the guardian sees our end and looks for what is left


def _names(topology: Topology) -> list[str]:
    return [
        name if spec.replicas == 1 else f"{name}.{spec.replicas}"
        for name, spec in topology.services.items()
    ]


async def _collect_orphans(supervisor: Supervisor, signals: Signals) -> None:
    """Reap what services left outside their group, which became our child and has ended."""
    while True:
        await signals.wait_child_ended()
        await trio.sleep(_UNCLAIMED)
        reap_orphans(supervisor.project.pids())
