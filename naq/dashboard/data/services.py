"""What is asked of the supervisor of this project: its services, their lines, what to do to them.

The same protocol as that of ``naq ps`` (``supervisor.protocol``), on Trio.
"""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from naq.dashboard.data.model import ServiceRow
from naq.exceptions import JobNotFoundError, SupervisorError
from naq.supervisor.control.protocol import VERSION
from naq.supervisor.model.rundir import RunDir

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

__all__ = ["Services"]

PATIENCE = 5.0
"""Seconds an answer may take."""
LINE = 1 << 20
"""Bytes of a line that are read at most."""


class Services:
    """The supervisor that runs in a directory or in one above it, if there is one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def rows(self) -> list[ServiceRow] | None:
        """Return all replicas; None if no supervisor runs here."""
        try:
            found = await self.ask("ps", all=True)
        except SupervisorError:
            return None
        return [_row(row) for row in found]

    async def lines(self, service: str, count: int = 200) -> list[str]:
        """Return the last lines of a service.

        Raises:
            SupervisorError: no supervisor runs here.
            JobNotFoundError: it has no such service.
        """
        found: list[str] = []
        await self.follow(
            "logs", lambda event: found.append(_line(event)), services=[service], tail=count
        )
        return found

    async def open_lines(self, service: str, count: int = 200) -> Follow:
        """Follow the lines of a service, from its last ``count`` ones on; to be closed.

        Raises:
            SupervisorError: no supervisor runs here.
        """
        link = await self._open()
        frame = {"id": 1, "v": VERSION, "cmd": "logs"}
        args = {"services": [service], "follow": True, "tail": count}
        await link.send_all(json.dumps(frame | {"args": args}).encode() + b"\n")
        return Follow(link)

    async def ask(self, command: str, **args: Any) -> Any:
        """Send a command and return its result; raises as :meth:`lines`."""
        with trio.move_on_after(PATIENCE):
            return await self.follow(command, lambda _: None, **args)
        raise SupervisorError("the supervisor does not answer")

    async def follow(self, command: str, on_event: Callable[[Any], None], **args: Any) -> Any:
        """Send a command, give its events to ``on_event``, and return its result."""
        async with self._link() as link:
            frame = {"id": 1, "v": VERSION, "cmd": command, "args": args}
            await link.send_all(json.dumps(frame).encode() + b"\n")
            buffer = bytearray()
            while True:
                line, _, rest = buffer.partition(b"\n")
                if not _:
                    chunk = await link.receive_some(65536)
                    if not chunk or len(buffer) > LINE:
                        raise SupervisorError("the supervisor went away")
                    buffer += chunk
                    continue
                buffer = bytearray(rest)
                reply = json.loads(line)
                if "event" in reply:
                    on_event(reply["event"])
                    continue
                return _result(reply)

    @asynccontextmanager
    async def _link(self) -> AsyncGenerator[trio.SocketStream]:
        async with await self._open() as link:
            yield link

    async def _open(self) -> trio.SocketStream:
        run_dir = RunDir.find(self._directory)
        if run_dir is None:
            raise SupervisorError("no `naq up` runs here")
        try:
            return await trio.open_unix_socket(os.fspath(run_dir.socket))
        except OSError as exc:
            raise SupervisorError("no `naq up` runs here") from exc


class Follow:
    """Lines of a service, as they come."""

    def __init__(self, link: trio.SocketStream) -> None:
        self._link = link
        self._buffer = bytearray()

    async def some(self, most: int, gather: float) -> list[str]:
        """Wait for lines; return those that came, at most ``most``, the newest ones.

        Args:
            most: lines.
            gather: seconds to wait for more once there is one.

        Raises:
            SupervisorError: the supervisor went away, or refuses.
        """
        lines = await self._read()
        while not lines:
            lines = await self._read()
        with trio.move_on_after(gather):
            while len(lines) < most:
                lines += await self._read()
        return lines[-most:]

    async def _read(self) -> list[str]:
        chunk = await self._link.receive_some(65536)
        if not chunk or len(self._buffer) > LINE:
            raise SupervisorError("the supervisor went away")
        self._buffer += chunk
        *whole, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        replies = [json.loads(line) for line in whole]
        for reply in replies:
            if "event" not in reply:
                _result(reply)
        return [_line(reply["event"]) for reply in replies if "event" in reply]

    async def aclose(self) -> None:
        """Follow no more."""
        await self._link.aclose()


def _result(reply: dict[str, Any]) -> Any:
    if reply["ok"]:
        return reply["result"]
    error = reply["error"]
    if error["code"] == "unknown-service":
        raise JobNotFoundError(str(error["message"]))
    raise SupervisorError(str(error["message"]))


def _line(event: Any) -> str:
    """Return the text of a line; how many were dropped, where some were."""
    if isinstance(event, list):
        return str(event[3])  # time, service, replica, text, ...
    return f"({event.get('dropped', '?')} lines are missing)"


def _row(row: dict[str, Any]) -> ServiceRow:
    last = row["last_exit"]
    return ServiceRow(
        name=row["name"],
        service=row["service"],
        replica=row["replica"],
        state=row["state"],
        want=row["want"],
        ready=bool(row["ready"]),
        pid=row["pid"],
        restarts=row["restarts"],
        uptime=row["uptime_s"],
        rss=row["rss_bytes"],
        cpu=row["cpu_percent"],
        detail=row["detail"] or None,
        last_exit=last["message"] if last else None,
    )
