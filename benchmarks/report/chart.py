"""Bars as SVG, written by hand: readable on light and on dark pages, without any library."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from benchmarks.report.rows import ROWS, Row, median, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["svg"]

CHARTED = (
    ("noop", "rate"),
    ("enqueue", "flight_rate"),
    ("enqueue", "bulk_rate"),
    ("latency", "p50_ms"),
    ("memory", "rss_mb"),
)
WIDTH = 720
LABEL = 110
NUMBER = 90
LINE = 20
HEAD = 34
OFF = 20
"""A bar that is so many times as long as the best one's is cut."""
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600; font-size: 13px }
.note { fill: #57606a }
.peer { fill: #8c959f }
.naq { fill: #1f6feb }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .peer { fill: #6e7681 }
  .naq { fill: #4493f8 }
}
"""


def svg(found: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return a picture: a block of bars for each charted row, a bar for each contestant."""
    parts: list[str] = []
    y = 8
    for row in (row for row in ROWS if (row.workload, row.figure) in CHARTED):
        block = _block(row, found, names, y)
        if block:
            parts += block
            y += HEAD + LINE * (len(block) // 3) + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" '
        f'height="{y}" role="img" aria-label="naq and its peers">\n<style>{STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _block(row: Row, found: Mapping[str, Any], names: Sequence[str], top: int) -> list[str]:
    """Return heading and bars of a row, the best one first: three elements a bar, then two."""
    measured = [(name, median(found, row.workload, row.figure, name)) for name in names]
    known = [(name, value) for name, value in measured if value is not None]
    if not known:
        return []
    known.sort(key=lambda one: one[1], reverse=row.more_is_better)
    # Where less is better, one that is far worse would leave all others without a bar to be seen.
    beyond = known[0][1] * (OFF if not row.more_is_better else 1.0)
    largest = max(value for _, value in known if row.more_is_better or value <= beyond) or 1.0
    better = "more is better" if row.more_is_better else "less is better"
    parts = []
    for number, (name, value) in enumerate(known):
        y = top + HEAD + number * LINE
        width = max(1.0, (WIDTH - LABEL - NUMBER) * min(1.0, value / largest))
        kind = "naq" if name.startswith("naq") else "peer"
        shade = ' opacity="0.45"' if name.startswith("bare") else ""
        said = shown(value, row.unit) + (" (bar cut)" if value > largest else "")
        parts += [
            f'<text x="{LABEL - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{width:.1f}" height="14"{shade}/>',
            f'<text x="{LABEL + width + 6:.1f}" y="{y + 11}">{said}</text>',
        ]
    heading = f'<text class="head" x="0" y="{top + 14}">{escape(row.title)}'
    return [*parts, f'{heading} <tspan class="note">{row.unit}, {better}</tspan></text>']
