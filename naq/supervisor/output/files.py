"""Lines of services into log files, from one thread that may block on the disk.

As for a terminal, a bounded queue lies between the event loop and the thread; what finds no room in
it, or on the disk, is dropped and counted. No child ever waits.
"""

from __future__ import annotations

import json
import threading
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import trio

from naq.base.text import fill
from naq.supervisor.output.lines import without_colours
from naq.supervisor.output.rotation import RotatingFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.spec import Rotation
    from naq.supervisor.output.hub import LogHub
    from naq.supervisor.output.lines import Line

__all__ = ["LogFiles", "plan"]

_LIMIT = 8 * 1024 * 1024  # bytes that may wait for the disk
_LAST_WAIT = 5.0  # seconds a slow disk may hold up the end of the program


def plan(topology: Topology, service: str, replica: int) -> tuple[Path, Rotation] | None:
    """Return the file that the lines of a replica go to, if there is one.

    Args:
        topology: what the file says.
        service: of the replica; ``naq`` for the supervisor itself.
        replica: its number, 0 where there is only one.
    """
    logging = topology.logging
    spec = topology.services.get(service)
    own = None if spec is None else spec.logging
    if own is not None and own.file is not None:
        fields = {
            "service": service,
            "replica": replica or 1,
            "replicas": 1 if spec is None else spec.replicas,
            "project": topology.name,
            "port": "" if spec is None or spec.port is None else spec.port + max(replica, 1) - 1,
        }
        return topology.directory / fill(own.file, fields), own.rotate or logging.rotate
    if logging.dir is None:
        return None
    name = f"{service}.{replica}.log" if replica else f"{service}.log"
    return topology.directory / logging.dir / name, logging.rotate


class LogFiles:
    """A sink that writes lines into the files they belong to."""

    threadsafe = True

    def __init__(
        self, topology: Topology, warn: Callable[[str], None], *, everything: Path | None = None
    ) -> None:
        """Prepare a sink.

        Args:
            topology: says which lines go where.
            warn: prints a warning; called in the event loop.
            everything: one file for all lines, instead.
        """
        self._everything = everything
        self._mode = 0o640 if everything is None else 0o600
        self._warn = warn
        self._changed = threading.Condition()
        self._queue: list[tuple[Path, Rotation, bytes]] = []
        self._size = 0
        self._closed = False
        self._reopen = False
        self._files: dict[Path, RotatingFile] = {}
        self._full: dict[Path, int] = {}
        self._token: trio.lowlevel.TrioToken | None = None
        self.dropped = 0
        self.configure(topology)

    def configure(self, topology: Topology) -> None:
        """Use the files that another topology says."""
        self._topology = topology
        self._plans: dict[tuple[str, int], tuple[Path, Rotation] | None] = {}
        self._as_json = topology.logging.format == "json"
        self._wanted = (
            self._everything is not None
            or topology.logging.dir is not None
            or any(spec.logging.file is not None for spec in topology.services.values())
        )

    def put(self, lines: Sequence[Line]) -> None:
        """Take lines; those that find no room are dropped and counted."""
        if not self._wanted:
            return
        with self._changed:
            for line in lines:
                key = (line.service, line.replica)
                if key not in self._plans:
                    self._plans[key] = self._plan(*key)
                where = self._plans[key]
                if where is None:
                    continue
                if self._size > _LIMIT:
                    self.dropped += 1
                    continue
                data = self._render(line)
                self._queue.append((*where, data))
                self._size += len(data)
            self._changed.notify()

    def _plan(self, service: str, replica: int) -> tuple[Path, Rotation] | None:
        if self._everything is not None:
            return self._everything, self._topology.logging.rotate
        return plan(self._topology, service, replica)

    def reopen(self) -> None:
        """Open all files again: another program has rotated them (SIGUSR1)."""
        with self._changed:
            self._reopen = True
            self._changed.notify()

    @asynccontextmanager
    async def writing(self, hub: LogHub) -> AsyncIterator[None]:
        """Write the lines of ``hub``; at the end, write what is left within a few seconds."""
        self._token = trio.lowlevel.current_trio_token()
        hub.attach(self)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run, name="naq log files")
            try:
                yield
            finally:
                hub.detach(self)
                with self._changed:
                    self._closed = True
                    self._changed.notify()
                nursery.cancel_scope.shield = True
                nursery.cancel_scope.deadline = trio.current_time() + _LAST_WAIT

    async def _run(self) -> None:
        # A limiter of its own: user code in tasks may have all shared threads busy. Abandoned only
        # at the very end, when the disk does not answer.
        limiter = trio.CapacityLimiter(1)
        await trio.to_thread.run_sync(self._write_all, abandon_on_cancel=True, limiter=limiter)

    # ------------------------------------------------------------ in the thread

    def _write_all(self) -> None:
        """Write until closed and empty."""
        while True:
            # A little compressing between two writes; not under the lock, which the loop needs.
            busy = sum(file.work() for file in self._files.values()) > 0
            with self._changed:
                while not (self._queue or self._closed or self._reopen or busy):
                    self._changed.wait()
                queue, self._queue, self._size = self._queue, [], 0
                reopen, self._reopen = self._reopen, False
                closed = self._closed
            if reopen:
                for file in self._files.values():
                    file.reopen()
            self._write(queue)
            if closed and not queue:
                break
        for file in self._files.values():
            file.close()

    def _write(self, queue: list[tuple[Path, Rotation, bytes]]) -> None:
        gathered: dict[Path, tuple[Rotation, list[bytes]]] = {}
        for path, rotation, data in queue:
            gathered.setdefault(path, (rotation, []))[1].append(data)
        for path, (rotation, parts) in gathered.items():
            file = self._files.setdefault(path, RotatingFile(path, rotation, self._mode))
            file.rotation = rotation
            self._append(file, parts)

    def _append(self, file: RotatingFile, parts: list[bytes]) -> None:
        lost = self._full.get(file.path, 0)
        if lost:
            parts = [*parts, self._note(f"{lost} lines dropped: the disk did not take them")]
        try:
            file.write(b"".join(parts))
        except OSError as exc:
            if not lost:
                self._tell(f"cannot write {file.path}: {exc.strerror}; its lines are dropped")
            count = len(parts) - (1 if lost else 0)
            self._full[file.path] = lost + count
            self.dropped += count
            return
        if lost:
            del self._full[file.path]
            self._tell(f"{file.path} can be written again; {lost} lines were dropped")

    def _tell(self, text: str) -> None:
        if self._token is not None:
            try:
                self._token.run_sync_soon(self._warn, text)
            except trio.RunFinishedError:
                return

    def _note(self, text: str) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return f"{now} naq | {text}\n".encode()

    def _render(self, line: Line) -> bytes:
        when = datetime.fromtimestamp(line.time, UTC).isoformat(timespec="milliseconds")
        text = without_colours(line.text)
        if self._as_json:
            fields = {"time": when, "service": line.service, "replica": line.replica or 1}
            return json.dumps({**fields, "message": text}, ensure_ascii=False).encode() + b"\n"
        return f"{when} {line.name} | {text}\n".encode("utf-8", "replace")
