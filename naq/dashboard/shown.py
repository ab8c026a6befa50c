"""How values look on the pages: times, numbers, states, and the two charts.

Times are ``<time>`` elements, so that static/times.js can let them tick; what is written in them is
right for the moment the page was made.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from jinja2 import pass_context
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jinja2 import Environment
    from jinja2.runtime import Context

__all__ = ["Minute", "chart", "register"]

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)|[^\t\n\x20-\x7e\xa0-\U0010ffff]"
)
_TONES = {
    "good": "completed active ready",
    "busy": "running starting busy",
    "calm": "pending scheduled idle down finished skipped waiting delayed",
    "care": "retrying retry paused unready backoff stopping draining exited",
    "bad": "failed expired crashloop unresponsive",
    "gone": "cancelled",
}
_TONE = {state: tone for tone, states in _TONES.items() for state in states.split()}

NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
WIDTH, HEIGHT = 600, 100
"""Of a chart, in its own units: it is stretched to whatever room there is."""


class Minute(Protocol):
    """What was counted in one minute."""

    at: float
    done: int
    failed: int
    retried: int
    dead: int
    p50: float | None
    p95: float | None


def register(env: Environment) -> None:
    """Teach an environment what the templates use."""
    env.filters |= {
        "age": age,
        "ago": ago,
        "bytes": size,
        "count": count,
        "duration": duration,
        "percent": percent,
        "plain": plain,
        "quoted": quoted,
        "tone": tone,
        "when": when,
    }
    env.globals["chart"] = chart


# ------------------------------------------------------------------------------ times


@pass_context
def ago(context: Context, at: float | None) -> Markup:
    """Return how long ago a moment was, or how far away it is: ``3 s ago``, ``in 2 m``."""
    return _relative(context, at, "ago")


@pass_context
def age(context: Context, at: float | None) -> Markup:
    """Return how long ago a moment was, without a word: ``3 s``."""
    return _relative(context, at, "age")


def _relative(context: Context, at: float | None, kind: str) -> Markup:
    if at is None:
        return _nothing()
    moment = int(at)
    if context.get("live"):
        text = _clock(moment)  # the browser fills in what is right; so nothing changes by itself
    else:
        text = relative(at - context.get("now", time.time()), kind)
    return Markup('<time datetime="{}" data-{}="{}" title="{}">{}</time>').format(
        _iso(moment), kind, moment, _clock(moment), text
    )


def relative(distance: float, kind: str = "ago") -> str:
    """Return a distance in time from now, in its largest unit."""
    seconds = int(abs(distance))
    number, unit = next(((seconds // n, u) for n, u in _UNITS if seconds >= n), (0, "s"))
    if kind == "age":
        return f"{number} {unit}"
    if not number:
        return "now"
    return f"in {number} {unit}" if distance > 0 else f"{number} {unit} ago"


def when(at: float | None) -> Markup:
    """Return a moment as date and time, in UTC as in logs; the browser tells its own time too."""
    if at is None:
        return _nothing()
    moment = int(at)
    return Markup('<time datetime="{}" data-at="{}">{}</time>').format(
        _iso(moment), moment, _clock(moment)
    )


def duration(seconds: float | None) -> str:
    """Return a duration in at most two units: ``12 ms``, ``1.5 s``, ``2 h 5 m``."""
    if seconds is None:
        return NONE
    if seconds < 0.9995:
        return f"{seconds * 1000:.2g} ms" if 0 < seconds < 0.01 else f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    left, parts = round(seconds), []
    for length, unit in _UNITS:
        number, left = divmod(left, length)
        if number:
            parts.append(f"{number} {unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)


def _moment(at: float) -> datetime:
    try:
        return datetime.fromtimestamp(at, UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.max.replace(tzinfo=UTC)


def _iso(at: float) -> str:
    return f"{_moment(at):%Y-%m-%dT%H:%M:%SZ}"


def _clock(at: float) -> str:
    return f"{_moment(at):%Y-%m-%d %H:%M:%S} UTC"


def _nothing() -> Markup:
    return Markup('<span class="no">{}</span>').format(NONE)


# ------------------------------------------------------------------- numbers and words


def count(number: float | None) -> str:
    """Return a number with its thousands apart: ``1,234``."""
    return NONE if number is None else f"{number:,.0f}"


def size(number: float | None) -> str:
    """Return a size: ``12.3 MiB``."""
    if number is None:
        return NONE
    for unit in _SIZES[:-1]:
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {_SIZES[-1]}"


def percent(number: float | None) -> str:
    """Return a percentage: ``12.3 %``."""
    return NONE if number is None else f"{number:.1f} %"


def quoted(text: object) -> str:
    """Return text as one part of an address: slashes and all are quoted."""
    return quote(str(text), safe="")


def plain(text: str) -> str:
    """Return a line of a log without what only a terminal understands."""
    return _ESCAPES.sub("", text)


def tone(state: str) -> str:
    """Return how a state is coloured; what it is is always written there too."""
    return _TONE.get(state.lower(), "calm")


# ----------------------------------------------------------------------------- charts


def chart(minutes: Sequence[Minute], kind: str = "throughput", name: str = "") -> Markup:
    """Return a chart of the last hour as a figure.

    Args:
        minutes: what was counted, oldest first.
        kind: ``throughput``, bars of jobs done and failed; or ``latency``, lines of p50 and p95.
        name: makes ids unique if a page has several of a kind.
    """
    ident = f"chart_{kind}{name}"
    caption, desc, legend, top, body = _DRAWN[kind](minutes)
    labels = Markup("").join(
        Markup("<span>{}</span>").format(_label(kind, top * part)) for part in (1, 0.5, 0)
    )
    hits = Markup("").join(
        Markup('<rect x="{}" width="{}" height="100"><title>{}</title></rect>').format(
            _n(x), _n(_step(minutes)), _told(minute, kind)
        )
        for x, minute in _places(minutes)
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


def _throughput(minutes: Sequence[Minute]) -> _Drawn:
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
    return "Jobs a minute", desc, legend, top, body


def _latency(minutes: Sequence[Minute]) -> _Drawn:
    known = [m.p95 for m in minutes if m.p95 is not None] + [
        m.p50 for m in minutes if m.p50 is not None
    ]
    top = _nice(max(known, default=0.001))
    lines = [(name, _line(minutes, name, top)) for name in ("p95", "p50")]
    body = Markup("").join(Markup('<path class="{}" d="{}"/>').format(name, d) for name, d in lines)
    last = next((m for m in reversed(minutes) if m.p50 is not None), None)
    now = (duration(last.p50), duration(last.p95)) if last else (NONE, NONE)
    desc = (
        f"Seconds from queued to started. Latest: half of the jobs within {now[0]}, 95 percent "
        f"within {now[1]}."
        if last
        else "No job was started."
    )
    legend = _legend(("p50", "p50", now[0]), ("p95", "p95", now[1]))
    return "Latency", desc, legend, top, body


_DRAWN: dict[str, Callable[[Sequence[Minute]], _Drawn]] = {
    "throughput": _throughput,
    "latency": _latency,
}


def _line(minutes: Sequence[Minute], name: str, top: float) -> str:
    """Return a path through the minutes that have a value; a lone one is a dot."""
    half, parts, pen = _step(minutes) / 2, [], False
    for x, minute in _places(minutes):
        value: float | None = getattr(minute, name)
        if value is None:
            pen = False
            continue
        point = f"{_n(x + half)} {_n(HEIGHT - HEIGHT * value / top)}"
        parts.append(f"L{point}" if pen else f"M{point}h0")
        pen = True
    return "".join(parts)


def _legend(*entries: tuple[str, str, str]) -> Markup:
    return Markup(" ").join(
        Markup('<span class="key {}">{} <i>{}</i></span>').format(*entry) for entry in entries
    )


def _told(minute: Minute, kind: str) -> str:
    at = f"{_moment(minute.at):%H:%M} UTC"
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


def _places(minutes: Sequence[Minute]) -> list[tuple[float, Minute]]:
    step = _step(minutes)
    return [(index * step, minute) for index, minute in enumerate(minutes)]


def _step(minutes: Sequence[Minute]) -> float:
    return WIDTH / max(1, len(minutes))


def _nice(most: float) -> float:
    """Return the next 1, 2, 4, 6 or 10 times a power of ten: halves of it are round as well."""
    power = 10.0 ** floor(log10(most)) if most > 0 else 1.0
    factor = next(f for f in (1, 2, 4, 6, 10) if ceil(most / power * 1000 - 0.5) <= f * 1000)
    return power * factor


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
