"""A supervisor in the foreground of a terminal or of systemd: signals, output, exit code.

First SIGINT or SIGTERM: an orderly stop. Second: no more grace. Third: everything is killed and the
process ends this instant. The count is kept by a plain signal handler, installed before the event
loop starts and left until after it has ended: a handler that comes and goes would let a quick
second Ctrl-C hit somebody's cleanup, and one inside the loop could not act when that is stuck.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from naq.exceptions import NaqException
from naq.supervisor._render import choose_renderer
from naq.supervisor._system import become_subreaper, reap_orphans, reset_signals
from naq.supervisor._writer import open_writer
from naq.supervisor.supervisor import EX_SOFTWARE, Supervisor
from naq.supervisor.tasks import leaves

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from naq.supervisor.kinds import Kinds
    from naq.supervisor.spec import Topology

__all__ = ["run_in_foreground"]

EX_FORCED = 130
# Zombies that nobody claimed for this long are orphans of services, seconds. Code in tasks that
# starts processes of its own has that long to collect them.
_UNCLAIMED = 1.0


def run_in_foreground(topology: Topology, *, kinds: Kinds) -> int:
    """Run ``topology`` until it is over; return the exit code of the program.

    Raises:
        NaqException: it could not be started.
    """
    reset_signals()
    become_subreaper()
    supervisor = Supervisor(topology, kinds=kinds, on_stuck=_leave)
    signals = _Signals(supervisor)
    try:
        code = trio.run(_main, supervisor, signals)
    except BaseExceptionGroup as group:
        errors = list(leaves(group))
        if len(errors) == 1 and isinstance(errors[0], NaqException):
            raise errors[0] from group
        traceback.print_exception(group)
        return EX_SOFTWARE
    return EX_FORCED if signals.count > 1 else code


async def _main(supervisor: Supervisor, signals: _Signals) -> int:
    topology = supervisor.topology
    render = choose_renderer(
        topology.logging.format,
        _names(topology),
        os.environ,
        terminal=sys.stdout.isatty(),
    )
    async with open_writer(sys.stdout.fileno(), render) as sink:
        supervisor.hub.attach(sink)
        async with trio.open_nursery() as nursery:
            signals.connect(trio.lowlevel.current_trio_token())
            nursery.start_soon(_collect_orphans, supervisor, signals)
            code = await supervisor.run()
            nursery.cancel_scope.cancel()
    return code


def _leave(exit_code: int) -> None:
    """End the process although a task still runs: it has had its time to be cancelled."""
    os.write(2, b"naq: a task does not let itself be cancelled; leaving without it\n")
    os._exit(exit_code)  # the guardian sees our end and looks for what is left


def _names(topology: Topology) -> list[str]:
    return [
        name if spec.replicas == 1 else f"{name}.{spec.replicas}"
        for name, spec in topology.services.items()
    ]


async def _collect_orphans(supervisor: Supervisor, signals: _Signals) -> None:
    """Reap what services left outside their group and what then became our child and ended."""
    while True:
        await signals.child_ended.wait()
        signals.child_ended = trio.Event()
        await trio.sleep(_UNCLAIMED)
        reap_orphans(supervisor.pids())


class _Signals:
    """Counts requests to stop and acts on them."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._token: trio.lowlevel.TrioToken | None = None
        self.count = 0
        self.child_ended = trio.Event()
        stopping = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            stopping.append(signal.SIGHUP)  # the terminal is gone; under nohup that means nothing
        for number in stopping:
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, self._on_child)

    def connect(self, token: trio.lowlevel.TrioToken) -> None:
        """Pass signals on to the event loop of ``token``, from now on and those that came."""
        self._token = token
        self._pass_on()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.count += 1
        if self.count < 3:
            self._pass_on()
            return
        self._supervisor.destroy()
        os.write(2, b"naq: killed everything\n")
        os._exit(EX_FORCED)  # the guardian sees our end and looks for what is left

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._token is not None:
            self._run(self._child)

    def _pass_on(self) -> None:
        if self.count:
            self._run(self._stop)

    def _run(self, fn: Callable[[], None]) -> None:
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(fn, idempotent=True)

    def _stop(self) -> None:
        if self.count > 1:
            self._supervisor.hurry()
        else:
            self._supervisor.stop()

    def _child(self) -> None:
        self.child_ended.set()
