"""The server of the control socket: how ``naq ps`` and ``naq down`` reach a running supervisor.

It speaks the protocol of ``protocol.py`` on a Unix socket. The directory is this user's alone, the
socket has mode 0600, and the kernel is asked who the peer is besides. A command that takes its time
is cancelled when its client goes away.

Nothing a client sends can do more than be answered with an error. What it may send, how many may be
connected, how long an answer may take to be read and how many events may wait for a client that
reads slowly, or not at all, is bounded.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from naq.base.unix import peer_of
from naq.supervisor.control.protocol import MAX_REQUEST, answer, event, read_request, refusal
from naq.supervisor.model.board import Bell
from naq.supervisor.model.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from naq.supervisor.control.protocol import Request

    Emit = Callable[[object], None]
    Command = Callable[[Mapping[str, Any]], object]
    Stream = Callable[[Mapping[str, Any], Emit], Awaitable[object]]

__all__ = ["ControlServer", "Outbox"]

_MAX_CLIENTS = 64
_SEND_WAIT = 10.0  # seconds a client may take to read an answer
_PAUSE = 1.0  # seconds without descriptors for more clients, before the next try
# Bytes of events that may wait for one client. What finds no room is dropped and counted, and the
# count is sent once there is room again.
_WAITING = 1024 * 1024


class ControlServer:
    """Answers requests on a Unix socket."""

    def __init__(
        self,
        path: Path,
        commands: Mapping[str, Command],
        streams: Mapping[str, Stream],
        *,
        report: Callable[[str], None],
    ) -> None:
        """Prepare a server.

        Args:
            path: of the socket; a file that is in the way is a dead supervisor's and is removed.
            commands: what to call for each ``cmd``, with its arguments; may raise Refused.
            streams: the same for commands that take their time; they are also passed a function
                for events, which never blocks, and are cancelled when the client goes away.
            report: called with a text when a command has failed because of a bug.
        """
        self._path = path
        self._commands = commands
        self._streams = streams
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
        except* (trio.BrokenResourceError, trio.TooSlowError):
            pass  # it has gone, or does not read
        finally:
            self._clients -= 1

    async def _requests(self, stream: trio.SocketStream) -> None:
        """Answer one line after the other, until the client ends or a line is too long."""
        reader = _Reader(stream)
        while (line := await reader.line()) is not None:
            if line.strip():
                await self._serve_one(line, stream, reader)
        if reader.too_long:
            refused = Refused("bad-request", f"longer than {MAX_REQUEST} bytes")
            await _send(stream, refusal(refused))

    async def _serve_one(self, line: bytes, stream: trio.SocketStream, reader: _Reader) -> None:
        id_: object = None
        try:
            request = read_request(line)
            id_ = request.id
            if request.command in self._streams:
                reply = await self._follow(request, stream, reader)
            else:
                reply = answer(id_, self._find(request.command)(request.args))
        except Refused as refused:
            refused.id = refused.id if id_ is None else id_
            reply = refusal(refused)
        except Exception as exc:  # noqa: BLE001 - a bug in one command must not end the supervisor
            self._report(f"control: {line[:200]!r} failed: {type(exc).__name__}: {exc}")
            reply = refusal(Refused("internal", f"{type(exc).__name__}: {exc}", id_=id_))
        await _send(stream, reply)

    async def _follow(self, request: Request, stream: trio.SocketStream, reader: _Reader) -> bytes:
        """Run a command that takes its time; return its answer."""
        outbox = Outbox(lambda content: event(request.id, content))
        reply = b""
        async with trio.open_nursery() as nursery:

            async def hang_up() -> None:
                await reader.until_end()
                nursery.cancel_scope.cancel()

            nursery.start_soon(hang_up)
            async with trio.open_nursery() as sending:
                # Without a deadline: a client that follows and does not read only misses lines.
                sending.start_soon(outbox.send, stream.send_all)
                reply = await self._run(request, outbox.put)
                outbox.close()
            nursery.cancel_scope.cancel()
        return reply

    async def _run(self, request: Request, emit: Emit) -> bytes:
        try:
            return answer(request.id, await self._streams[request.command](request.args, emit))
        except Refused as refused:
            refused.id = request.id
            return refusal(refused)
        except Exception as exc:  # noqa: BLE001 - as above
            self._report(f"control: {request.command} failed: {type(exc).__name__}: {exc}")
            return refusal(Refused("internal", f"{type(exc).__name__}: {exc}", id_=request.id))

    def _find(self, name: str) -> Command:
        try:
            return self._commands[name]
        except KeyError:
            known = ", ".join((*self._commands, *self._streams))
            raise Refused("unknown-command", f"no command {name!r}; there are: {known}") from None


class _Reader:
    """Lines of a client, a bounded number of bytes at a time.

    Attributes:
        too_long: a line was longer than a request may be, and nothing more is read.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._rest = b""
        self.too_long = False

    async def line(self) -> bytes | None:
        """Return the next line; None at the end."""
        while b"\n" not in self._rest:
            if len(self._rest) >= MAX_REQUEST:
                self.too_long = True
                return None
            chunk = await self._stream.receive_some(MAX_REQUEST)
            if not chunk:
                return None
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    async def until_end(self) -> None:
        """Return when the client has gone, or has sent more than a request while it waits."""
        while len(self._rest) < MAX_REQUEST:
            try:
                chunk = await self._stream.receive_some(MAX_REQUEST)
            except trio.BrokenResourceError:
                return
            if not chunk:
                return
            self._rest += chunk


class Outbox:
    """A bounded queue of encoded events with a sender at its end."""

    def __init__(self, encode: Callable[[object], bytes], *, limit: int = _WAITING) -> None:
        """Make an empty outbox.

        Args:
            encode: makes a line of an event.
            limit: bytes that may wait.
        """
        self._encode = encode
        self._limit = limit
        self._bell = Bell()
        self._lines: list[bytes] = []
        self._size = 0
        self._dropped = 0
        self._closed = False

    def put(self, event: object) -> None:
        """Take an event; it is dropped and counted if there is no room. Never waits."""
        if self._size >= self._limit:
            self._dropped += 1
            return
        line = self._encode(event)
        self._lines.append(line)
        self._size += len(line)
        self._bell.ring()

    def close(self) -> None:
        """No more events: :meth:`send` ends when everything is sent."""
        self._closed = True
        self._bell.ring()

    async def send(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send until closed and empty."""
        while True:
            await self._bell.until(lambda: True if self._lines or self._closed else None)
            lines, self._lines, self._size = self._lines, [], 0
            if self._dropped:
                lines.append(self._encode({"dropped": self._dropped}))
                self._dropped = 0
            if not lines:
                return
            await send(b"".join(lines))


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
    """Whether the peer is this user or root; where the system does not tell, the modes decide."""
    peer = peer_of(client)
    return peer is None or peer.uid in (0, os.geteuid())
