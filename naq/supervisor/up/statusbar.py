"""The status bar: a few lines about all services, below the scrolling output of ``naq up``.

Pure text: what the lines say is decided here, ``output/writer.py`` paints them. No line is longer
than the terminal is wide, so the number of rows that they take is known.
"""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from naq.supervisor.model.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from naq.supervisor.model.board import Status

__all__ = ["bar"]

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
_ROWS = 8  # most services that get a row of their own because they are not as they should be


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
        stopping: whether the project is being stopped.
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
