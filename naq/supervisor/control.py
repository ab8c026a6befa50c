"""The control socket: how ``naq ps`` and ``naq down`` talk to a running supervisor.

Newline-delimited JSON over a Unix socket. A request is ``{"id": ..., "v": 1, "cmd": "ps", "args":
{}}``; the answer is ``{"id": ..., "ok": true, "result": ...}`` or ``{"id": ..., "ok": false,
"error": {"code": ..., "message": ...}}``. The directory is this user's alone, the socket has mode
0600, and the kernel is asked for the peer's user besides.

Nothing a client sends can do more than be answered with an error. What it may send, how many may be
connected and how long an answer may take to be read is bounded.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from naq.supervisor.protocol import MAX_REQUEST, Refused, answer, read_request, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Command = Callable[[Mapping[str, Any]], object]

__all__ = ["ControlServer"]

_MAX_CLIENTS = 64
_SEND_WAIT = 10.0  # seconds a client may take to read an answer
_PAUSE = 1.0  # seconds without descriptors for more clients, before the next try
_UCRED = struct.Struct("iII")  # pid, uid, gid


class ControlServer:
    """Answers requests on a Unix socket."""

    def __init__(
        self, path: Path, commands: Mapping[str, Command], *, report: Callable[[str], None]
    ) -> None:
        """Prepare a server.

        Args:
            path: of the socket; a file that is in the way is a dead supervisor's and is removed.
            commands: what to call for each ``cmd``, with its arguments; may raise Refused.
            report: told of a command that failed because of a bug.
        """
        self._path = path
        self._commands = commands
        self._report = report
        self._clients = 0

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled; ready once clients can connect.

        Raises:
            OSError: the socket cannot be made.
        """
        listener = trio.socket.from_stdlib_socket(_listen(self._path))
        try:
            with listener:
                async with trio.open_nursery() as clients:
                    task_status.started()
                    while True:
                        if client := await _accept(listener):
                            clients.start_soon(self._talk, client, name="naq control client")
        finally:
            with suppress(FileNotFoundError):
                self._path.unlink()

    async def _talk(self, client: trio.socket.SocketType) -> None:
        self._clients += 1
        try:
            async with trio.SocketStream(client) as stream:
                if self._clients > _MAX_CLIENTS:
                    await _send(stream, refusal(Refused("busy", "too many clients")))
                elif not _is_ours(client):
                    await _send(stream, refusal(Refused("forbidden", "not your supervisor")))
                else:
                    await self._requests(stream)
        except (trio.BrokenResourceError, trio.TooSlowError):
            pass  # it has gone, or does not read: its loss
        finally:
            self._clients -= 1

    async def _requests(self, stream: trio.SocketStream) -> None:
        """Answer one line after the other, until the client has said enough or too much."""
        buffer = b""
        while chunk := await stream.receive_some(MAX_REQUEST):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    await _send(stream, self._answer(line))
            if len(buffer) >= MAX_REQUEST:
                refused = Refused("bad-request", f"longer than {MAX_REQUEST} bytes")
                await _send(stream, refusal(refused))
                return

    def _answer(self, line: bytes) -> bytes:
        id_: object = None
        try:
            request = read_request(line)
            id_ = request.id
            return answer(id_, self._find(request.command)(request.args))
        except Refused as refused:
            refused.id = refused.id if id_ is None else id_
            return refusal(refused)
        except Exception as exc:  # noqa: BLE001 - a bug in one command must not end the supervisor
            self._report(f"control: {line[:200]!r} failed: {type(exc).__name__}: {exc}")
            return refusal(Refused("internal", f"{type(exc).__name__}: {exc}", id_=id_))

    def _find(self, name: str) -> Command:
        try:
            return self._commands[name]
        except KeyError:
            known = ", ".join(self._commands)
            raise Refused("unknown-command", f"no command {name!r}; there are: {known}") from None


def _listen(path: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(_MAX_CLIENTS)
    except OSError:
        listener.close()
        raise
    return listener


async def _accept(listener: trio.socket.SocketType) -> trio.socket.SocketType | None:
    try:
        client, _ = await listener.accept()
    except OSError:
        # The client is gone already, or there are no descriptors: others may fare better later.
        await trio.sleep(_PAUSE)
        return None
    return client


async def _send(stream: trio.SocketStream, line: bytes) -> None:
    with trio.fail_after(_SEND_WAIT):
        await stream.send_all(line)


def _is_ours(client: trio.socket.SocketType) -> bool:
    """Whether the peer is this user or root. Where the kernel does not say, the modes decide."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _, uid, _ = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))
    return uid in (0, os.geteuid())
