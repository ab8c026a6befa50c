"""The supervisor as a service of systemd: ``Type=notify`` with a watchdog.

READY=1 is said when every service is ready, or has failed for good: a unit that waits for us is not
to wait for ever because one of many services is broken. STATUS= says how many are ready. The
watchdog is pinged by the main loop and by nothing else.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import trio

from naq.supervisor.bell import Bell
from naq.supervisor.notify import notify, watchdog_pings

if TYPE_CHECKING:
    from naq.supervisor.supervisor import Supervisor

__all__ = ["Systemd", "status_line"]

_STOP_MARGIN = 10.0  # seconds on top of shutdown_timeout


def status_line(supervisor: Supervisor) -> str:
    """Return how many replicas are as they should be, and which are not."""
    active = [status for status in supervisor.board if status.active]
    bad = [status for status in active if not status.satisfied]
    text = f"{len(active) - len(bad)}/{len(active)} ready"
    shown = ", ".join(f"{status.name} {status.state}" for status in bad[:5])
    return f"{text}; {shown}{', ...' if len(bad) > 5 else ''}" if bad else text


class Systemd:
    """Tells systemd, if it wants to know. :meth:`run` belongs in a task."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def run(self) -> None:
        """Tell until cancelled; return at once where nobody listens."""
        if not os.environ.get("NOTIFY_SOCKET"):
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watchdog_pings)
            nursery.start_soon(self._status)
            await self._supervisor.start_over.wait()
            notify("READY=1")

    async def _status(self) -> None:
        supervisor, bell = self._supervisor, Bell()
        said = ""

        def news() -> str | None:
            text = status_line(supervisor)
            return text if text != said else None

        with supervisor.board.ringing(bell, supervisor.topology.services):
            while True:
                said = await bell.until(news)
                notify(f"STATUS={said}")

    def reloading(self) -> None:
        """Say that the file is being read again."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """Say that this is done."""
        notify("READY=1")

    def stopping(self) -> None:
        """Say that the end has begun, and how long it may take."""
        seconds = self._supervisor.topology.shutdown_timeout + _STOP_MARGIN
        notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")
