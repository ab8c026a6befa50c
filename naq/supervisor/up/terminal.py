"""The terminal of ``naq up``: the status bar is kept up to date, and typing does not disturb it."""

from __future__ import annotations

import os
import sys
import termios
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from naq.supervisor.model.board import Bell
from naq.supervisor.output.writer import wants_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from naq.supervisor.output.writer import QueueSink
    from naq.supervisor.supervisor import Supervisor

__all__ = ["StatusBar", "quiet_terminal", "wants_bar"]


def wants_bar(format_: str) -> bool:
    """Whether to show a status bar: on a terminal that can, unless told otherwise."""
    if format_ != "auto" or not sys.stdout.isatty():
        return False
    return os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NAQ_NO_STATUS")


@contextmanager
def quiet_terminal() -> Iterator[Callable[[], None]]:
    """Do not echo what is typed; Ctrl-C and the like work as usual.

    Yields:
        A function that restores the terminal, also for a signal handler that is about to end the
        process.
    """
    try:
        fd = sys.stdin.fileno()
        before = termios.tcgetattr(fd)
    except (termios.error, OSError, ValueError):
        yield lambda: None
        return
    quiet = termios.tcgetattr(fd)
    quiet[3] &= ~termios.ECHO

    def restore() -> None:
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSANOW, before)

    try:
        termios.tcsetattr(fd, termios.TCSANOW, quiet)
        yield restore
    finally:
        restore()


class StatusBar:
    """Repaints when a service or the terminal changes. :meth:`run` belongs in a task."""

    def __init__(self, supervisor: Supervisor, sink: QueueSink) -> None:
        self._supervisor = supervisor
        self._sink = sink
        self._bell = Bell()
        self._shown: list[str] = []

    def repaint(self) -> None:
        """Paint again: the size has changed, or another program has used the terminal."""
        self._shown = []
        self._bell.ring()

    async def run(self) -> None:
        """Keep it up to date until cancelled."""
        supervisor = self._supervisor
        with supervisor.events.listening(self._bell.ring):
            while True:
                bar = await self._bell.until(self._news)
                self._shown = bar
                self._sink.show(bar, lambda: _size()[0])

    def _news(self) -> list[str] | None:
        from naq.supervisor.up.statusbar import bar  # noqa: PLC0415 - rich, only on a terminal

        width, height = _size()
        supervisor = self._supervisor
        colour = wants_colour(os.environ, terminal=True)
        lines = bar(
            supervisor.topology.name,
            supervisor.board,
            width=width,
            height=height,
            colour=colour,
            stopping=supervisor.stopping,
        )
        return lines if lines != self._shown else None


def _size() -> tuple[int, int]:
    with suppress(OSError):
        size = os.get_terminal_size(sys.stdout.fileno())
        if size.columns:
            return size.columns, size.lines
    return 80, 24
