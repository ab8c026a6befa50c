"""The services of this project, as its supervisor tells of them: states, lines, what to do to them.

The control socket of ``naq ps``, on Trio; :class:`~naq.supervisor.control.protocol.Conversation`
knows the protocol.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import trio

from naq.dashboard.data.model import ServiceRow
from naq.exceptions import JobNotFoundError, SupervisorError
from naq.supervisor.control.protocol import Conversation, GarbledError
from naq.supervisor.model.errors import Refused
from naq.supervisor.model.rundir import RunDir

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Follow", "Services"]

PATIENCE = 5.0
"""Seconds an answer may take."""
_CHUNK = 64 * 1024


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
        lines: list[str] = []
        async with await self._send("logs", services=[service], tail=count) as request:
            while not request.answered:
                lines += map(_line, await request.receive())
        return lines

    async def open_lines(self, service: str, count: int = 200) -> Follow:
        """Follow the lines of a service, beginning with its last ``count`` ones; to be closed.

        Raises:
            SupervisorError: no supervisor runs here.
        """
        return Follow(await self._send("logs", services=[service], follow=True, tail=count))

    async def ask(self, command: str, **args: Any) -> Any:
        """Send a command and return its result; raises as :meth:`lines`."""
        with trio.move_on_after(PATIENCE):
            async with await self._send(command, **args) as request:
                while not request.answered:
                    await request.receive()
                return request.result
        raise SupervisorError("the supervisor does not answer")

    async def _send(self, command: str, **args: Any) -> _Request:
        run_dir = RunDir.find(self._directory)
        if run_dir is None:
            raise SupervisorError("no `naq up` is running here")
        try:
            link = await trio.open_unix_socket(os.fspath(run_dir.socket))
        except OSError as exc:
            raise SupervisorError("no `naq up` is running here") from exc
        request = _Request(link)
        try:
            await request.send(command, args)
        except BaseException:
            await trio.aclose_forcefully(request)
            raise
        return request


class Follow:
    """Lines of a service, as they come."""

    def __init__(self, request: _Request) -> None:
        self._request = request

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
        if self._request.answered:
            raise SupervisorError("the supervisor ended the output")
        return [_line(event) for event in await self._request.receive()]

    async def aclose(self) -> None:
        """Stop following."""
        await self._request.aclose()


class _Request(trio.abc.AsyncResource):
    """One command on a connection of its own: a conversation, carried by Trio.

    Attributes:
        result: of the command, once it was answered.
    """

    def __init__(self, link: trio.SocketStream) -> None:
        self._link = link
        self._conversation = Conversation()
        self.result: Any = None

    @property
    def answered(self) -> bool:
        """Whether the answer has come."""
        return self._conversation.answered

    async def send(self, command: str, args: dict[str, Any]) -> None:
        """Send the command.

        Raises:
            SupervisorError: the supervisor went away.
        """
        try:
            await self._link.send_all(self._conversation.ask(command, args))
        except trio.BrokenResourceError as exc:
            raise SupervisorError("the supervisor has gone") from exc

    async def receive(self) -> list[Any]:
        """Wait for something to arrive; return the events in it.

        Raises:
            SupervisorError: the command was refused, or the supervisor went away.
            JobNotFoundError: there is no such service.
        """
        try:
            data = await self._link.receive_some(_CHUNK)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            raise SupervisorError("the supervisor has gone")
        try:
            events = self._conversation.receive(data)
            if self.answered:
                self.result = self._conversation.result()
        except GarbledError as exc:
            raise SupervisorError(f"the supervisor's answer cannot be read: {exc}") from exc
        except Refused as refused:
            unknown = refused.code == "unknown-service"
            raise (JobNotFoundError if unknown else SupervisorError)(str(refused)) from refused
        return events

    async def aclose(self) -> None:
        """Close the connection; the supervisor gives the command up."""
        await self._link.aclose()


def _line(event: Any) -> str:
    """Return the text of a line, or how many were dropped."""
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
