"""A few lines about all services that stay below the scrolling output of ``naq up``.

Pure text: what they say is made here, ``_writer.py`` paints them. No line is ever longer than the
terminal is wide, so that it is known how many rows they take.

The terminal of ``naq up``: the status bar is kept up to date, and typing does not disturb it.
"""

from __future__ import annotations

import os
import sys
import termios
from contextlib import contextmanager, suppress
from io import StringIO
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from naq.supervisor.model.board import Bell
from naq.supervisor.model.lifecycle import State
from naq.supervisor.output.writer import wants_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from naq.supervisor.model.board import Status
    from naq.supervisor.output.writer import QueueSink
    from naq.supervisor.supervisor import Supervisor

__all__ = ["StatusBar", "bar", "quiet_terminal", "wants_bar"]

_STYLES = {
    State.READY: "green",
    State.COMPLETED: "green",
    State.STARTING: "yellow",
    State.WAITING: "yellow",
    State.UNREADY: "yellow",
    State.STOPPING: "yellow",
    State.BACKOFF: "bold yellow",
    State.CRASHLOOP: "bold red",
    State.FAILED: "bold red",
    State.SKIPPED: "red",
}
_ROWS = 8  # services with something to tell get a row of their own, so many at most


def bar(
    project: str,
    statuses: Iterable[Status],
    *,
    width: int,
    height: int,
    colour: bool,
    stopping: bool = False,
) -> list[str]:
    """Return the lines, with escape sequences for colours.

    Args:
        project: its name.
        statuses: of all replicas.
        width: of the terminal, columns.
        height: of the terminal, rows; the lines take a third of it at most.
        colour: whether to colour.
        stopping: whether the whole project is.
    """
    active = [status for status in statuses if status.active]
    if not active:
        return []
    by_service: dict[str, list[Status]] = {}
    for status in active:
        by_service.setdefault(status.service, []).append(status)
    ready = sum(status.satisfied for status in active)
    head = Text(f"── {project} {ready}/{len(active)} ", style="bold")
    if stopping:
        head.append("stopping, Ctrl-C: kill now  ", style="bold yellow")
    for name, replicas in by_service.items():
        head.append_text(_chip(name, replicas))
    odd = [s for s in active if not s.satisfied and s.state is not State.DOWN]
    room = max(0, min(_ROWS, height // 3 - 1))
    rows = [head, *(_row(status) for status in odd[:room])]
    return [_paint(row, width, colour=colour) for row in rows]


def _worst(replicas: list[Status]) -> Status:
    return next((s for s in replicas if not s.satisfied), replicas[0])


def _chip(name: str, replicas: list[Status]) -> Text:
    worst = _worst(replicas)
    count = "" if len(replicas) == 1 else f" {sum(s.satisfied for s in replicas)}/{len(replicas)}"
    mark = "●" if worst.satisfied else "○" if worst.state is State.DOWN else "◌"
    failures = max(status.failures for status in replicas)
    again = f" ↻{failures}" if failures else ""  # ready, but not for long
    return Text.assemble(
        (mark, _STYLES.get(worst.state, "dim")), f" {name}{count}", (again, "yellow"), "  "
    )


def _row(status: Status) -> Text:
    note = status.detail or (str(status.last_exit.cause) if status.last_exit else "")
    restarts = max(0, status.runs - 1)
    runs = f", {restarts} restart{'s' * (restarts > 1)}" if restarts else ""
    return Text.assemble(
        f"   {status.name} ", (str(status.state), _STYLES.get(status.state, "")), f" {note}{runs}"
    )


def _paint(row: Text, width: int, *, colour: bool) -> str:
    # One column less: a full line would put some terminals' cursor on the next one.
    row.truncate(max(1, width - 1), overflow="ellipsis")
    assert cell_len(row.plain) < max(2, width), "painted lines never wrap"
    if not colour:
        return row.plain
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system="standard")
    console.print(row, end="", soft_wrap=True, highlight=False)
    return out.getvalue()


def wants_bar(format_: str) -> bool:
    """Whether there is to be a status bar: on a terminal that can, unless told otherwise."""
    if format_ != "auto" or not sys.stdout.isatty():
        return False
    return os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NAQ_NO_STATUS")


@contextmanager
def quiet_terminal() -> Iterator[Callable[[], None]]:
    """Do not show what is typed; Ctrl-C and the like work as ever. Give what restores that.

    The restoring function is also for a signal handler that is about to end the process.
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
    """Repaints when a service changes or the terminal does. :meth:`run` belongs in a task."""

    def __init__(self, supervisor: Supervisor, sink: QueueSink) -> None:
        self._supervisor = supervisor
        self._sink = sink
        self._bell = Bell()
        self._shown: list[str] = []

    def repaint(self) -> None:
        """Paint anew: the terminal has another size, or was somebody else's for a while."""
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
