"""Lines as people and machines read them, written to a terminal, a pipe or a file.

A line is coloured for a terminal, plain in a pipe, JSON for a machine: :func:`choose_renderer`.

Standard output can stop taking data at any time: Ctrl-S, a pager that waits, a slow disk. Making it
non-blocking would change it for the shell and everybody else who shares it, so the blocking write
gets a thread. Between the thread and the event loop is a bounded queue; what finds no room is
dropped and counted, and the count is printed once there is room again.

On a terminal a few lines may stay below the output (the status bar). They are not part of it:
before each write they are erased, and afterwards painted again, all in one write and between the
marks of a synchronized update, so that nothing flickers.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import trio

from naq.supervisor.output.lines import Line, without_colours

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

__all__ = ["QueueSink", "choose_renderer", "erase", "open_writer", "wants_colour"]

# Characters that may wait for a slow terminal before lines are dropped.
_LIMIT = 4 * 1024 * 1024
# How long a blocked output may hold up the end of the program, seconds.
_FLUSH_WAIT = 2.0
_BEGIN, _END = (
    "\x1b[?2026h",
    "\x1b[?2026l",
)  # synchronized update; terminals that do not know it ignore it
# Foreground colours that read well on black and on white.
_PALETTE = (36, 33, 32, 35, 34, 96, 92, 95, 94, 93)
_LEVEL_COLOURS = {"debug": "2", "info": "2", "warning": "33", "error": "31"}


def wants_colour(environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether to use colours: on a terminal that can, unless NO_COLOR is set (no-color.org)."""
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or (terminal and environ.get("TERM") != "dumb")


def choose_renderer(
    format_: str, names: Iterable[str], environ: Mapping[str, str], *, terminal: bool
) -> Callable[[Line], str]:
    """Return the function that makes one line of output.

    Args:
        format_: ``auto``, ``text`` or ``json``.
        names: names of all replicas, for colours and for the width of the first column.
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


@asynccontextmanager
async def open_writer(fd: int, render: Callable[[Line], str]) -> AsyncIterator[QueueSink]:
    """Open a sink whose lines a thread writes to ``fd``; at the end, wait for it a short while."""
    sink = QueueSink(fd, render)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_write, sink, name="naq log writer")
        try:
            yield sink
        finally:
            sink.close()
            nursery.cancel_scope.shield = True
            nursery.cancel_scope.deadline = trio.current_time() + _FLUSH_WAIT


async def _write(sink: QueueSink) -> None:
    # Not the shared limiter: user code in tasks may have all its threads busy. Abandoned only when
    # the output is blocked at the very end; the thread is a daemon and dies with the process.
    limiter = trio.CapacityLimiter(1)
    await trio.to_thread.run_sync(sink.write_all, abandon_on_cancel=True, limiter=limiter)


def erase(bar: Sequence[str], width: int) -> str:
    """Return what erases painted lines and leaves the cursor where they began.

    Args:
        bar: the lines, the cursor being at the end of the last one.
        width: of the terminal now. If it was made narrower, lines have been wrapped by it.
    """
    if not bar:
        return ""
    rows = sum(max(1, -(-len(without_colours(line)) // max(1, width))) for line in bar)
    up = f"\x1b[{rows - 1}A" if rows > 1 else ""
    return f"\r{up}\x1b[J"


class QueueSink:
    """A bounded queue of lines with a thread at its end.

    Attributes:
        dropped: lines that found no room.
    """

    threadsafe = True

    def __init__(self, fd: int, render: Callable[[Line], str], *, limit: int = _LIMIT) -> None:
        self._fd = fd
        self._render = render
        self._limit = limit
        self._changed = threading.Condition()
        self._lines: list[Line] = []
        self._size = 0
        self._closed = False
        self._broken = False
        self._unreported = 0
        self._bar: list[str] = []
        self._painted: list[str] = []
        self._repaint = False
        self._width: Callable[[], int] = lambda: 80
        self.dropped = 0

    def put(self, lines: Sequence[Line]) -> None:
        """Take lines; those that find no room are dropped and counted. From any thread."""
        with self._changed:
            for line in lines:
                # Room is judged before the line: a single long one always fits an empty queue.
                if self._size >= self._limit or self._broken:
                    self.dropped += 1
                    self._unreported += 1
                else:
                    self._lines.append(line)
                    self._size += len(line.text) + 64
            self._changed.notify()

    def show(self, bar: list[str], width: Callable[[], int]) -> None:
        """Have ``bar`` below the output from now on.

        Args:
            bar: lines that are shorter than the terminal is wide.
            width: tells how wide it is now.
        """
        with self._changed:
            self._bar, self._width, self._repaint = bar, width, True
            self._changed.notify()

    def close(self) -> None:
        """No more lines: the thread ends when it has written what is there."""
        with self._changed:
            self._closed = True
            self._bar, self._repaint = [], True
            self._changed.notify()

    def write_all(self) -> None:
        """Write until the sink is closed and empty. Runs in the thread."""
        while True:
            with self._changed:
                while not (self._lines or self._closed or self._repaint):
                    self._changed.wait()
                lines, self._lines, self._size = self._lines, [], 0
                dropped, self._unreported = self._unreported, 0
                bar, self._repaint, closed = self._bar, False, self._closed
            if dropped and lines:
                text = f"{dropped} lines dropped: the output did not take them in time"
                lines.append(Line(lines[-1].time, "naq", 0, text, "warning"))
            self._write("".join([f"{self._render(line)}\n" for line in lines]), bar)
            if closed and not lines:
                return

    def _write(self, text: str, bar: list[str]) -> None:
        if self._painted or bar:
            before = erase(self._painted, self._width())
            painted = "\n".join(bar)
            text = f"{_BEGIN}{before}{text}{painted}{_END}"
            self._painted = bar
        rest = memoryview(text.encode("utf-8", "replace"))
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            # Nobody reads any more (`naq up | head`): services go on, their lines are dropped.
            with self._changed:
                self._broken = True
