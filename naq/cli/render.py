"""What a person reads: tables on a terminal, plain text in a pipe, JSON, one-line errors.

Much of it was stored by others. Nothing of theirs is obeyed by a terminal, or takes a line of its
own in a table (:mod:`naq.cli.visible`).
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from naq.cli import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = [
    "ago",
    "busy",
    "cut",
    "line",
    "number",
    "print_json",
    "progress",
    "say",
    "table",
]


_COPIED = frozenset({"ID", "JOB", "NAME", "QUEUE", "SCHEDULE", "WORKER"})
"""Columns with what other commands take: it stands on one line, to be copied."""
MOST_WHOLE = 40
"""Characters of what is kept on one line; anything longer goes on below, and nothing is cut."""


def say(text: object = "") -> None:
    """Print a line of a result, or several, to stdout."""
    print(visible.block(str(text)), flush=True)  # noqa: T201 - standard output is the log here


def line(text: str) -> None:
    """Print one line about what is going on, to stderr."""
    print(f"naq: {visible.block(text)}", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Show on a terminal that the command is waiting; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)):
        yield


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Yield what is called with a line after each of ``total`` steps.

    The line is a result, on stdout; how far it is shows on a terminal.
    """
    if not sys.stderr.isatty():
        yield say
        return
    from rich.console import Console
    from rich.text import Text

    done = 0
    with Console(stderr=True).status("") as status:

        def step(text: str) -> None:
            nonlocal done
            done += 1
            status.update(Text(f"{what} {done:,} of {total:,}"))
            if not sys.stdout.isatty():
                say(text)

        yield step


def cut(shown: int, there: int, what: str) -> None:
    """Say on stderr that a list is not whole, if it is not.

    Args:
        shown: how many rows it has.
        there: how many there are.
        what: they are: ``dead letters``.
    """
    if shown < there:
        line(f"{shown} of {there} {what} are shown; --limit {there} shows all")


def number(count: int, one: str, many: str = "") -> str:
    """Return a number of things: ``1 job``, ``2 jobs``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def print_json(value: Any) -> None:
    """Print one JSON document; datetimes become ISO 8601."""
    import msgspec

    text = msgspec.json.encode(value, enc_hook=repr)
    if sys.stdout.isatty():
        text = msgspec.json.format(text, indent=2)
    written = visible.document(text.decode())
    try:
        written.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # in JSON, \u0061 stands for any letter a terminal may lack
        written = json.dumps(json.loads(written))
    print(written, flush=True)  # noqa: T201


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "", title: str = ""
) -> None:
    """Print rows: a rich table on a terminal, aligned plain text in a pipe.

    Args:
        columns: headings, in upper case.
        rows: cells; None is shown as ``-``.
        empty: what to say on stderr when there are no rows.
        title: shown above the table on a terminal.
    """
    cells = [["-" if cell is None else visible.inline(str(cell)) for cell in row] for row in rows]
    if not cells:
        if empty:
            line(empty)
        return
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        pretty = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left")
        for at, name in enumerate(columns):
            longest = max(len(row[at]) for row in cells)
            whole = name in _COPIED and longest <= MOST_WHOLE
            width = max(longest, len(name)) if whole else None
            pretty.add_column(name, no_wrap=whole, overflow="fold", min_width=width)
        for row in cells:
            # Text, not str: a job named [red] is not markup.
            pretty.add_row(*(Text(cell) for cell in row))
        Console().print(pretty)
        return
    widths = [max(len(r[i]) for r in [list(columns), *cells]) for i in range(len(columns))]
    for row in [list(columns), *cells]:
        say("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def ago(when: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago ``when`` was, in its two largest units: ``3m12s``."""
    if when is None:
        return "-"
    return duration((now or datetime.now(UTC)).timestamp() - when.timestamp())


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: ``850ms``, ``4.2s``, ``3m12s``, ``5h03m``."""
    if seconds < 0:
        return "0ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"
