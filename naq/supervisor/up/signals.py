"""Signals of ``naq up``: counted by plain handlers, acted on in the event loop.

First SIGINT or SIGTERM: an orderly stop. Second: no more grace. Third: everything is killed and the
process ends this instant. The handlers are installed before the event loop starts and stay until
after it has ended: a handler that comes and goes would let a quick second Ctrl-C hit somebody's
cleanup, and one inside the loop could not act while the loop is stuck.

SIGHUP reads the file again, unless it comes because the terminal has gone: then it is a request to
stop. SIGUSR1 opens log files again, SIGUSR2 prints all states and tasks.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from naq.base.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from naq.supervisor.supervisor import Supervisor

__all__ = ["Signals"]


class Signals:
    """The handlers, and how often they were asked to stop.

    Attributes:
        count: requests to stop so far.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._token: trio.lowlevel.TrioToken | None = None
        self._actions: dict[int, Callable[[], None]] = {}
        self._has_terminal = _terminal_answers()
        self.count = 0
        self._child_ended = trio.Event()
        self._before_end: Callable[[], None] | None = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_stop)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup it is ignored
            signal.signal(signal.SIGHUP, self._on_hangup)
        signal.signal(signal.SIGCHLD, self._on_child)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._on_other)

    def connect(
        self,
        token: trio.lowlevel.TrioToken,
        actions: dict[int, Callable[[], None]],
        *,
        before_end: Callable[[], None] | None,
    ) -> None:
        """Pass signals on to an event loop: those to come, and the requests that came before.

        Args:
            token: of the loop.
            actions: what to do there for each signal that is not a request to stop.
            before_end: called in the handler, before the third request ends the process;
                None: nothing.
        """
        self._token = token
        self._actions = actions
        self._before_end = before_end
        for number in actions:
            if number == signal.SIGWINCH:
                signal.signal(number, self._on_other)
        self._pass_on()

    async def wait_child_ended(self) -> None:
        """Wait until a child of any kind has ended since this last returned."""
        await self._child_ended.wait()
        self._child_ended = trio.Event()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.count += 1
        if self.count < 3:
            self._pass_on()
            return
        self._supervisor.destroy()
        if self._before_end is not None:
            self._before_end()
        # On a terminal the cursor stands at the end of the status bar.
        os.write(2, (b"\n" if os.isatty(2) else b"") + b"naq: killed everything\n")
        os._exit(Exit.FORCED)  # the guardian sees our end and looks for what is left

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        if self._has_terminal and not _terminal_answers():
            self._on_stop(number, frame)
        else:
            self._on_other(number, frame)

    def _on_other(self, number: int, frame: FrameType | None) -> None:
        del frame
        if (action := self._actions.get(number)) is not None:
            self._run(action)

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        del number, frame
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
        self._child_ended.set()


def _terminal_answers() -> bool:
    """Whether this process has a terminal that is still there."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(fd)
    return True
