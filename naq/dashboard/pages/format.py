"""How values look on the pages: times, numbers, states.

Times are ``<time>`` elements, so that static/live/times.js can keep them current; their text is
right at the moment the page is made.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import pass_context
from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.runtime import Context

__all__ = ["NONE", "count", "duration", "moment_of", "register"]

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)|[^\t\n\x20-\x7e\xa0-\U0010ffff]"
)
_TONES = {
    "good": "completed active ready",
    "busy": "running starting busy",
    "calm": "pending scheduled idle down finished skipped waiting delayed",
    "care": "retrying retry paused unserved unready backoff stopping draining exited",
    "bad": "failed expired crashloop unresponsive stuck",
    "gone": "cancelled",
}
_TONE = {state: tone for tone, states in _TONES.items() for state in states.split()}

NONE = "\N{EN DASH}"
_NOTHING = Markup('<span class="no">{}</span>').format(NONE)


def register(env: Environment) -> None:
    """Add the filters of the templates to an environment."""
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


# ------------------------------------------------------------------------------ times


@pass_context
def ago(context: Context, at: float | None) -> Markup:
    """Return how long ago a moment was, or how far ahead it is: ``3 s ago``, ``in 2 m``."""
    return _relative(context, at, "ago")


@pass_context
def age(context: Context, at: float | None) -> Markup:
    """Return how long ago a moment was, without the word: ``3 s``."""
    return _relative(context, at, "age")


def _relative(context: Context, at: float | None, kind: str) -> Markup:
    if at is None:
        return _nothing()
    moment = int(at)
    if context.get("live"):
        text = _clock(
            moment
        )  # the browser fills in the rest, so that parts differ only if something changes
    else:
        text = relative(at - context.get("now", time.time()), kind)
    return Markup(  # noqa: S704 - numbers only; Markup.format is slow, and a page has hundreds
        f'<time datetime="{_iso(moment)}" data-{kind}="{moment}" title="{_clock(moment)}">'
        f"{text}</time>"
    )


def relative(distance: float, kind: str = "ago") -> str:
    """Return a distance in time, in its largest unit; positive ones lie ahead."""
    seconds = int(abs(distance))
    number, unit = next(((seconds // n, u) for n, u in _UNITS if seconds >= n), (0, "s"))
    if kind == "age":
        return f"{number} {unit}"
    if not number:
        return "now"
    return f"in {number} {unit}" if distance > 0 else f"{number} {unit} ago"


def when(at: float | None) -> Markup:
    """Return a moment as date and time in UTC, as in logs; the browser adds its local time."""
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


def moment_of(at: float) -> datetime:
    """Return a moment in UTC; the last possible one if no calendar reaches that far."""
    try:
        return datetime.fromtimestamp(at, UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.max.replace(tzinfo=UTC)


def _iso(at: float) -> str:
    return f"{moment_of(at):%Y-%m-%dT%H:%M:%SZ}"


def _clock(at: float) -> str:
    return f"{moment_of(at):%Y-%m-%d %H:%M:%S} UTC"


def _nothing() -> Markup:
    return _NOTHING


# ------------------------------------------------------------------- numbers and words


def count(number: float | None) -> str:
    """Return a number with separated thousands: ``1,234``."""
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
    """Return text as one part of an address, with slashes quoted."""
    return quote(str(text), safe="")


def plain(text: str) -> str:
    """Return a line of a log without control sequences for terminals."""
    return _ESCAPES.sub("", text)


def tone(state: str) -> str:
    """Return the colour class of a state, which never stands without the state's name."""
    return _TONE.get(state.lower(), "calm")
