"""The two charts of the last hour, minute by minute, as SVG that needs no script."""

from __future__ import annotations

from math import ceil, floor, log10
from typing import TYPE_CHECKING

from markupsafe import Markup

from naq.dashboard.pages.format import NONE, count, duration, moment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from naq.dashboard.data.model import MinuteRow

__all__ = ["chart"]

MINUS = "\N{MINUS SIGN}"
WIDTH, HEIGHT = 600, 100
"""The size of a chart in its own units; it is stretched to the room there is."""


def chart(minutes: Sequence[MinuteRow], kind: str = "throughput", name: str = "") -> Markup:
    """Return a chart of the last hour as a figure.

    Args:
        minutes: the counters, oldest first.
        kind: ``throughput`` draws bars of jobs done and failed, ``latency`` lines of p50 and p95.
        name: makes ids unique if a page has several charts of a kind.
    """
    ident = f"chart_{kind}{name}"
    caption, desc, legend, top, body = _DRAWN[kind](minutes)
    labels = Markup("").join(
        Markup("<span>{}</span>").format(_label(kind, top * part)) for part in (1, 0.5, 0)
    )
    width = _n(_step(minutes))
    hits = Markup(  # noqa: S704 - numbers only; Markup.format is slow, and this runs at every look
        "".join(
            f'<rect x="{_n(x)}" width="{width}" height="100">'
            f"<title>{_told(minute, kind)}</title></rect>"
            for x, minute in _places(minutes)
        )
    )
    return Markup(
        '<figure class="chart" data-key="{id}"><figcaption><b>{caption}</b> {legend}</figcaption>'
        '<div class="plot"><div class="y" aria-hidden="true">{labels}</div>'
        '<svg viewBox="0 0 600 100" preserveAspectRatio="none" role="img" '
        'aria-labelledby="{id}_t {id}_d"><title id="{id}_t">{caption}</title>'
        '<desc id="{id}_d">{desc}</desc><path class="grid" d="M0 .5H600M0 50H600M0 99.5H600"/>'
        '{body}<g class="hit">{hits}</g></svg>'
        '<div class="x" aria-hidden="true"><span>{first}</span><span>{mid}</span><span>now</span>'
        "</div></div></figure>"
    ).format(
        id=ident,
        caption=caption,
        legend=legend,
        labels=labels,
        desc=desc,
        body=body,
        hits=hits,
        first=f"{MINUS}{len(minutes)} min" if minutes else "",
        mid=f"{MINUS}{len(minutes) // 2} min" if minutes else "",
    )


_Drawn = tuple[str, str, Markup, float, Markup]


def _throughput(minutes: Sequence[MinuteRow]) -> _Drawn:
    done, failed = sum(m.done for m in minutes), sum(m.failed for m in minutes)
    most = max((m.done + m.failed for m in minutes), default=0)
    top = _nice(max(most, 4))
    width = _step(minutes) * 0.8
    good, bad = [], []
    for x, minute in _places(minutes):
        low = HEIGHT - HEIGHT * minute.done / top
        high = low - HEIGHT * minute.failed / top
        if minute.done:
            good.append(f"M{_n(x)} 100V{_n(low)}h{_n(width)}V100z")
        if minute.failed:
            bad.append(f"M{_n(x)} {_n(low)}V{_n(high)}h{_n(width)}V{_n(low)}z")
    body = Markup('<path class="good" d="{}"/><path class="bad" d="{}"/>').format(
        "".join(good), "".join(bad)
    )
    desc = (
        f"In the last {len(minutes)} minutes {count(done)} jobs were done and {count(failed)} "
        f"failed, at most {count(most)} in one minute."
    )
    legend = _legend(("good", "done", count(done)), ("bad", "failed", count(failed)))
    return "Jobs per minute", desc, legend, top, body


def _latency(minutes: Sequence[MinuteRow]) -> _Drawn:
    known = [m.p95 for m in minutes if m.p95 is not None] + [
        m.p50 for m in minutes if m.p50 is not None
    ]
    top = _nice(max(known, default=0.001))
    lines = [(name, _line(minutes, name, top)) for name in ("p95", "p50")]
    body = Markup("").join(Markup('<path class="{}" d="{}"/>').format(name, d) for name, d in lines)
    last = next((m for m in reversed(minutes) if m.p50 is not None), None)
    now = (duration(last.p50), duration(last.p95)) if last else (NONE, NONE)
    desc = (
        f"How long jobs ran. Latest: half of them at most {now[0]}, 95 percent at most {now[1]}."
        if last
        else "No job has run."
    )
    legend = _legend(("p50", "p50", now[0]), ("p95", "p95", now[1]))
    return "Run time", desc, legend, top, body


_DRAWN: dict[str, Callable[[Sequence[MinuteRow]], _Drawn]] = {
    "throughput": _throughput,
    "latency": _latency,
}


def _line(minutes: Sequence[MinuteRow], name: str, top: float) -> str:
    """Return a path through the minutes that have a value; a single one becomes a dash."""
    half, pen = _step(minutes) / 2, False
    runs: list[list[str]] = []
    for x, minute in _places(minutes):
        value: float | None = getattr(minute, name)
        if value is not None:
            if not pen:
                runs.append([])
            runs[-1].append(f"{_n(x + half)} {_n(HEIGHT - HEIGHT * value / top)}")
        pen = value is not None
    return "".join("M" + "L".join(run) + ("h4" if len(run) == 1 else "") for run in runs)


def _legend(*entries: tuple[str, str, str]) -> Markup:
    return Markup(" ").join(
        Markup('<span class="key {}">{} <i>{}</i></span>').format(*entry) for entry in entries
    )


def _told(minute: MinuteRow, kind: str) -> str:
    at = f"{moment_of(minute.at):%H:%M} UTC"
    if kind == "latency":
        return f"{at}: p50 {duration(minute.p50)}, p95 {duration(minute.p95)}"
    return (
        f"{at}: {count(minute.done)} done, {count(minute.failed)} failed, "
        f"{count(minute.retried)} retried, {count(minute.dead)} dead"
    )


def _label(kind: str, value: float) -> str:
    if not value:
        return "0"
    if kind == "latency":
        return duration(value)
    return count(value) if value < 10_000 else f"{value / 1000:g}k"


def _places(minutes: Sequence[MinuteRow]) -> list[tuple[float, MinuteRow]]:
    step = _step(minutes)
    return [(index * step, minute) for index, minute in enumerate(minutes)]


def _step(minutes: Sequence[MinuteRow]) -> float:
    return WIDTH / max(1, len(minutes))


def _nice(most: float) -> float:
    """Return the next 1, 2, 4, 6 or 10 times a power of ten: halves of it are round as well."""
    power = 10.0 ** floor(log10(most)) if most > 0 else 1.0
    factor = next(f for f in (1, 2, 4, 6, 10) if ceil(most / power * 1000 - 0.5) <= f * 1000)
    return power * factor


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
