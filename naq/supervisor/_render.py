"""How a line of log looks: coloured for a terminal, plain in a pipe, JSON for a machine."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from naq.supervisor._lines import without_colours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from naq.supervisor.logs import Line

__all__ = ["choose_renderer", "wants_colour"]

# Foreground colours that read well on black and on white.
_PALETTE = (36, 33, 32, 35, 34, 96, 92, 95, 94, 93)
_LEVEL_COLOURS = {"debug": "2", "info": "2", "warning": "33", "error": "31"}


def wants_colour(environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether to colour: a terminal that can, unless https://no-color.org is set."""
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or (terminal and environ.get("TERM") != "dumb")


def choose_renderer(
    format_: str, names: Iterable[str], environ: Mapping[str, str], *, terminal: bool
) -> Callable[[Line], str]:
    """Return the function that makes one line of output.

    Args:
        format_: ``auto``, ``text`` or ``json``.
        names: of all replicas, for colours and for the width of the first column.
        environ: for NO_COLOR, FORCE_COLOR and TERM.
        terminal: whether the output is one.
    """
    if format_ == "json":
        return _json
    if not wants_colour(environ, terminal=terminal):
        return _plain
    return _coloured(["naq", *names])


def _plain(line: Line) -> str:
    return f"{line.name} | {without_colours(line.text)}"


def _json(line: Line) -> str:
    fields: dict[str, object] = {
        "time": datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds"),
        "service": line.service,
        "replica": line.replica or 1,
        "message": without_colours(line.text),
    }
    if line.service == "naq":
        fields["level"] = line.level
        del fields["replica"]
    return json.dumps(fields, ensure_ascii=False)


def _coloured(names: list[str]) -> Callable[[Line], str]:
    width = max(len(name) for name in names)
    colours = _assign(dict.fromkeys(name.partition(".")[0] for name in names[1:]))

    def render(line: Line) -> str:
        column = line.name.ljust(width)
        if line.service == "naq":
            colour = _LEVEL_COLOURS[line.level]
            return f"\x1b[{colour}m{column} | {line.text}\x1b[0m"
        return f"\x1b[{colours.get(line.service, 36)}m{column} |\x1b[0m {line.text}"

    return render


def _assign(services: Iterable[str]) -> dict[str, int]:
    """Give each service the colour of its name, or the next free one: the same in every run."""
    taken: dict[str, int] = {}
    for service in services:
        start = zlib.crc32(service.encode()) % len(_PALETTE)
        turn = _PALETTE[start:] + _PALETTE[:start]
        free = [colour for colour in turn if colour not in taken.values()]
        taken[service] = (free or turn)[0]
    return taken
