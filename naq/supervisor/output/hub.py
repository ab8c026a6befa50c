"""What services print: read, kept, and passed on to sinks, without ever making a service wait.

A child that prints to a full pipe stops in the middle of its work. So the chain from the pipe to
the sinks has no place that waits: a :class:`Pump` per child reads as fast as it prints, the last
lines stay in a bounded ring, and each sink takes lines without blocking and drops what it has no
room for. The pumps live in a nursery that outlives the services: a pump that ends first closes the
pipe, and the child would die of it in the middle of its graceful stop.
"""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import trio

from naq.supervisor.output.lines import Line, LineSplitter, printable, without_colours

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Sequence

    from naq.supervisor.model.spec import Logging

    Reword = Callable[[bytes], bytes | None]

__all__ = ["LEVELS", "LogHub", "Pump", "Sink", "Source"]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

# One read. Small enough that a child printing empty lines does not hold the loop for long.
_CHUNK = 16 * 1024
# What a ring may hold at most, whatever the number of lines, in characters.
_RING_CHARACTERS = 1024 * 1024
# How long the pipe may stay open after the last known process is gone, seconds.
_DRAIN_WAIT = 1.0


class Sink(Protocol):
    """Takes lines and never blocks."""

    def put(self, lines: Sequence[Line]) -> None:
        """Take ``lines``, or drop and count them."""


class LogHub:
    """All lines of a project: every source puts here, every sink gets a copy."""

    def __init__(self, spec: Logging) -> None:
        self._spec = spec
        self._sinks: list[Sink] = []
        self._threshold = LEVELS[spec.level]
        self._own = self.source("naq", 0)

    def configure(self, spec: Logging) -> None:
        """Use another level and other sizes; the sizes apply to new sources."""
        self._spec = spec
        self._threshold = LEVELS[spec.level]

    def source(self, service: str, replica: int) -> Source:
        """Return a new source of lines; ``replica`` is 0 where the service has only one."""
        return Source(self, service, replica, self._spec)

    def put_from_thread(self, lines: Sequence[Line]) -> None:
        """Give lines to sinks that take them from any thread, while the loop is stuck."""
        for sink in tuple(self._sinks):
            if getattr(sink, "threadsafe", False):
                sink.put(lines)

    def own_lines(self) -> tuple[Line, ...]:
        """Return the supervisor's own lines that are still kept."""
        return self._own.tail()

    def attach(self, sink: Sink) -> None:
        """Give every line from now on to ``sink`` as well."""
        self._sinks.append(sink)

    def detach(self, sink: Sink) -> None:
        """Give no more lines to ``sink``."""
        self._sinks.remove(sink)

    def publish(self, lines: Sequence[Line]) -> None:
        """Hand lines to the sinks."""
        for sink in tuple(self._sinks):
            sink.put(lines)

    def say(self, text: str, *, level: str = "info") -> None:
        """Print a line of the supervisor's own, unless its level is below the configured one."""
        if LEVELS[level] >= self._threshold:
            self._own.put([part.encode() for part in text.splitlines()], level=level)


class Source:
    """One replica's lines over all its runs.

    Attributes:
        max_line: longest line, bytes.
        run: which run prints now.
    """

    def __init__(self, hub: LogHub, service: str, replica: int, spec: Logging) -> None:
        self._hub = hub
        self._service = service
        self._replica = replica
        self._ring: deque[Line] = deque()
        self._ring_size = 0
        self._buffer = spec.buffer
        self._watchers: list[tuple[re.Pattern[str], Callable[[], None]]] = []
        self.max_line = spec.max_line
        self.run = 0

    def relabel(self, replica: int) -> None:
        """Put another number on lines from now on."""
        self._replica = replica

    def keep_at_most(self, lines: int) -> None:
        """Change how many lines are kept."""
        self._buffer = lines
        self._trim()

    def put(self, raw: Sequence[bytes], *, level: str = "info") -> None:
        """Take lines as bytes, make them printable, keep them, and hand them on."""
        if not raw:
            return
        now = time.time()
        lines = [
            Line(now, self._service, self._replica, printable(part), level, self.run)
            for part in raw
        ]
        for line in lines:
            self._keep(line)
        for pattern, found in tuple(self._watchers):
            if any(pattern.search(without_colours(line.text)) for line in lines):
                found()
        self._hub.publish(lines)

    def say(self, text: str) -> None:
        """Put text that did not come through a pipe, one line or more."""
        self.put([part.encode("utf-8", "replace") for part in text.splitlines()])

    def tail(self) -> tuple[Line, ...]:
        """Return the lines that are still kept, oldest first."""
        return tuple(self._ring)

    @contextmanager
    def watch(self, pattern: re.Pattern[str]) -> Iterator[trio.Event]:
        """Give an event that is set by the next line in which ``pattern`` is found."""
        found = trio.Event()
        watcher = (pattern, found.set)
        self._watchers.append(watcher)
        try:
            yield found
        finally:
            self._watchers.remove(watcher)

    def _keep(self, line: Line) -> None:
        self._ring.append(line)
        self._ring_size += len(line.text)
        self._trim()

    def _trim(self) -> None:
        ring = self._ring
        while len(ring) > self._buffer or self._ring_size > _RING_CHARACTERS:
            self._ring_size -= len(ring.popleft().text)


class Pump:
    """Reads one pipe into a source until every process that holds the other end has closed it."""

    def __init__(self, fd: int, source: Source, reword: Reword | None = None) -> None:
        """Prepare to read.

        Args:
            fd: the end of the pipe to read; closed when it is done.
            source: where lines go.
            reword: replaces each line, or drops it by returning None.
        """
        self._fd = fd
        self._source = source
        self._reword = reword
        self._scope = trio.CancelScope()
        self._done = trio.Event()

    async def run(self) -> None:
        """Read until the end of the pipe. Belongs in a nursery that outlives the child."""
        os.set_blocking(self._fd, False)
        splitter = LineSplitter(self._source.max_line)
        try:
            with self._scope:
                while chunk := await self._read():
                    self._put(splitter.feed(chunk))
        finally:
            os.close(self._fd)
            self._put(splitter.flush())
            self._done.set()

    def _put(self, lines: list[bytes]) -> None:
        if self._reword is not None:
            reworded = [self._reword(line) for line in lines]
            lines = [line for line in reworded if line is not None]
        self._source.put(lines)

    async def drain(self) -> bool:
        """Wait for the last lines of a run that is over, then close the pipe.

        Returns:
            Whether the pipe came to its end; False when some process that left the group still
            holds it, and is not read any more.
        """
        with trio.move_on_after(_DRAIN_WAIT):
            await self._done.wait()
            return True
        self._scope.cancel()
        await self._done.wait()
        return False

    async def _read(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                return os.read(self._fd, _CHUNK)
            except BlockingIOError:
                continue
