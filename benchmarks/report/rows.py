"""Which figures make the table, and how a figure of several rounds is shown."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ROWS", "Row", "median", "ratios", "shown", "spread", "table"]

NONE = "–"  # noqa: RUF001 - an en dash is how a table says: nothing here


@dataclass(frozen=True)
class Row:
    """A line of the table: one figure of one workload."""

    workload: str
    figure: str
    title: str
    unit: str
    more_is_better: bool = True


ROWS = (
    Row("noop", "rate", "no-op jobs, 1 worker process", "/s"),
    Row("noop", "broker_cpu_s", "broker CPU of that", "s", more_is_better=False),
    Row("noop2", "rate", "no-op jobs, 2 worker processes", "/s"),
    Row("noop2", "broker_cpu_percent", "broker CPU of that", "%", more_is_better=False),
    Row("noop2", "busy_percent", "all processors of that", "%", more_is_better=False),
    Row("enqueue", "one_rate", "enqueue one by one", "/s"),
    Row("enqueue", "flight_rate", "enqueue, 32 in flight", "/s"),
    Row("enqueue", "bulk_rate", "enqueue in bulk", "/s"),
    Row("latency", "p50_ms", "enqueue to result, idle, p50", "ms", more_is_better=False),
    Row("latency", "p95_ms", "the same, p95", "ms", more_is_better=False),
    Row("latency", "p99_ms", "the same, p99", "ms", more_is_better=False),
    Row("sync", "rate", "no-op functions in 32 threads", "/s"),
    Row("sleep", "seconds", "20,000 of sleep(1), 640 at a time", "s", more_is_better=False),
    Row("sleep", "ideal_percent", "of what is possible", "%"),
    Row("sleep100", "rate", "100 ms sleeps, 10 at a time", "/s"),
    Row("sleep100", "rss_mb", "memory of that worker", "MB", more_is_better=False),
    Row("cpu", "rate", "jobs of 1,000 SHA-256", "/s"),
    Row("delayed", "p50_ms", "delayed jobs begin late, p50", "ms", more_is_better=False),
    Row("delayed", "p99_ms", "the same, p99", "ms", more_is_better=False),
    Row("memory", "rss_mb", "idle worker, the process that runs jobs", "MB", more_is_better=False),
    Row("memory", "rss_tree_mb", "idle worker, all its processes", "MB", more_is_better=False),
    Row(
        "crash",
        "lost",
        "kill -9 with 32 in flight: not run again in time",
        "",
        more_is_better=False,
    ),
    Row("crash", "doubled", "the same: finished twice", "", more_is_better=False),
    Row("crash", "recovered_s", "the same: all done after", "s", more_is_better=False),
    Row("flat", "rate", "no-op jobs with 1,000,000 queued", "/s"),
    Row("flat", "slower_percent", "slower than with 1,000 queued", "%", more_is_better=False),
    Row("flat", "fill_rate", "queueing them", "/s"),
    Row("startup", "version_ms", "naq --version", "ms", more_is_better=False),
    Row("startup", "ps_ms", "naq ps", "ms", more_is_better=False),
    Row(
        "startup", "up_s", "naq up until nats and two workers are ready", "s", more_is_better=False
    ),
)


def values(found: Mapping[str, Any], workload: str, figure: str, name: str) -> list[float]:
    """Return a figure of all rounds; nothing where it was not measured."""
    rounds: Sequence[Mapping[str, float]] = found.get(workload, {}).get(name, {}).get("rounds", ())
    return [figures[figure] for figures in rounds if figure in figures]


def median(found: Mapping[str, Any], workload: str, figure: str, name: str) -> float | None:
    """Return the median over the rounds; None where it was not measured."""
    measured = values(found, workload, figure, name)
    return statistics.median(measured) if measured else None


def shown(value: float | None, unit: str = "") -> str:
    """Return a figure as people read it."""
    if value is None:
        return NONE
    digits = (
        0
        if unit == "/s" or abs(value) >= 100 or value == int(value)
        else 1
        if abs(value) >= 10
        else 2
    )
    return f"{value:,.{digits}f}"


def spread(measured: Sequence[float], unit: str = "") -> str:
    """Return the median with the lowest and highest beside it."""
    if not measured:
        return NONE
    middle = shown(statistics.median(measured), unit)
    if len(measured) == 1:
        return middle
    low, high = shown(min(measured), unit), shown(max(measured), unit)
    return middle if low == high else f"{middle} ({low}…{high})"


def table(found: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the Markdown table: a line for each row that somebody has a figure in."""
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for row in ROWS:
        measured = [values(found, row.workload, row.figure, name) for name in names]
        if any(measured):
            title = f"{row.title}, {row.unit}" if row.unit else row.title
            lines.append(f"| {title} | " + " | ".join(spread(m, row.unit) for m in measured) + " |")
    return "\n".join(lines) + "\n"


def ratios(found: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the Markdown table of naq beside naq at a revision; empty if none took part.

    A ratio is that of two figures of the same round.
    """
    pairs = [(name.partition("@")[0], name) for name in names if "@" in name]
    pairs = [(today, then) for today, then in pairs if today in names]
    lines = []
    for row in ROWS:
        cells = [_ratio(found, row, today, then) for today, then in pairs]
        if any(cell != NONE for cell in cells):
            better = "more" if row.more_is_better else "less"
            lines.append(f"| {row.title} ({better} is better) | " + " | ".join(cells) + " |")
    if not lines:
        return ""
    head = ["| | " + " | ".join(f"{today} / {then}" for today, then in pairs) + " |"]
    return "\n".join([*head, "|---|" + "---:|" * len(pairs), *lines]) + "\n"


def _ratio(found: Mapping[str, Any], row: Row, today: str, then: str) -> str:
    """Return the median of the rounds' ratios with the lowest and highest beside it."""
    figures = [values(found, row.workload, row.figure, name) for name in (today, then)]
    measured = [new / old for new, old in zip(*figures, strict=False) if old]
    if not measured:
        return NONE
    low, high = min(measured), max(measured)
    return f"{statistics.median(measured):.3f} ({low:.3f}…{high:.3f})"
