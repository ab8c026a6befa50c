"""What a running project shows: its output, its events, and the table of ``naq ps``."""

from __future__ import annotations

import json as json_
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from naq.cli import render
from naq.cli.common import Duration  # noqa: TC001 - read from annotations at run time
from naq.cli.project.options import Json  # noqa: TC001 - as above

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from naq.supervisor.control.client import Client

__all__ = ["events", "logs", "ps_table", "watch_ps"]

_REFRESH = 2.0  # seconds between two looks at memory and processor time
_FOLLOW = Annotated[bool, Parameter(name=["--follow", "-f"], negative=())]


def logs(
    *services: str,
    follow: _FOLLOW = False,
    tail: Annotated[int | None, Parameter(name=["--tail", "-n"])] = None,
    since: Duration | None = None,
    raw: Annotated[bool, Parameter(negative=())] = False,
    previous: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> int:
    """Show what services have printed.

    Args:
        services: SERVICE or SERVICE.N; naq is the supervisor itself. Default: all.
        follow: Also show lines to come. Those that are not read in time are dropped and counted.
        tail: Only this many lines, the last ones.
        since: Only lines of this time until now, such as 5m or 1h.
        raw: Print lines as they were, without the name of the service.
        previous: Lines of the run before the present one.
        json: Print one JSON object per line.
    """
    from naq.supervisor.control.client import connect
    from naq.supervisor.output.lines import Line, without_colours
    from naq.supervisor.output.writer import choose_renderer, wants_colour

    terminal = sys.stdout.isatty()
    colour = wants_colour(os.environ, terminal=terminal)
    show = choose_renderer("json" if json else "auto", services, os.environ, terminal=terminal)
    args: dict[str, Any] = {"services": list(services), "follow": follow, "previous": previous}
    if tail is not None:
        args["tail"] = tail
    if since is not None:
        args["since"] = since
    with connect() as client:
        for event in _until_gone(client, "logs", args):
            if isinstance(event, dict):
                render.line(f"{event['dropped']} lines dropped: they were not read in time")
            elif raw:
                render.say(event[3] if colour else without_colours(event[3]))
            else:
                render.say(show(Line(*event)))
    return 0


def events(*services: str, follow: _FOLLOW = False, json: Json = False) -> int:
    """Show what has happened to services.

    Args:
        services: SERVICE or SERVICE.N. Default: all.
        follow: Show the present state, and then what happens, until Ctrl-C.
        json: Print one JSON document, or one object per line with --follow.
    """
    from naq.supervisor.control.client import connect

    args = {"services": list(services), "follow": follow}
    gathered = []
    with connect() as client:
        for event in _until_gone(client, "events", args):
            for row in event.get("snapshot") or [event.get("transition", event)]:
                if not json:
                    render.say(_event_line(row))
                elif follow:
                    render.say(json_.dumps(row))
                else:
                    gathered.append(row)
    if json and not follow:
        render.print_json(gathered)
    return 0


def watch_ps(services: Sequence[str], *, everything: bool, wide: bool) -> int:
    """Show the table of `naq ps` and refresh it until Ctrl-C or the end of the project."""
    from rich import box
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from naq.exceptions import SupervisorError
    from naq.supervisor.control.client import connect

    console = Console()
    before: dict[str, tuple[float, float]] = {}
    with connect() as client, Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            try:
                rows = client.request("ps", services=list(services), all=everything)
            except SupervisorError:
                return 0  # the project has ended
            before = _current_cpu(rows, before)
            columns, cells = ps_table(rows, wide=wide)
            shown = Table(*columns, box=box.SIMPLE_HEAD)
            for row in cells:
                shown.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
            live.update(shown, refresh=True)
            client.wait_gone(_REFRESH)


def _current_cpu(
    rows: list[dict[str, Any]], before: dict[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """Make ``cpu_percent`` of each row that since the last look, not since the start of its run.

    Returns:
        What the next look is to be compared with.
    """
    now: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row["cpu_s"] is None or row["uptime_s"] is None:
            continue
        name = f"{row['name']}:{row['pid']}"
        now[name] = (row["cpu_s"], row["uptime_s"])
        cpu, uptime = before.get(name, (0.0, 0.0))
        if row["uptime_s"] > uptime:
            row["cpu_percent"] = 100 * (row["cpu_s"] - cpu) / (row["uptime_s"] - uptime)
    return now


def _until_gone(client: Client, command: str, args: dict[str, Any]) -> Iterator[Any]:
    """Yield events. While following, the end of the supervisor ends them and is no error."""
    from naq.exceptions import SupervisorError

    try:
        yield from client.follow(command, **args)
    except SupervisorError:
        if not args["follow"] or client.answered:
            raise


def _event_line(row: dict[str, Any]) -> str:
    if "dropped" in row:
        return f"({row['dropped']} events dropped: they were not read in time)"
    if "from" not in row:
        text = f"{row['name']} is {row['state']}"
        return f"{text} (pid {row['pid']})" if row["pid"] else text
    clock = f"{datetime.fromisoformat(row['time']).astimezone():%H:%M:%S.%f}"[:-3]
    text = f"{clock} {row['name']} {row['from']} -> {row['state']}"
    notes = [row["detail"]]
    if row["took_s"] is not None:
        notes.append(f"after {render.duration(row['took_s'])}")
    if row["state"] not in ("READY", "STARTING", "WAITING") and row["last_exit"]:
        notes.append(row["last_exit"]["message"])
    note = "; ".join(filter(None, notes))
    return f"{text} ({note})" if note else text


def ps_table(rows: Sequence[dict[str, Any]], *, wide: bool) -> tuple[list[str], list[list[object]]]:
    """Return headings and cells of `naq ps`."""
    columns = ["NAME", "STATE", "PID", "RESTARTS", "UPTIME", "RSS", "CPU", "LAST EXIT"]
    if wide:
        columns[2:2] = ["WANT", "READY"]
    return columns, [_cells(row, wide=wide) for row in rows]


def _cells(row: dict[str, Any], *, wide: bool) -> list[object]:
    state = row["state"]
    if row["want"] == "DOWN" and state != "DOWN" and not wide:
        state += " (want DOWN)"
    if row["paused"]:
        state += " (paused)"
    if row.get("retry_in_s") is not None:
        state += f" (next try in {render.duration(row['retry_in_s'])})"
    if row["detail"]:
        state += f": {row['detail']}"
    uptime, rss, cpu = row["uptime_s"], row["rss_bytes"], row["cpu_percent"]
    cells = [
        row["name"],
        state,
        row["pid"],
        row["restarts"],
        None if uptime is None else render.duration(uptime),
        None if rss is None else f"{rss / 2**20:.1f}M",
        None if cpu is None else f"{cpu:.1f}%",
        row["last_exit"] and row["last_exit"]["message"],
    ]
    if wide:
        cells[2:2] = [row["want"], "yes" if row["ready"] else "no"]
    return cells
