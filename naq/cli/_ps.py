"""The table of ``naq ps``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from naq.cli import render

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ps_table"]


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
