"""Lines onto a terminal, into a pipe or a file, from one thread that may block.

Standard output can stop taking data at any time: Ctrl-S, a pager that waits, a slow disk. Making it
non-blocking would change it for the shell and everybody else who shares it, so the blocking write
gets a thread. Between the thread and the event loop is a bounded queue; what finds no room is
dropped, counted, and the count is printed once there is room again.
"""

from __future__ import annotations

import os
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from naq.supervisor.logs import Line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

__all__ = ["QueueSink", "open_writer"]

# Characters that may wait for a slow terminal before lines are dropped.
_LIMIT = 4 * 1024 * 1024
# How long a blocked output may hold up the end of the program, seconds.
_FLUSH_WAIT = 2.0


@asynccontextmanager
async def open_writer(fd: int, render: Callable[[Line], str]) -> AsyncIterator[QueueSink]:
    """Give a sink whose lines a thread writes to ``fd``; at the end wait for them, not for ever."""
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


class QueueSink:
    """A bounded queue of lines with a thread at its end."""

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
        self.dropped = 0

    def put(self, lines: Sequence[Line]) -> None:
        """Take lines; those that find no room are dropped and counted."""
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

    def close(self) -> None:
        """No more lines: the thread ends when it has written what is there."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def write_all(self) -> None:
        """Write until the sink is closed and empty. Runs in the thread."""
        while True:
            with self._changed:
                while not self._lines and not self._closed:
                    self._changed.wait()
                lines, self._lines, self._size = self._lines, [], 0
                dropped, self._unreported = self._unreported, 0
            if not lines:
                return
            if dropped:
                text = f"{dropped} lines dropped: the output did not take them in time"
                lines.append(Line(lines[-1].time, "naq", 0, text, "warning"))
            self._write("".join([f"{self._render(line)}\n" for line in lines]))

    def _write(self, text: str) -> None:
        rest = memoryview(text.encode("utf-8", "replace"))
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            # Nobody reads any more (`naq up | head`): services go on, their lines are dropped.
            with self._changed:
                self._broken = True
