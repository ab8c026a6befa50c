"""The links between the nodes of a cluster: a process that copies bytes, and can be told not to.

In a process of its own, so that the interpreter of the tests does not stand between two servers.
Run as a program, it listens on one port for each target port of its command line, prints the ports
that it chose, and then does what each line of its input says, and answers ``ok``::

    cut 0         link 0 ends, and each new connection is closed at once
    freeze 0      nothing is copied any more; connections stay, and new ones are accepted
    delay 0 0.05  what is sent from now on arrives 50 ms later
    heal 0        the link is whole again
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PIECE = 65_536
"""Bytes that are read at once."""
WAITING = 64
"""Pieces on their way to one side before the other one is not read any more."""


class Routes:
    """The process, seen from the tests."""

    def __init__(self, targets: Sequence[int]) -> None:
        """Start it; :attr:`ports` lead to ``targets``."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, *map(str, targets)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.ports: list[int] = json.loads(self._process.stdout.readline())

    def tell(self, *words: object) -> None:
        """Have a command done."""
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer == "ok", answer

    @contextmanager
    def told(self, links: Sequence[int], *words: object) -> Iterator[None]:
        """Have a command done to ``links``, and undone at the end of the block."""
        command, *values = words
        for link in links:
            self.tell(command, link, *values)
        try:
            yield
        finally:
            self.heal(links)

    def heal(self, links: Sequence[int]) -> None:
        """Make links whole."""
        for link in links:
            self.tell("heal", link)

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


# ------------------------------------------------------------- within the process


class Link:
    """All connections that lead to one target."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        self._cut = False
        self._thawed = trio.Event()
        self._thawed.set()
        self._connections: set[trio.CancelScope] = set()

    def command(self, word: str, *values: str) -> None:
        if word == "cut":
            self._cut = True
            for scope in self._connections:
                scope.cancel()
        elif word == "freeze":
            self._thawed = trio.Event()
        elif word == "delay":
            self.delay = float(*values)
        else:
            self._cut, self.delay = False, 0.0
            self._thawed.set()

    async def serve(self, near: trio.SocketStream) -> None:
        """Copy what one connection brings, both ways, until it ends."""
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                if not self._cut:
                    await self._copy(near)
            finally:
                self._connections.discard(scope)

    async def _copy(self, near: trio.SocketStream) -> None:
        with suppress(OSError):
            far = await trio.open_tcp_stream("127.0.0.1", self.target)
            async with far, trio.open_nursery() as tasks:
                for here, there in ((near, far), (far, near)):
                    send, arrived = trio.open_memory_channel[tuple[float, bytes]](WAITING)
                    tasks.start_soon(self._read, here, send)
                    tasks.start_soon(self._write, there, arrived, tasks.cancel_scope)

    async def _read(
        self, here: trio.SocketStream, send: trio.MemorySendChannel[tuple[float, bytes]]
    ) -> None:
        async with send:
            with suppress(trio.BrokenResourceError):
                while data := await here.receive_some(PIECE):
                    await send.send((trio.current_time() + self.delay, data))

    async def _write(
        self,
        there: trio.SocketStream,
        arrived: trio.MemoryReceiveChannel[tuple[float, bytes]],
        connection: trio.CancelScope,
    ) -> None:
        with suppress(trio.BrokenResourceError):
            async for due, data in arrived:
                await trio.sleep_until(due)
                await self._thawed.wait()
                await there.send_all(data)
        connection.cancel()


async def main(targets: Sequence[int]) -> None:
    links = [Link(target) for target in targets]
    async with trio.open_nursery() as tasks:
        ports = []
        for link in links:
            listening = partial(trio.serve_tcp, link.serve, 0, host="127.0.0.1")
            (listener,) = await tasks.start(listening)
            ports.append(listener.socket.getsockname()[1])
        print(json.dumps(ports), flush=True)  # noqa: T201
        async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as commands:
            said = b""
            while data := await commands.receive_some():
                *lines, said = (said + data).split(b"\n")
                for line in lines:
                    word, link, *values = line.decode().split()
                    links[int(link)].command(word, *values)
                    print("ok", flush=True)  # noqa: T201
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, [int(port) for port in sys.argv[1:]])
