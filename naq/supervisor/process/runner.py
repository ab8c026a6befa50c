"""Run a function as a process of its own: the program of ``type = "callable"``.

``python -m`` this module, with a target and a name. It gives the function what a task gets, a
context and a ``task_status``, speaks sd_notify for it, and turns SIGTERM and the end of the
supervisor into cancellation.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from naq.base.imports import here, let_import
from naq.base.text import resolve
from naq.exceptions import SupervisorError
from naq.supervisor.notify import lifeline_lost, notify, watchdog_pings
from naq.supervisor.process.task import Started, guarded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = ["ProcessContext", "function_of"]


class ProcessContext:
    """What a function in a process of its own is given: a part of ``ReplicaContext``.

    Attributes:
        name: of the replica.
        index: which replica, from 1.
        env: this process's environment.
        cwd: this process's directory.
    """

    def __init__(self, name: str, scope: trio.CancelScope) -> None:
        self.name = name
        self.index = int(os.environ.get("NAQ_REPLICA", "1"))
        self.env: Mapping[str, str] = os.environ
        self.cwd = here() or Path()
        self._scope = scope
        self._stopping: trio.Event | None = None

    def say(self, text: str) -> None:
        """Print ``text``; the supervisor shows it as lines of this replica."""
        print(text, flush=True)  # noqa: T201 - standard output is the log here

    def stopping(self) -> trio.Event:
        """Return an event that is set when the service is stopped; without it, it is cancelled."""
        if self._stopping is None:
            self._stopping = trio.Event()
        return self._stopping

    def stop(self) -> None:
        """Pass on a request to stop: first set the event, if it was asked for; then cancel."""
        if self._stopping is None or self._stopping.is_set():
            self._scope.cancel()
        else:
            self._stopping.set()


def function_of(target: str) -> Any:
    """Import the function that ``module:function`` names.

    Raises:
        SupervisorError: it cannot be imported, or is not a function.
    """
    try:
        return resolve(target)
    except (ImportError, AttributeError, ValueError) as exc:
        raise SupervisorError(f"cannot import {target!r}: {exc}") from exc


async def _main(target: str, name: str) -> int:
    """Run ``target`` and return the exit code."""
    scope = trio.CancelScope()
    context = ProcessContext(name, scope)
    code = 0

    async def function() -> None:
        status = Started(partial(notify, "READY=1"))
        await function_of(target)(context, task_status=status)

    let_import()
    # Signals are received before READY=1 can be sent: what is ready may be stopped.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_on_signal, signals, context)
            nursery.start_soon(_on_orphaned, context)
            nursery.start_soon(watchdog_pings)
            with scope:
                cause = await guarded(function, partial(print, file=sys.stderr, flush=True))
                code = cause.code or 0
            nursery.cancel_scope.cancel()
    return code


async def _on_signal(signals: AsyncIterator[int], context: ProcessContext) -> None:
    async for _ in signals:
        notify("STOPPING=1")
        context.stop()


async def _on_orphaned(context: ProcessContext) -> None:
    await lifeline_lost()
    context.stop()


if __name__ == "__main__":
    faulthandler.enable()  # SIGABRT, which a watchdog sends, shows where it hangs
    sys.exit(trio.run(_main, sys.argv[1], sys.argv[2]))
